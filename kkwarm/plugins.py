"""Loads plugins, each alone, and resolves names.

pluggy's own loader stops at the first entry point that fails, and ignores a misspelt hook. Here a plugin that fails is
recorded with its cause, and everybody else works.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from kkwarm import hookspecs
from kkwarm.errors import KkwarmError, describe_error, unknown_name
from kkwarm.expand import make_benchmark, make_task, make_verifier, narrow_benchmark, narrow_task
from kkwarm.formats import BUILT_IN
from kkwarm.registration import REGISTRATIONS, find_hook_problems, missing_reference, validate_item, validate_items
from kkwarm.types import Benchmark, Domain, Format, Probe, Rewards, Task, Teacher, Verifier

__all__ = ["Failure", "Plugin", "Registry", "add_commands", "hookimpl", "load", "registry"]

hookimpl = pluggy.HookimplMarker("kkwarm")
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: the name it has there, its distribution and version, the hooks it implements."""

    name: str
    distribution: str
    version: str
    module: str
    hooks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name that pluggy knows it by."""
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
    """All names that plugins registered. The mappings are name -> object; teachers are keyed by (domain, name)."""

    manager: pluggy.PluginManager
    plugins: list[Plugin] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    domains: dict[str, Domain] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    verifiers: dict[str, Verifier] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    formats: dict[str, Format] = field(default_factory=dict)
    teachers: dict[tuple[str, str], Teacher] = field(default_factory=dict)
    origin: dict[tuple[str, str], Plugin] = field(default_factory=dict)

    # -- resolving names ---------------------------------------------------------------------------------------------

    def domain(self, name: str) -> Domain:
        """The domain of that name (made on demand by `kkwarm_resolve_domain` where nobody registered it)."""
        if name not in self.domains and not self._made(name):
            raise self._unknown("domain", name, self.domains)
        return self.domains[name]

    def task(self, name: str) -> Task:
        """The task ``NAME``, or ``NAME:VALUE`` narrowed by its facet."""
        return self._resolve("task", name, self.tasks, narrow_task)

    def benchmark(self, name: str) -> Benchmark:
        """The benchmark ``NAME``, or ``NAME:VALUE`` narrowed by its facet."""
        return self._resolve("benchmark", name, self.benchmarks, narrow_benchmark)

    def rewards(self, benchmark: str) -> Rewards:
        """The rewards of the task that shares a benchmark's name; the default table where there is none."""
        try:
            return self.task(benchmark).rewards
        except KkwarmError:
            return Rewards()

    def verifier(self, name: str) -> Verifier:
        """The verifier of that name; a domain's has the domain's name unless it was given another."""
        return self._get("verifier", name, self.verifiers)

    def format(self, name: str) -> Format:
        """The prompt format of that name, built in or registered."""
        return self._get("format", name, self.formats)

    def teacher(self, domain: str, name: str) -> Teacher:
        """The teacher of that domain and name."""
        if (domain, name) not in self.teachers:
            here = [t for d, t in self.teachers if d == domain]
            raise unknown_name(
                f"teacher of {domain}", name, here, hint="or give a checkpoint folder or a server as the teacher"
            )
        return self.teachers[domain, name]

    def _resolve(self, kind: str, name: str, table: Mapping[str, T], narrow: Callable[[T, str], T]) -> T:
        if name in table or self._made(name):
            return table[name]
        for colon in (at for at, char in enumerate(name) if char == ":"):
            base, value = name[:colon], name[colon + 1 :]
            if base in table or (base and self._made(base)):
                return narrow(table[base], value)
        raise self._unknown(kind, name, table)

    def _made(self, name: str) -> bool:
        """Whether some plugin's `kkwarm_resolve_domain` makes the domain; it is then added.

        A plugin that fails is recorded and the next one asked; what the user can mend (`KkwarmError`) is raised.
        """
        for impl in reversed(self.manager.hook.kkwarm_resolve_domain.get_hookimpls()):
            try:
                made: Any = impl.function(**dict.fromkeys(impl.argnames, name))
                if made is None:
                    continue
                validate_item("kkwarm_resolve_domain", "domain", Domain, made)
                if made.name != name:
                    raise ValueError(f"the domain made for {name!r} is named {made.name!r}")
                if fault := missing_reference(made, self.verifiers, self.formats):
                    raise ValueError(fault)
            except KkwarmError:
                raise
            except Exception as err:
                self._failed(impl.plugin_name, f"kkwarm_resolve_domain({name!r})", err)
                continue
            self._add_domain(made)
            owner = next((p for p in self.plugins if p.key == impl.plugin_name), None)
            if owner is not None:
                self.origin["domain", name] = owner
            return True
        return False

    def _get(self, kind: str, name: str, table: Mapping[str, T]) -> T:
        if name not in table:
            raise self._unknown(kind, name, table)
        return table[name]

    def _unknown(self, kind: str, name: str, table: Mapping[str, object]) -> KkwarmError:
        """The error for a name that is not there; it tells of the plugin that failed to give it."""
        owned = [f for f in self.failures if f.plugin in (name, f"kkwarm-{name}") or f"{name!r}" in f.cause]
        told: dict[str, list[str]] = {}
        for f in owned or self.failures:
            told.setdefault(f.cause, []).append(f.plugin)
        failed = [f"plugin{'s' * (len(who) > 1)} {' and '.join(who)} failed: {why}" for why, who in told.items()]
        if owned:
            return KkwarmError(f"unknown {kind} {name!r}", hint="; ".join(failed))
        if kind == "domain" and name in self.benchmarks:
            return KkwarmError(f"{name!r} is a benchmark, no domain", hint="it has no gold answers and no rewards")
        if len(failed) > 1:
            failed = [f"{len(failed)} plugins failed, `kkwarm plugins` says why"]
        return unknown_name(kind, name, table, hint="".join(failed))

    def probes(self, domain: str) -> list[Probe]:
        """The attacks that plugins add for that domain. One that fails to list its attacks is recorded as a failure."""
        found: list[Probe] = []
        for impl in self.manager.hook.kkwarm_probes.get_hookimpls():
            try:
                listed: list[Probe] = validate_items("kkwarm_probes", "probe", Probe, impl.function())
                found += [a for a in listed if a.domain in ("", domain)]
            except Exception as err:
                self._failed(impl.plugin_name, "kkwarm_probes", err)
        return found

    def call_hook(self, hook: str, **arguments: Any) -> None:
        """Calls every plugin's implementation of `hook`. One that fails is logged and recorded, once, and harms nobody.

        :param arguments: by the names that the hook has; an implementation may leave some out.
        """
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                impl.function(**{name: arguments[name] for name in impl.argnames})
            except Exception as err:
                if (failure := self._failed(impl.plugin_name, hook, err)) is not None:
                    log.warning("plugin %s (%s): %s", failure.plugin, failure.distribution, failure.cause)

    def _failed(self, key: str, what: str, err: Exception) -> Failure | None:
        """Records a failure; None where it is recorded already."""
        distribution, _, plugin = key.partition("/")
        failure = Failure(plugin, distribution, f"{what} failed: {describe_error(err)}", err)
        if (plugin, distribution, failure.cause) in {(f.plugin, f.distribution, f.cause) for f in self.failures}:
            return None
        self.failures.append(failure)
        return failure

    # -- registering -------------------------------------------------------------------------------------------------

    def _add_domain(self, domain: Domain) -> None:
        self.domains[domain.name] = domain
        verifier = make_verifier(domain)
        self.verifiers[verifier.name] = verifier
        self.tasks[domain.name] = make_task(domain, verifier.name)
        self.benchmarks[domain.name] = make_benchmark(domain, verifier.name)


