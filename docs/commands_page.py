"""Writes docs/pages/commands.md from the command line's own definitions: ``python docs/commands_page.py``."""

from collections.abc import Iterator
from pathlib import Path

import click

from kkwarm.cli import cli

PAGE = Path(__file__).parent / "pages" / "commands.md"
HEAD = """# Commands

<!-- Written by docs/commands_page.py from the definitions in kkwarm/cli. Do not edit. -->

Every command that reports takes `--json`: one JSON document on standard output and nothing else there. Progress goes to
standard error. `-h` or `--help` shows a command's options. Exit codes: 0 done, 1 a check failed, 2 bad usage or input,
130 interrupted (repeat the command to resume). Options that are settings are described with their bounds in
[Settings](settings.md).

Shell completion, of domains too: add `eval "$(_KKWARM_COMPLETE=bash_source kkwarm)"` to `~/.bashrc`, or the same with
`zsh_source` to `~/.zshrc` after `compinit`.
"""


def render() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *sections(cli, "kkwarm", None)])


def sections(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    """A section for each command: usage, help, arguments and options."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, **command.context_settings)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None and not subcommand.hidden:
                yield from sections(subcommand, f"{path} {name}", context)
        return
    for name, subcommand in getattr(command, "subcommands", {}).items():
        yield from sections(subcommand, f"{path} {name}", parent)
    usage = " ".join(command.collect_usage_pieces(context))
    help_text = " ".join((command.help or "").split("\b")[0].split())
    yield f"## {path}\n\n```\n{path} {usage}\n```\n\n{help_text}\n"
    rows = [row for p in command.params if (row := describe(p, context))]
    if rows:
        yield "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def describe(parameter: click.Parameter, context: click.Context) -> str:
    """A table row for an option; empty for arguments."""
    record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
    if record is None:
        return ""
    names, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {text.replace('[', chr(92) + '[')} |"


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
