"""The command line. Each command is one file here, imported only when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from kkwarm.errors import KkwarmError, describe_error, unknown_name, warn
from kkwarm.interrupt import RESUMABLE_RUNS, interrupt_on_signals

__all__ = ["cli", "main"]

# Name -> one line for `kkwarm --help`, so that help imports no command. In the order of a user's day.
COMMANDS: dict[str, str] = {
    "doctor": "Check the installation: versions, GPU, sandbox, data.",
    "domains": "List domains, or show one with rendered examples.",
    "plugins": "List plugins with their hooks and failures.",
    "new": "Write an installable domain plugin.",
    "check": "Check a domain and its verifier without a model.",
    "try": "Verify one completion and explain the verdict.",
    "distill": "Generate warm-up traces with a teacher.",
    "warmup": "Fine-tune a checkpoint on traces (SFT).",
    "rlvr": "Train with GRPO, with a domain's verifier as the reward.",
    "power": "Estimate what difference a run can detect.",
    "bench": "Evaluate a checkpoint on benchmarks.",
    "score": "Score saved outputs.",
    "rescore": "Score a stored run again with today's verifier.",
    "verify": "Check a stored run: checksums, hashes, verdicts.",
    "study": "Run a whole experiment as a resumable plan.",
    "report": "Report results and claims of stored runs.",
    "compare": "Compare runs on the same questions.",
    "runs": "List stored runs.",
    "leaderboard": "Rank runs, and group those that cannot be distinguished.",
    "view": "Show runs in the browser, also while they are being written.",
    "import": "Import results of other tools as runs.",
    "push": "Push a checkpoint with its model card to the hub.",
    "export": "Export a domain or results for other tools.",
}


class Commands(click.Group):
    """A group that imports a command when it is called, offers near names, and lets plugins add commands."""

    _from_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugins()
        present = [name for name in COMMANDS if _file(name) is not None]
        return [*present, *sorted(set(self.commands) - set(present))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS and _file(cmd_name) is not None:
            module = importlib.import_module(f"kkwarm.cli.{_module(cmd_name)}")
            command: click.Command = module.command
            command.short_help = COMMANDS[cmd_name]
            return command
        self._add_plugins()
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        rows = [(name, COMMANDS.get(name) or self.commands[name].get_short_help_str(limit=80)) for name in names]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _add_plugins(self) -> None:
        """Where only kkwarm's own plugins are installed, those without commands are not imported."""
        if self._from_plugins:
            return
        self._from_plugins = True
        from importlib.metadata import entry_points

        points = entry_points(group="kkwarm")
        if any(point.dist is None or point.dist.name != "kkwarm" for point in points):
            from kkwarm.plugins import add_commands

            add_commands(self, reserved=COMMANDS)
            return
        for point in points:
            spec = find_spec(point.module)
            get_source = getattr(spec and spec.loader, "get_source", lambda _: None)
            if "kkwarm_commands" in (get_source(point.module) or ""):
                try:
                    point.load().kkwarm_commands(self)
                except Exception as err:  # the other commands still work
                    warn(f"the commands of {point.name} are missing: {describe_error(err)}")


def _module(name: str) -> str:
    return {"import": "import_", "try": "try_"}.get(name, name)


def _file(name: str) -> Path | None:
    path = Path(__file__).with_name(f"{_module(name)}.py")
    return path if path.exists() else None


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kkwarm")
def cli() -> None:
    """Warm up on Knights & Knaves, train with RLVR on at most 100 examples, and measure what transfers.

    Start with `kkwarm doctor`, then `kkwarm study mini`.
    """


def main(args: list[str] | None = None) -> Any:
    """The console script: user mistakes become one line on stderr and an exit code."""
    interrupt_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal cannot encode are escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(args=args, prog_name="kkwarm", standalone_mode=False)
    except KkwarmError as err:
        _say(str(err))
        sys.exit(err.exit_code)
    except click.exceptions.Exit as err:
        sys.exit(err.exit_code)
    except click.exceptions.NoArgsIsHelpError as err:
        err.show()
        sys.exit(2)
    except click.ClickException as err:
        _say(_one_line(err))
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        run = next((path for path in reversed(RESUMABLE_RUNS) if Path(path).exists()), None)
        _say(f"interrupted; {_stored(run)} in {run}: repeat the command to resume" if run else "interrupted")
        sys.exit(130)
    except BrokenPipeError:  # `kkwarm ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as err:
        if err.errno is None or (err.filename is None and err.errno not in (errno.EIO, errno.ENOSPC)):
            raise
        _say(f"{err.filename or 'disk'}: {err.strerror}")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _stored(run: str) -> str:
    """What an interrupted run has stored."""
    from kkwarm.store import Run

    try:
        return Run.read(run).stored()
    except KkwarmError:
        return "progress is stored"


def _one_line(err: click.ClickException) -> str:
    """click's message about wrong arguments, with the command that shows their help."""
    message = " ".join(err.format_message().split()).rstrip(".")
    context = getattr(err, "ctx", None)
    return f"{message} (see `{context.command_path} --help`)" if context else message


def _say(message: str) -> None:
    from kkwarm.reporting.sanitize import sanitize

    brief = re.sub(r"\S{1000,}", lambda m: f"{m[0][:100]}... ({len(m[0]):,} characters)", message)
    warn(sanitize(brief), "red")
