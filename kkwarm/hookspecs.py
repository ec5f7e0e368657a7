"""Every hook of kkwarm. A plugin implements the ones it needs::

    from kkwarm.plugins import hookimpl

    @hookimpl
    def kkwarm_domains():
        return [my_domain]

and names its module in an entry point of group ``kkwarm``. Registration hooks return data and are called once, when
names are first resolved; they should import nothing heavy. Two plugins that register one name is an error that names
both distributions; neither of the two is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from kkwarm.types import Benchmark, Domain, Format, Probe, Sample, Task, Teacher, Verifier

if TYPE_CHECKING:
    import click

    from kkwarm.store import Run

hookspec = pluggy.HookspecMarker("kkwarm")


@hookspec
def kkwarm_domains() -> Iterable[Domain]:  # type: ignore[empty-body]
    """Domains. Each expands into a task, a verifier and a benchmark of its name: most authors need no other hook."""


@hookspec
def kkwarm_tasks() -> Iterable[Task]:  # type: ignore[empty-body]
    """Tasks to train on, whose verifiers are registered by any plugin."""


@hookspec
def kkwarm_verifiers() -> Iterable[Verifier]:  # type: ignore[empty-body]
    """Verifiers, to be named by tasks and benchmarks."""


@hookspec
def kkwarm_benchmarks() -> Iterable[Benchmark]:  # type: ignore[empty-body]
    """Benchmarks to evaluate on, whose verifiers are registered by any plugin."""


@hookspec
def kkwarm_formats() -> Iterable[Format]:  # type: ignore[empty-body]
    """Prompt formats, beside the built-in ``think-answer``, ``think-answer-chat``, ``plain`` and ``auto``."""


@hookspec
def kkwarm_teachers() -> Iterable[Teacher]:  # type: ignore[empty-body]
    """Sources of warm-up traces. A teacher is found by its domain and its name."""


@hookspec
def kkwarm_probes() -> Iterable[Probe]:  # type: ignore[empty-body]
    """Attacks for ``kkwarm check``, beside the built-in ones.

    Each makes completions that a verifier must not accept or, where it expects ``"accept"``, must accept.
    """


@hookspec(firstresult=True)
def kkwarm_resolve_domain(name: str) -> Domain | None:
    """A domain made on demand for a name that nobody registered, such as ``reasoning_gym:spell_backward``.

    :param name: the name as the user wrote it.
    :returns: the domain, or None where the name is not this plugin's. The first that is not None is used.
    """


@hookspec
def kkwarm_commands(cli: click.Group) -> None:
    """Adds commands to ``kkwarm``.

    :param cli: the group; call ``cli.add_command`` on it. A name that kkwarm itself uses is refused.
    """


@hookspec
def kkwarm_sample_scored(sample: Sample) -> None:
    """Called for each sample after it was judged and stored, in the order of storing.

    :param sample: the stored sample with its verdict. An exception is reported and does not stop the run.
    """


@hookspec
def kkwarm_run_finished(run: Run) -> None:
    """Called when a run is done.

    :param run: the stored run, readable. An exception is reported and does not stop the command.
    """
