"""What commands share: JSON on stdout and nothing else there, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

import click

__all__ = ["complete_domains", "echo_json", "err_console", "json_option", "out_console", "unsandboxed_option"]

_STDOUT = "kkwarm.stdout"


def _alone(ctx: click.Context, option: click.Parameter, given: bool) -> bool:
    """With --json, whatever a plugin or a library prints goes to stderr; `echo_json` alone writes to stdout."""
    if given:
        ctx.meta[_STDOUT] = sys.stdout
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    return given


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_alone, help="One JSON document on stdout, nothing else there."
)


def _allow(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        from kkwarm.verify.sandbox import ALLOW

        os.environ[ALLOW] = "1"  # so that the processes of a study, too, may


unsandboxed_option = click.option(
    "--allow-unsandboxed-code",
    is_flag=True,
    expose_value=False,
    callback=_allow,
    help="Run model-written code even where no sandbox can be had; the run records it.",
)


def complete_domains(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """Names of domains for the shell, after the last comma of a list."""
    from kkwarm.plugins import registry

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in registry().domains if name.startswith(last)]


def echo_json(document: Any) -> None:
    """Prints one JSON document."""
    ctx = click.get_current_context(silent=True)
    stdout = None if ctx is None else ctx.meta.get(_STDOUT)
    click.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str), file=stdout)


def out_console() -> Any:
    """A rich console on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def err_console() -> Any:
    """A rich console on stderr, for progress and warnings."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)
