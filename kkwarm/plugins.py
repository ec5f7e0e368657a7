"""Loads plugins and resolves the names that they register.

Each plugin is loaded on its own: one that fails is recorded with the cause, and the others still work. (pluggy's own
loader stops at the first failing entry point and ignores misspelt hooks.)
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from kkwarm import hookspecs
from kkwarm.errors import KkwarmError, describe_error, unknown_name
from kkwarm.expand import make_benchmark, make_task, make_verifier, narrow_benchmark, narrow_task, narrow_teacher
from kkwarm.hookspecs import hookimpl
from kkwarm.protocols.built_in import BUILT_IN
from kkwarm.protocols.prompts import requested_protocol
from kkwarm.registration import REGISTRATIONS, find_hook_problems, missing_reference, validate_item, validate_items
from kkwarm.types import Benchmark, CaseGenerator, ClaimSet, Domain, Probe, Protocol, Task, Teacher, Verifier

if TYPE_CHECKING:
    from kkwarm.verify.rewards import TaskReward

__all__ = ["Failure", "Plugin", "Registry", "add_commands", "hookimpl", "load", "registry"]

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: its name, its distribution and version, its module, and the hooks that it implements."""

    name: str
    distribution: str
    version: str
    module: str
    hooks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name under which pluggy registers it."""
        return f"{self.distribution}/{self.name}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plugin, or one of its registrations, is not used. `cause` is one line."""

    plugin: str
    distribution: str
    cause: str
    error: BaseException | None = None


