"""`kkwarm view`."""

from __future__ import annotations

from pathlib import Path

import click

from kkwarm.cli.console import Whole, complete_runs
from kkwarm.errors import KkwarmError


@click.command()
@click.argument("folders", nargs=-1, shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option(
    "--port", type=Whole(0, 65535), default=8000, show_default=True, help="Port on 127.0.0.1; 0 takes a free one."
)
def command(folders: tuple[Path, ...], port: int) -> None:
    """Show the runs in FOLDERS in the browser, by default those under KKWARM_HOME.

    The pages are those of `kkwarm report --html`. They are served to this machine only, and follow runs that are being
    written. Ctrl-C ends it.
    """
    from kkwarm.reporting.serve import HOST, Pages, make_server
    from kkwarm.store import find_run, runs_home

    paths = [find_run(f) for f in folders] or [runs_home()]
    if missing := [p for p in paths if not p.is_dir()]:
        raise KkwarmError(f"there is no folder {missing[0]}", hint="name a folder of runs, or set KKWARM_HOME")
    with make_server(Pages(paths), port) as server:
        click.echo(
            f"http://{HOST}:{server.server_address[1]}/ shows {', '.join(map(str, paths))}; Ctrl-C ends it", err=True
        )
        server.serve_forever()
