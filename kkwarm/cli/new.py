"""kkwarm new: writes an installable domain plugin."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click

from kkwarm.errors import KkwarmError
from kkwarm.scaffold import KINDS, render_plugin


@click.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="Folder to write. Default: ./kkwarm-NAME.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="text",
    show_default=True,
    help="Kind of answers that the example verifier checks.",
)
def command(name: str, path: Path | None, kind: str) -> None:
    """Write an installable plugin with a domain NAME. It passes `kkwarm check` before you change it."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise KkwarmError(
            f"{name!r} is not a valid domain name", hint="use lower-case letters, digits and _, starting with a letter"
        )
    from kkwarm.files import write_file
    from kkwarm.plugins import registry

    reg = registry()
    if name in reg.domains:
        raise KkwarmError(
            f"domain {name!r} exists already, in {reg.origin['domain', name].distribution}", hint="choose another name"
        )
    target = path or Path(f"kkwarm-{name}")
    if target.exists() and any(target.iterdir()):
        raise KkwarmError(f"{target} is not empty", hint="choose another --path")
    for relative, content in render_plugin(name, kind).items():
        write_file(target / relative, content)
    click.echo(
        f"Wrote {target}. Next steps:\n  pip install -e {target}\n  kkwarm check {name}\n  kkwarm domains {name}"
    )
