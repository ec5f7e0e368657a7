"""kkwarm check: conformance rules without a model, and adversarial probes on the verifier."""

from __future__ import annotations

import click

from kkwarm.cli.console import (
    Number,
    Whole,
    complete_domains,
    echo_json,
    json_option,
    out_console,
    protocol_option,
    search_bar,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.errors import warn


@click.command()
@click.argument("name", shell_complete=complete_domains)
@click.option(
    "--examples",
    type=Whole(1),
    default=12,
    show_default=True,
    help="Number of evaluation examples on which the adversarial probes and the search are run.",
)
@click.option(
    "--search",
    "seconds",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds of adversarial search. By default it generates 200 cases per generator, in at most 30 seconds.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Random seed of the generated cases.")
@click.option(
    "--peers",
    is_flag=True,
    help="Also score the generated cases with the other scorers that the plugin names, and count their wrong verdicts.",
)
@protocol_option("Protocol to check, with its reader and verifier.  [default: the domain's]")
@unsandboxed_option
@unpinned_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    examples: int,
    seconds: float | None,
    seed: int,
    peers: bool,
    protocol_name: str | None,
    as_json: bool,
) -> None:
    """Check the domain NAME without a model: conformance rules, adversarial probes on its verifier, and a search.

    The search generates answers with known labels and shrinks each kind of wrong verdict to a small counterexample.
    Exits with 1 if anything fails.
    """
    from kkwarm.testing.check import run_check

    with search_bar(name) as progress:
        result = run_check(
            name, examples=examples, search=seconds, seed=seed, peers=peers, protocol=protocol_name, progress=progress
        )
    for hook in result.broken:
        warn(hook)
    if as_json:
        echo_json(result.document())
    else:
        from kkwarm.reporting.check import print_check

        print_check(result, out_console())
    ctx.exit(0 if result.ok else 1)
