"""Writes docs/pages/commands.md from the command line's own definitions: ``python docs/commands_page.py``."""

import html
from collections.abc import Iterator
from pathlib import Path

import click

from kkwarm.cli import cli

PAGE = Path(__file__).parent / "pages" / "commands.md"
HEAD = """# Commands

<!-- Written by docs/commands_page.py from the definitions in kkwarm/cli. Do not edit. -->

Every command with its options, as `--help` shows them. [Settings](settings.md) has the bounds of those that are settings.

With `--json`, a command prints one JSON document on standard output and nothing else there. Progress goes to standard
error. Exit codes: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted (repeat the command to resume).

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
    options = sorted(command.params, key=lambda p: not p.required)  # required ones first
    rows = [row for p in options if (row := describe(p, context))]
    if rows:
        yield "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def describe(parameter: click.Parameter, context: click.Context) -> str:
    """A table row for an option; empty for arguments."""
    record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
    if record is None:
        return ""
    names, text = (" ".join(part.split()) for part in record)
    # In a code span of a table, GitHub needs | escaped and mkdocs must not have it escaped.
    code = f"<code>{html.escape(names).replace('|', '&#124;')}</code>" if "|" in names else f"`{names}`"
    for character, escaped in (("<", "&lt;"), ("|", r"\|"), ("[", r"\[")):
        text = text.replace(character, escaped)
    return f"| {code} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
