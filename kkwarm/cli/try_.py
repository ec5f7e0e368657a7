"""kkwarm try: verifies one completion and explains the verdict."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from kkwarm.cli.console import (
    complete_domains,
    echo_json,
    json_option,
    out_console,
    protocol_option,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.errors import KkwarmError, unknown_name


@click.command()
@click.argument("name", shell_complete=complete_domains)
@click.option("--id", "example_id", help="Id of the example to answer. Default: the first test example.")
@protocol_option("Protocol by which the completion is read.  [default: the domain's]")
@click.argument("completion", required=False)
@unsandboxed_option
@unpinned_option
@json_option
def command(
    name: str, example_id: str | None, protocol_name: str | None, completion: str | None, as_json: bool
) -> None:
    """Verify COMPLETION (default: standard input) as an answer to an example of the domain NAME."""
    from kkwarm.plugins import registry
    from kkwarm.schema.by_benchmark import check_protocols
    from kkwarm.types import Completion
    from kkwarm.verify import verify

    reg = registry()
    benchmark = reg.benchmark(name)
    examples = {e.id: e for e in benchmark.load_all()}
    example = next(iter(benchmark.load())) if example_id is None else examples.get(example_id)
    if example is None:
        raise unknown_name(f"id of {name}", str(example_id), examples)
    if completion is None:
        completion = _read_stdin(example.question)
    if not completion.strip():
        raise _no_completion()
    check_protocols(protocol_name, [benchmark.name])
    protocol = reg.protocol(benchmark, protocol_name)
    pair = (example, Completion(completion, finish_reason="stop"))
    verdict = verify(reg.verifier_of(benchmark, protocol), protocol, [pair])[0]
    response = protocol.split(pair[1])
    reward = reg.reward_of(benchmark)([(*pair, verdict)])[0]
    if as_json:
        document = {"id": example.id, "reward": reward.total, **asdict(verdict)}
        if reward.parts:
            document["rewards"] = dict(reward.parts)
        echo_json(document | {"reasoning": response.reasoning, "split": response.answer})
        return
    from rich.markup import escape

    console = out_console()
    colour = "green" if verdict.correct else "red"
    console.print(f"[bold {colour}]{verdict.status}[/]  {escape(verdict.reason)}")
    console.print(f"example    {escape(example.id)}: {escape(_one_line(example.question))}", soft_wrap=True)
    console.print(f"reasoning  {len(response.reasoning)} characters")
    console.print(f"answer     {escape(repr(response.answer))}")
    console.print(f"read as    {escape(repr(verdict.answer))}")
    parts = ", ".join(f"{escape(name)} {value:+g}" for name, value in reward.parts.items())
    console.print(f"reward     {reward.total:+g}" + (f" ({parts})" if parts else ""))
    for key, value in verdict.metrics.items():
        console.print(f"{key:<10} {value:g}")


def _read_stdin(question: str) -> str:
    if sys.stdin is None:  # closed by the caller
        raise _no_completion()
    if sys.stdin.isatty():
        click.echo(f"{question}\n\nPaste a completion, then press Ctrl-D:", err=True)
    return sys.stdin.read()


def _no_completion() -> KkwarmError:
    return KkwarmError("no completion was given", hint="give it as an argument or on standard input")


def _one_line(question: str, limit: int = 100) -> str:
    line = " ".join(question.split())
    return line if len(line) <= limit else line[:limit] + "…"
