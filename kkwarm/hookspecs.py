"""The hooks of kkwarm. A plugin implements the ones it needs::

    from kkwarm.plugins import hookimpl

    @hookimpl
    def kkwarm_domains():
        return [my_domain]

The plugin's module is named in an entry point of group ``kkwarm``. Registration hooks return data. They are called
once, when names are first resolved, and should import nothing heavy. If two plugins register the same name, neither is
used, and the error names both distributions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:  # the plugins of `kkwarm --help` import this module
    import click

    from kkwarm.store import Run
    from kkwarm.types import (
        Benchmark,
        CaseGenerator,
        ClaimSet,
        Domain,
        Probe,
        Protocol,
        Sample,
        Task,
        Teacher,
        Verifier,
    )

hookspec, hookimpl = pluggy.HookspecMarker("kkwarm"), pluggy.HookimplMarker("kkwarm")


@hookspec
def kkwarm_domains() -> Iterable[Domain]:  # type: ignore[empty-body]
    """Registers domains. Each expands into a task, a verifier and a benchmark, so most plugins need no other hook."""


@hookspec
def kkwarm_tasks() -> Iterable[Task]:  # type: ignore[empty-body]
    """Registers tasks to train on. Their verifiers may come from any plugin."""


@hookspec
def kkwarm_verifiers() -> Iterable[Verifier]:  # type: ignore[empty-body]
    """Registers verifiers, which tasks and benchmarks refer to by name."""


@hookspec
def kkwarm_benchmarks() -> Iterable[Benchmark]:  # type: ignore[empty-body]
    """Registers benchmarks to evaluate on. Their verifiers may come from any plugin."""


@hookspec
def kkwarm_protocols() -> Iterable[Protocol]:  # type: ignore[empty-body]
    """Registers protocols, in addition to ``paper``, ``plain`` and ``auto``; for one benchmark, or for every one."""


@hookspec
def kkwarm_teachers() -> Iterable[Teacher]:  # type: ignore[empty-body]
    """Registers sources of warm-up traces that need no model. A teacher is looked up by its domain and its name."""


@hookspec
def kkwarm_probes() -> Iterable[Probe]:  # type: ignore[empty-body]
    """Registers adversarial probes that ``kkwarm check`` runs in addition to the built-in ones.

    A probe makes completions for an example. The verifier must reject all of them or, where the probe has
    ``expect="accept"``, must accept all of them.
    """


@hookspec
def kkwarm_case_generators() -> Iterable[CaseGenerator]:  # type: ignore[empty-body]
    """Registers generators of random answers for the adversarial search of ``kkwarm check``.

    A generator makes one case at a time, and says of each whether the verifier must accept or reject it.
    """


@hookspec
def kkwarm_claims() -> Iterable[ClaimSet]:  # type: ignore[empty-body]
    """Registers the claims of a paper, which reports evaluate on every study, beside those of the warm-up paper."""


@hookspec(firstresult=True)
def kkwarm_resolve_domain(name: str, from_run: bool) -> Domain | None:
    """Creates a domain on demand for a name that no plugin registered, such as ``reasoning_gym:spell_backward``.

    :param name: the name as the user wrote it.
    :param from_run: the name was found in a stored run or in traces, which may be someone else's. Return None then,
        unless creating the domain is safe for every name: it must read no file and open no address that the name
        chooses. A hook without this parameter is not called for such names.
    :returns: the domain, or None where the name does not belong to this plugin. The first result that is not None is
        used.
    """


@hookspec
def kkwarm_commands(cli: click.Group) -> None:
    """Adds commands to ``kkwarm``.

    :param cli: the command group; call ``cli.add_command`` on it. Names of kkwarm's own commands are refused.
    """


@hookspec
def kkwarm_sample_scored(sample: Sample) -> None:
    """Called for each sample after it was verified and stored, in the order of storing.

    :param sample: the stored sample with its verdict. An exception is reported and does not stop the run.
    """


@hookspec
def kkwarm_run_finished(run: Run) -> None:
    """Called when a run is complete.

    :param run: the stored run, open for reading. An exception is reported and does not stop the command.
    """