@dataclass(slots=True)
class Registry:
    """All objects that plugins registered, by name; origins by (kind, name), teachers and protocols by (domain, name).

    A protocol for every benchmark has an empty domain.
    """

    manager: pluggy.PluginManager
    plugins: list[Plugin] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    domains: dict[str, Domain] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    verifiers: dict[str, Verifier] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    protocols: dict[tuple[str, str], Protocol] = field(default_factory=dict)
    teachers: dict[tuple[str, str], Teacher] = field(default_factory=dict)
    claims: dict[str, ClaimSet] = field(default_factory=dict)
    origin: dict[tuple[str, str], Plugin] = field(default_factory=dict)

    # -- resolving names ---------------------------------------------------------------------------------------------

    def domain(self, name: str) -> Domain:
        """The domain of that name. One that is not registered may be created by `kkwarm_resolve_domain`."""
        if name not in self.domains and not self._create_domain(name):
            raise self._unknown_name("domain", name, self.domains)
        return self.domains[name]

    def task(self, name: str, *, from_run: bool = False) -> Task:
        """The task ``NAME``, or ``NAME:VALUE`` narrowed by its facet. For `from_run`, see `benchmark`."""
        return self._resolve("task", name, self.tasks, narrow_task, from_run)

    def benchmark(self, name: str, *, from_run: bool = False) -> Benchmark:
        """The benchmark ``NAME``, or ``NAME:VALUE`` narrowed by its facet.

        :param from_run: the name was not written by the user, but found in a stored run or in traces, which may be
            someone else's. It must not make kkwarm read a file: such a name refers to installed domains, and to those
            that the user has named before.
        """
        return self._resolve("benchmark", name, self.benchmarks, narrow_benchmark, from_run)

    def task_of(self, benchmark: Benchmark) -> Task | None:
        """The task of the same name as a benchmark, or as the one that it narrows; None where there is none."""
        prefixes = [benchmark.name[:at] for at, char in enumerate(benchmark.name) if char == ":"]
        return next((self.tasks[n] for n in (benchmark.name, *reversed(prefixes)) if n in self.tasks), None)

    def reward_of(self, benchmark: Benchmark) -> TaskReward:
        """The reward of the task with the benchmark's name; the default table where there is no such task."""
        from kkwarm.verify.rewards import TaskReward

        task = self.task_of(benchmark)
        return TaskReward(benchmark.name) if task is None else TaskReward(benchmark.name, task.rewards, task.reward)

    def verifier(self, name: str) -> Verifier:
        """The verifier of that name. A domain's verifier has the domain's name, unless it was given another one."""
        return self._get("verifier", name, self.verifiers)

    def protocol(
        self, item: Domain | Task | Benchmark, requested: str | None = None, *, fall_back: bool = False
    ) -> Protocol:
        """The protocol of a benchmark, task or domain: the one that is requested, or its default.

        :param requested: as ``--protocol``: ``NAME`` or ``BENCHMARK=NAME,...``; ``official`` is the official one.
        :param fall_back: use the default where the benchmark has no protocol of the requested name.
        """
        name = requested_protocol(requested, item.name) or item.protocol
        offered = self.protocols_of(item.name)
        if name == "official" and name not in offered:
            official = [p for p in offered.values() if p.official]
            if official:
                return official[0]
        if name in offered:
            return offered[name]
        if fall_back:
            return offered[item.protocol]
        raise unknown_name(f"protocol of {item.name}", name, offered)

    def saved_protocol(self, benchmark: Benchmark) -> str:
        """The name of the protocol that reads outputs which other tools saved: ``auto``, or the benchmark's default
        where that is one of its own, whose tags others do not read.
        """
        return "auto" if benchmark.protocol in BUILT_IN else benchmark.protocol

    def protocols_of(self, benchmark: str) -> dict[str, Protocol]:
        """The protocols of a benchmark by name: its own, and those of every benchmark."""
        prefixes = [benchmark[:at] for at, char in enumerate(benchmark) if char == ":"]
        offered: dict[str, Protocol] = {}
        for scope in ("", *prefixes, benchmark):
            offered |= {name: p for (of, name), p in self.protocols.items() if of == scope}
        return offered

    def verifier_of(self, item: Task | Benchmark, protocol: Protocol) -> Verifier:
        """The verifier of a benchmark's or task's answers under a protocol."""
        return self.verifier(protocol.verifier or item.verifier)

    def teacher(self, domain: str, name: str) -> Teacher:
        """The teacher of that name for the domain ``NAME``, or for ``NAME:VALUE`` narrowed by the domain's facet."""
        for base, value in _narrowings(domain):
            if (base, name) in self.teachers:
                task = self.tasks.get(base) or self.benchmarks.get(base)
                teacher = self.teachers[base, name]
                return teacher if value is None else narrow_teacher(teacher, task.facet if task else None, value)
        hint = "or give a checkpoint folder or a server as the teacher"
        raise unknown_name(f"teacher of {domain}", name, self.teachers_of(domain), hint=hint)

    def teachers_of(self, domain: str) -> list[str]:
        """The names of the teachers of the domain ``NAME``, or of the one that ``NAME:VALUE`` narrows."""
        bases = [base for base, _ in _narrowings(domain)]
        return [name for base in bases for of, name in self.teachers if of == base]

    def _resolve(
        self, kind: str, name: str, table: Mapping[str, T], narrow: Callable[[T, str], T], from_run: bool
    ) -> T:
        if name in table or self._create_domain(name, from_run):
            return table[name]
        for base, value in _narrowings(name):
            if value is not None and (base in table or (base and self._create_domain(base, from_run))):
                return narrow(table[base], value)
        error = self._unknown_name(kind, name, table)
        if from_run:
            hint = "data alone loads installed domains only: to load this one, too, name it with --domain"
            raise KkwarmError(error.message, hint=f"{error.hint}{' ' if error.hint.endswith('?') else '; '}{hint}")
        raise error

    def _create_domain(self, name: str, from_run: bool = False) -> bool:
        """Adds the domain that some plugin's `kkwarm_resolve_domain` creates for the name. False where none does.

        A plugin that fails is recorded and the next one is called. A `KkwarmError` is for the user, and is raised. For
        a name from a run, only hooks that declare the parameter `from_run` are called.
        """
        arguments = {"name": name, "from_run": from_run}
        for impl in reversed(self.manager.hook.kkwarm_resolve_domain.get_hookimpls()):
            if from_run and "from_run" not in impl.argnames:
                continue
            try:
                domain: Any = impl.function(**{key: arguments[key] for key in impl.argnames})
                if domain is None:
                    continue
                validate_item("kkwarm_resolve_domain", "domain", Domain, domain)
                if domain.name != name:
                    raise ValueError(f"the domain created for {name!r} is named {domain.name!r}")
                if problem := missing_reference(domain, self.verifiers, self._protocol_names(domain)):
                    raise ValueError(problem)
            except KkwarmError:
                raise
            except Exception as err:
                self._record_failure(impl.plugin_name, f"kkwarm_resolve_domain({name!r})", err)
                continue
            self._add_domain(domain)
            owner = next((p for p in self.plugins if p.key == impl.plugin_name), None)
            if owner is not None:
                self.origin["domain", name] = owner
            return True
        return False

    def _protocol_names(self, item: Domain | Task | Benchmark) -> list[str]:
        own = [p.name for p in item.protocols] if isinstance(item, Domain) else []
        return [*own, *self.protocols_of(item.name)]

    def _get(self, kind: str, name: str, table: Mapping[str, T]) -> T:
        if name not in table:
            raise self._unknown_name(kind, name, table)
        return table[name]

    def _unknown_name(self, kind: str, name: str, table: Mapping[str, object]) -> KkwarmError:
        """The error for an unknown name; it mentions a failed plugin that may have been meant to provide it."""
        related = [f for f in self.failures if f.plugin in (name, f"kkwarm-{name}") or f"{name!r}" in f.cause]
        plugins: dict[str, list[str]] = {}
        for f in related or self.failures:
            plugins.setdefault(f.cause, []).append(f.plugin)
        failed = [f"plugin{'s' * (len(who) > 1)} {' and '.join(who)} failed: {why}" for why, who in plugins.items()]
        if related:
            return KkwarmError(f"unknown {kind} {name!r}", hint="; ".join(failed))
        if kind == "domain" and name in self.benchmarks:
            return KkwarmError(
                f"{name!r} is a benchmark, not a domain", hint="its plugin registers no domain of this name"
            )
        if len(failed) > 1:
            failed = [f"{len(failed)} plugins failed: see `kkwarm plugins`"]
        return unknown_name(kind, name, table, hint="".join(failed))

    def probes(self, domain: str) -> list[Probe]:
        """The probes that plugins register for the domain. A plugin that fails here is recorded as a failure."""
        return self._for_domain("kkwarm_probes", "probe", Probe, domain)

    def case_generators(self, domain: str) -> list[CaseGenerator]:
        """The case generators that plugins register for the domain, as `probes`."""
        return self._for_domain("kkwarm_case_generators", "case generator", CaseGenerator, domain)

    def _for_domain(self, hook: str, kind: str, cls: type[T], domain: str) -> list[T]:
        items: list[T] = []
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                registered: list[Any] = validate_items(hook, kind, cls, impl.function())
                items += [item for item in registered if item.domain in ("", domain)]
            except Exception as err:
                self._record_failure(impl.plugin_name, hook, err)
        return items

    def call_hook(self, hook: str, **arguments: Any) -> None:
        """Calls every plugin's implementation of `hook`. One that fails is logged and recorded once.

        :param arguments: the hook's parameters by name; an implementation may declare only some of them.
        """
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                impl.function(**{name: arguments[name] for name in impl.argnames})
            except Exception as err:
                if (failure := self._record_failure(impl.plugin_name, hook, err)) is not None:
                    log.warning("plugin %s (%s): %s", failure.plugin, failure.distribution, failure.cause)

    def _record_failure(self, key: str, what: str, err: Exception) -> Failure | None:
        """Records a failure. Returns None where the same one is recorded already."""
        distribution, _, plugin = key.partition("/")
        failure = Failure(plugin, distribution, f"{what} failed: {describe_error(err)}", err)
        if (plugin, distribution, failure.cause) in {(f.plugin, f.distribution, f.cause) for f in self.failures}:
            return None
        self.failures.append(failure)
        return failure

    def _add_domain(self, domain: Domain) -> None:
        self.domains[domain.name] = domain
        verifier = make_verifier(domain)
        self.verifiers[verifier.name] = verifier
        self.tasks[domain.name] = make_task(domain, verifier.name)
        self.benchmarks[domain.name] = make_benchmark(domain, verifier.name)
        for protocol in domain.protocols:
            self.protocols[domain.name, protocol.name] = replace(protocol, benchmark=domain.name)


