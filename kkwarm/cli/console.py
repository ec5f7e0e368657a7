"""What commands share: JSON on stdout and nothing else there, everything else on stderr."""

from __future__ import annotations

import json
import os
from typing import Any

import click

__all__ = ["complete_domains", "echo_json", "err_console", "json_option", "out_console", "unsandboxed_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")


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
    """Prints one JSON document; what commands a terminal, or has no encoding, is escaped."""
    from kkwarm.report.shown import escaped_json

    click.echo(escaped_json(json.dumps(document, indent=1, ensure_ascii=False, default=str)))


def out_console() -> Any:
    """A rich console on stdout, safe for text that a model wrote."""
    from kkwarm.report.shown import console

    return console()


def err_console() -> Any:
    """A rich console on stderr, for progress and warnings."""
    from kkwarm.report.shown import console

    return console(stderr=True)
