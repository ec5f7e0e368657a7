"""kkwarm new: an installable domain plugin."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click

from kkwarm.errors import KkwarmError
from kkwarm.scaffold import KINDS, render


@click.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="Where to write it; by default ./kkwarm-NAME.")
@click.option("--kind", type=click.Choice(KINDS), default="text", show_default=True, help="What its answers are.")
def command(name: str, path: Path | None, kind: str) -> None:
    """Write an installable plugin with a domain NAME that passes `kkwarm check` as it is."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise KkwarmError(f"{name!r} cannot be a domain's name", hint="use lower-case letters, digits and _")
    from kkwarm.plugins import registry

    reg = registry()
    if name in reg.domains:
        raise KkwarmError(f"a domain {name!r} is there already ({reg.origin['domain', name].distribution})")
    target = path or Path(f"kkwarm-{name}")
    if target.exists() and any(target.iterdir()):
        raise KkwarmError(f"{target} is not empty", hint="choose another --path")
    for relative, content in render(name, kind).items():
        file = target / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    click.echo(f"wrote {target}\n\nnext:\n  pip install -e {target}\n  kkwarm check {name}\n  kkwarm domains {name}")