def _narrowings(name: str) -> Iterator[tuple[str, str | None]]:
    """How a name can be read as ``NAME`` (value None) or ``NAME:VALUE``; names may contain colons themselves."""
    yield name, None
    for colon in (at for at, char in enumerate(name) if char == ":"):
        yield name[:colon], name[colon + 1 :]


# -- loading -----------------------------------------------------------------------------------------------------------


def load(extra: Iterable[tuple[str, object]] = ()) -> Registry:
    """A new registry of every installed plugin and, for tests, of `extra`: (name, module or object with hooks) pairs.

    What plugins print while they are loaded goes to stderr, because stdout may carry a JSON document or completions for
    the shell.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return _load(extra)


@lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry of this process; it is loaded once."""
    return load()


def _load(extra: Iterable[tuple[str, object]]) -> Registry:
    manager = pluggy.PluginManager("kkwarm")
    manager.add_hookspecs(hookspecs)
    reg = Registry(manager, protocols={("", name): p for name, p in BUILT_IN.items()})
    by_key: dict[str, Plugin] = {}
    for point, dist in _entry_points("kkwarm"):
        plugin = Plugin(point.name, dist.name, dist.version, point.value)
        try:
            module = point.load()
        except BaseException as err:
            if isinstance(err, KeyboardInterrupt):
                raise
            reg.failures.append(Failure(point.name, dist.name, f"import failed: {describe_error(err)}", err))
            continue
        _register_module(reg, by_key, plugin, module)
    reg.failures += _distributions_without_entry_point("kkwarm")
    for name, module in extra:
        _register_module(reg, by_key, Plugin(name, "(in memory)", "0", name), module)
    _register_objects(reg, by_key)
    return reg