def _entry_points(group: str) -> list[tuple[EntryPoint, Distribution]]:
    found: dict[tuple[str, str], tuple[EntryPoint, Distribution]] = {}
    for dist in distributions():
        for point in dist.entry_points:
            if point.group == group:
                # An editable install can list one distribution twice on sys.path; the first is the one imported.
                found.setdefault((dist.name, point.name), (point, dist))
    return sorted(found.values(), key=lambda pair: (pair[1].name != "kkwarm", pair[1].name, pair[0].name))


def _unplugged(group: str) -> list[Failure]:
    """Distributions that by their name want to be plugins, and name no module in an entry point."""
    found: dict[str, Failure] = {}
    for dist in distributions():
        name = dist.name or ""
        if not name.lower().replace("_", "-").startswith("kkwarm-") or any(p.group == group for p in dist.entry_points):
            continue
        cause = f"it has no entry point of group {group!r}: add [project.entry-points.{group}] to its pyproject.toml"
        found.setdefault(name, Failure(name, name, f"{cause} and install it again"))
    return [found[name] for name in sorted(found)]


def load(extra: Iterable[tuple[str, object]] = ()) -> Registry:
    """A fresh registry of every installed plugin, and of `extra` (name, module or object with hooks), for tests.

    What a plugin prints meanwhile goes to stderr: standard output may be a document, or the shell's completion.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return _load(extra)


def _load(extra: Iterable[tuple[str, object]]) -> Registry:
    manager = pluggy.PluginManager("kkwarm")
    manager.add_hookspecs(hookspecs)
    reg = Registry(manager, formats=dict(BUILT_IN))
    by_plugin: dict[str, Plugin] = {}
    for point, dist in _entry_points("kkwarm"):
        info = Plugin(point.name, dist.name, dist.version, point.value)
        try:
            module = point.load()
        except BaseException as err:
            if isinstance(err, KeyboardInterrupt):
                raise
            reg.failures.append(Failure(point.name, dist.name, f"import failed: {describe_error(err)}", err))
            continue
        _register(reg, by_plugin, info, module)
    reg.failures += _unplugged("kkwarm")
    for name, module in extra:
        _register(reg, by_plugin, Plugin(name, "(in memory)", "0", name), module)
    _collect(reg, by_plugin)
    return reg


@lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry of this process, loaded once."""
    return load()


def _register(reg: Registry, by_plugin: dict[str, Plugin], info: Plugin, module: ModuleType | object) -> None:
    reg.failures += [Failure(info.name, info.distribution, fault) for fault in find_hook_problems(module)]
    try:  # without check_pending: it would blame this plugin for what another one before it misspelt
        reg.manager.register(module, name=info.key)
    except (pluggy.PluginValidationError, ValueError) as err:
        reg.failures.append(Failure(info.name, info.distribution, " ".join(str(err).split()), err))
        if reg.manager.has_plugin(info.key):
            reg.manager.unregister(name=info.key)
        return
    hooks = sorted(caller.name for caller in reg.manager.get_hookcallers(module) or ())
    plugin = replace(info, hooks=tuple(h for h in hooks if hasattr(hookspecs, h)))
    by_plugin[info.key] = plugin
    reg.plugins.append(plugin)


Key = tuple[str, str]  # kind, name as it is shown
Claims = dict[Key, list[tuple[Plugin, Any]]]


def _collect(reg: Registry, by_plugin: Mapping[str, Plugin]) -> None:
    """Calls each registration hook of each plugin alone, then drops every name that two plugins claim."""
    claims = _claims(reg, by_plugin)
    dropped = {key for key, owners in claims.items() if len(owners) > 1 or _taken(key)}
    _report(reg, claims, dropped)
    for (kind, name), owners in claims.items():
        plugin, item = owners[0]
        if item is None or dropped & {(kind, name), *_claimed(kind, item)}:
            continue
        if kind == "domain":
            reg._add_domain(item)
        else:
            table = getattr(reg, kind + "s")
            table[(item.domain, item.name) if kind == "teacher" else name] = item
        reg.origin[kind, name] = plugin
    for kind in ("domain", "task", "benchmark"):
        for name, item in list(getattr(reg, kind + "s").items()):
            owner, fault = reg.origin.get((kind, name)), missing_reference(item, reg.verifiers, reg.formats)
            if owner is not None and fault:  # what a domain expands into has no origin of its own
                reg.failures.append(Failure(owner.name, owner.distribution, f"{kind} {name!r}: {fault}"))
                for made in ("domains", "tasks", "benchmarks") if kind == "domain" else (kind + "s",):
                    del getattr(reg, made)[name]


def _claims(reg: Registry, by_plugin: Mapping[str, Plugin]) -> Claims:
    """Who registers what. The item is None where the name is claimed by a domain of another name or kind."""
    claims: Claims = {}
    for hook, kind, cls in REGISTRATIONS:
        for impl in getattr(reg.manager.hook, hook).get_hookimpls():
            plugin = by_plugin.get(impl.plugin_name)
            if plugin is None:
                continue
            try:
                items = validate_items(hook, kind, cls, impl.function())
            except Exception as err:
                reg.failures.append(
                    Failure(plugin.name, plugin.distribution, f"{hook} failed: {describe_error(err)}", err)
                )
                continue
            for item in items:
                shown = f"{item.domain}/{item.name}" if kind == "teacher" else item.name
                claims.setdefault((kind, shown), []).append((plugin, item))
                for key in _claimed(kind, item):
                    claims.setdefault(key, []).append((plugin, None))
    return claims


def _claimed(kind: str, item: Any) -> list[Key]:
    """A domain claims its task's, verifier's and benchmark's names too."""
    if kind != "domain":
        return []
    return [("task", item.name), ("verifier", make_verifier(item).name), ("benchmark", item.name)]


def _taken(key: Key) -> bool:
    return key[0] == "format" and key[1] in BUILT_IN


def _report(reg: Registry, claims: Claims, dropped: set[Key]) -> None:
    reported: set[tuple[str, str]] = set()
    for (kind, name), owners in claims.items():
        if (kind, name) not in dropped:
            continue
        claimed = Counter(f"{p.distribution} ({p.name})" for p, _ in owners)
        who = [f"{owner} twice" if count > 1 else owner for owner, count in claimed.items()]
        who += ["kkwarm itself"] if _taken((kind, name)) else []
        for plugin, _ in owners:
            if (plugin.name, name) not in reported:  # a domain claims several kinds of one name: said once
                reported.add((plugin.name, name))
                why = f"{kind} {name!r} is registered by {' and by '.join(who)}; none of them is used"
                reg.failures.append(Failure(plugin.name, plugin.distribution, why))


def add_commands(cli: Any, reserved: Iterable[str]) -> None:
    """Lets each plugin add its commands to the click group; a name in `reserved` is refused, a failure recorded."""
    reg = registry()
    taken = set(reserved)
    for impl in reg.manager.hook.kkwarm_commands.get_hookimpls():
        before = dict(cli.commands)
        try:
            impl.function(cli)
            clash = sorted((set(cli.commands) & taken) | {n for n in before if cli.commands.get(n) is not before[n]})
            if clash:
                raise ValueError(f"command {', '.join(clash)} is taken")
        except Exception as err:
            cli.commands = before
            reg._failed(impl.plugin_name, "kkwarm_commands", err)