def _entry_points(group: str) -> list[tuple[EntryPoint, Distribution]]:
    points: dict[tuple[str, str], tuple[EntryPoint, Distribution]] = {}
    for dist in distributions():
        for point in dist.entry_points:
            if point.group == group:
                # An editable install can list a distribution twice on sys.path; the first one is imported.
                points.setdefault((dist.name, point.name), (point, dist))
    return sorted(points.values(), key=lambda pair: (pair[1].name != "kkwarm", pair[1].name, pair[0].name))


def _distributions_without_entry_point(group: str) -> list[Failure]:
    """Distributions whose name says that they are plugins, but that declare no entry point."""
    failures: dict[str, Failure] = {}
    for folder in sys.path:  # by file name: `distributions` would have to parse the metadata of each to name it
        for path in Path(folder or ".").glob("[Kk][Kk][Ww][Aa][Rr][Mm][-_.]*-info"):
            dist = Distribution.at(path)
            if not dist.name or any(point.group == group for point in dist.entry_points):
                continue
            hint = f"add [project.entry-points.{group}] to its pyproject.toml and install it again"
            cause = f"it has no entry point of group {group!r}: {hint}"
            failures.setdefault(dist.name, Failure(dist.name, dist.name, cause))
    return [failures[name] for name in sorted(failures)]


def _register_module(reg: Registry, by_key: dict[str, Plugin], plugin: Plugin, module: ModuleType | object) -> None:
    reg.failures += [Failure(plugin.name, plugin.distribution, problem) for problem in find_hook_problems(module)]
    try:  # without check_pending, which would blame this plugin for a misspelt hook of an earlier one
        reg.manager.register(module, name=plugin.key)
    except (pluggy.PluginValidationError, ValueError) as err:
        reg.failures.append(Failure(plugin.name, plugin.distribution, " ".join(str(err).split()), err))
        if reg.manager.has_plugin(plugin.key):
            reg.manager.unregister(name=plugin.key)
        return
    hooks = sorted(caller.name for caller in reg.manager.get_hookcallers(module) or ())
    plugin = replace(plugin, hooks=tuple(h for h in hooks if hasattr(hookspecs, h)))
    by_key[plugin.key] = plugin
    reg.plugins.append(plugin)


Key = tuple[str, str]  # (kind, name as it is displayed)
Claims = dict[Key, list[tuple[Plugin, Any]]]


def _register_objects(reg: Registry, by_key: Mapping[str, Plugin]) -> None:
    """Calls the registration hooks of each plugin, and leaves out every name that is registered twice."""
    claims = _collect_claims(reg, by_key)
    dropped = {key for key, owners in claims.items() if len(owners) > 1 or _is_built_in(key)}
    _report_conflicts(reg, claims, dropped)
    for (kind, name), owners in claims.items():
        plugin, item = owners[0]
        if item is None or dropped & {(kind, name), *_expanded_keys(kind, item)}:
            continue
        if kind == "domain":
            reg._add_domain(item)
        else:
            table = getattr(reg, kind + "s")
            table[_key_of(kind, item)] = item
        reg.origin[kind, name] = plugin
    _drop_missing_references(reg)


def _drop_missing_references(reg: Registry) -> None:
    """Removes domains, tasks and benchmarks that refer to a verifier or protocol that is not registered."""
    for kind in ("domain", "task", "benchmark"):
        for name, item in list(getattr(reg, kind + "s").items()):
            owner = reg.origin.get((kind, name))
            problem = missing_reference(item, reg.verifiers, reg._protocol_names(item))
            if owner is not None and problem:  # tasks and benchmarks that a domain expands into have no origin
                reg.failures.append(Failure(owner.name, owner.distribution, f"{kind} {name!r}: {problem}"))
                for table in ("domains", "tasks", "benchmarks") if kind == "domain" else (kind + "s",):
                    del getattr(reg, table)[name]


def _collect_claims(reg: Registry, by_key: Mapping[str, Plugin]) -> Claims:
    """Which plugins register which name. The item is None for a name that a domain claims by expanding into it."""
    claims: Claims = {}
    for hook, kind, cls in REGISTRATIONS:
        for impl in getattr(reg.manager.hook, hook).get_hookimpls():
            plugin = by_key.get(impl.plugin_name)
            if plugin is None:
                continue
            try:
                items = validate_items(hook, kind, cls, impl.function())
            except Exception as err:
                reg._record_failure(impl.plugin_name, hook, err)
                continue
            for item in items:
                key = _key_of(kind, item)
                name = key if isinstance(key, str) else "/".join(part for part in key if part)
                claims.setdefault((kind, name), []).append((plugin, item))
                for key in _expanded_keys(kind, item):
                    claims.setdefault(key, []).append((plugin, None))
    return claims


def _key_of(kind: str, item: Any) -> str | tuple[str, str]:
    """The key of an object in its table of the registry."""
    if kind == "teacher":
        return item.domain, item.name
    return (item.benchmark, item.name) if kind == "protocol" else item.name


def _expanded_keys(kind: str, item: Any) -> list[Key]:
    """The names of the task, verifier, benchmark and protocols that a domain expands into."""
    if kind != "domain":
        return []
    protocols = [("protocol", f"{item.name}/{p.name}") for p in item.protocols]
    return [("task", item.name), ("verifier", make_verifier(item).name), ("benchmark", item.name), *protocols]


def _is_built_in(key: Key) -> bool:
    return key[0] == "protocol" and key[1] in BUILT_IN


def _report_conflicts(reg: Registry, claims: Claims, dropped: set[Key]) -> None:
    reported: set[tuple[str, str]] = set()
    for (kind, name), owners in claims.items():
        if (kind, name) not in dropped:
            continue
        counts = Counter(f"{p.distribution} ({p.name})" for p, _ in owners)
        who = [f"{owner} twice" if count > 1 else owner for owner, count in counts.items()]
        who += ["kkwarm itself"] if _is_built_in((kind, name)) else []
        for plugin, _ in owners:
            if (plugin.name, name) not in reported:  # once, although a domain claims several kinds of one name
                reported.add((plugin.name, name))
                why = f"{kind} {name!r} is registered by {' and by '.join(who)}; none of them is used"
                reg.failures.append(Failure(plugin.name, plugin.distribution, why))


def add_commands(cli: Any, reserved: Iterable[str]) -> None:
    """Lets each plugin add commands to the click group. Names in `reserved` are refused; failures are recorded."""
    reg = registry()
    reserved = set(reserved)
    for impl in reg.manager.hook.kkwarm_commands.get_hookimpls():
        before = dict(cli.commands)
        try:
            impl.function(cli)
            overwritten = {name for name in before if cli.commands.get(name) is not before[name]}
            if conflicts := sorted((set(cli.commands) & reserved) | overwritten):
                raise ValueError(f"command {', '.join(conflicts)} exists already")
        except Exception as err:
            cli.commands = before
            reg._record_failure(impl.plugin_name, "kkwarm_commands", err)
