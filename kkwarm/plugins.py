"""Loads plugins, each alone, and resolves names.

pluggy's own loader stops at the first entry point that fails, and ignores a misspelt hook. Here a plugin that fails is
recorded with its cause, and everybody else works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from kkwarm import hookspecs
from kkwarm.errors import KkwarmError, unknown
from kkwarm.expand import benchmark_of, narrow_benchmark, narrow_task, task_of, verifier_of
from kkwarm.formats import BUILT_IN
from kkwarm.types import Benchmark, Domain, Format, Rewards, Task, Teacher, Verifier

if TYPE_CHECKING:
    from kkwarm.verify.audit import Attack

__all__ = ["Failure", "Plugin", "Registry", "add_commands", "hookimpl", "load", "registry"]

hookimpl = pluggy.HookimplMarker("kkwarm")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: the name it has there, its distribution and version, the hooks it implements."""

    name: str
    distribution: str
    version: str
    module: str
    hooks: tuple[str, ...] = ()


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
            raise unknown(
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
            dist, _, plugin = impl.plugin_name.partition("/")
            try:
                made: Any = impl.function(**dict.fromkeys(impl.argnames, name))
                if made is None:
                    continue
                _check_item("kkwarm_resolve_domain", "domain", Domain, made)
                if made.name != name:
                    raise ValueError(f"the domain made for {name!r} is named {made.name!r}")
            except KkwarmError:
                raise
            except Exception as err:
                cause = f"kkwarm_resolve_domain({name!r}) failed: {type(err).__name__}: {err}"
                self.failures.append(Failure(plugin, dist, cause, err))
                continue
            self._add_domain(made)
            owner = next((p for p in self.plugins if (p.distribution, p.name) == (dist, plugin)), None)
            if owner is not None:
                self.origin["domain", name] = owner
            return True
        return False

    def _get(self, kind: str, name: str, table: Mapping[str, T]) -> T:
        if name not in table:
            raise self._unknown(kind, name, table)
        return table[name]

    def _unknown(self, kind: str, name: str, table: Mapping[str, object]) -> KkwarmError:
        failed: dict[str, list[str]] = {}
        for f in self.failures:
            failed.setdefault(f.cause, []).append(f.plugin)
        told = (
            f"plugin{'s' * (len(names) > 1)} {' and '.join(names)} failed: {cause}" for cause, names in failed.items()
        )
        return unknown(kind, name, table, hint="; ".join(told))

    def attacks(self, domain: str) -> list[Attack]:
        """The attacks that plugins add for that domain. One that fails to list its attacks is recorded as a failure."""
        found: list[Attack] = []
        for impl in self.manager.hook.kkwarm_attacks.get_hookimpls():
            try:
                listed: Any = impl.function()
                found += [a for a in listed if a.domain in ("", domain)]
            except Exception as err:
                dist, _, name = impl.plugin_name.partition("/")
                self.failures.append(Failure(name, dist, f"kkwarm_attacks failed: {type(err).__name__}: {err}", err))
        return found

    # -- registering -------------------------------------------------------------------------------------------------

    def _add_domain(self, domain: Domain) -> None:
        self.domains[domain.name] = domain
        verifier = verifier_of(domain)
        self.verifiers[verifier.name] = verifier
        self.tasks[domain.name] = task_of(domain, verifier.name)
        self.benchmarks[domain.name] = benchmark_of(domain, verifier.name)


_REGISTRATIONS: tuple[tuple[str, str, type | None], ...] = (
    ("kkwarm_formats", "format", None),
    ("kkwarm_verifiers", "verifier", Verifier),
    ("kkwarm_domains", "domain", Domain),
    ("kkwarm_tasks", "task", Task),
    ("kkwarm_benchmarks", "benchmark", Benchmark),
    ("kkwarm_teachers", "teacher", Teacher),
)


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
    """A fresh registry of every installed plugin, and of `extra` (name, module or object with hooks), for tests."""
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
            reg.failures.append(Failure(point.name, dist.name, f"import failed: {type(err).__name__}: {err}", err))
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
    key = f"{info.distribution}/{info.name}"
    for hook, near in _misspelt(module):
        cause = f"hook {hook!r} does not exist" + (f"; did you mean {near}?" if near else "; see the hook reference")
        reg.failures.append(Failure(info.name, info.distribution, cause))
    try:  # without check_pending: it would blame this plugin for what another one before it misspelt
        reg.manager.register(module, name=key)
    except (pluggy.PluginValidationError, ValueError) as err:
        reg.failures.append(Failure(info.name, info.distribution, " ".join(str(err).split()), err))
        if reg.manager.has_plugin(key):
            reg.manager.unregister(name=key)
        return
    hooks = tuple(sorted(caller.name for caller in reg.manager.get_hookcallers(reg.manager.get_plugin(key)) or ()))
    known = tuple(h for h in hooks if hasattr(hookspecs, h))
    plugin = Plugin(info.name, info.distribution, info.version, info.module, known)
    by_plugin[key] = plugin
    reg.plugins.append(plugin)


def _misspelt(module: object) -> list[tuple[str, str]]:
    """Marked implementations of hooks that do not exist, each with the nearest name that does."""
    import difflib

    specs = [n for n in dir(hookspecs) if n.startswith("kkwarm_")]
    wrong = []
    for name in dir(module):
        marked = getattr(getattr(module, name, None), "kkwarm_impl", None)
        if (marked is not None or name.startswith("kkwarm_")) and name not in specs:
            if marked is None and not callable(getattr(module, name)):
                continue
            near = difflib.get_close_matches(name, specs, n=1)
            wrong.append((name, near[0] if near else ""))
    return wrong


def _collect(reg: Registry, by_plugin: Mapping[str, Plugin]) -> None:
    """Calls each registration hook of each plugin alone, then drops every name that two plugins claim."""
    claims: dict[tuple[str, Any], list[tuple[Plugin, Any]]] = {}
    for hook, kind, cls in _REGISTRATIONS:
        caller = getattr(reg.manager.hook, hook)
        for impl in caller.get_hookimpls():
            plugin = by_plugin.get(impl.plugin_name)
            if plugin is None:
                continue
            try:
                items = list(impl.function() or ())
                for item in items:
                    _check_item(hook, kind, cls, item)
            except Exception as err:
                cause = f"{hook} failed: {type(err).__name__}: {err}"
                reg.failures.append(Failure(plugin.name, plugin.distribution, cause, err))
                continue
            for item in items:
                name = (item.domain, item.name) if kind == "teacher" else item.name
                claims.setdefault((kind, name), []).append((plugin, item))
                if kind == "domain":  # a domain claims its task's, verifier's and benchmark's names too
                    claims.setdefault(("task", name), []).append((plugin, None))
                    claims.setdefault(("verifier", verifier_of(item).name), []).append((plugin, None))
                    claims.setdefault(("benchmark", name), []).append((plugin, None))
    reported: set[tuple[str, str]] = set()
    for (kind, name), owners in claims.items():
        taken = kind == "format" and name in BUILT_IN
        if len(owners) < 2 and not taken:
            continue
        claimed = Counter(f"{p.distribution} ({p.name})" for p, _ in owners)
        who = [f"{name} twice" if count > 1 else name for name, count in claimed.items()]
        who += ["kkwarm itself"] if taken else []
        shown = name if isinstance(name, str) else "/".join(name)
        for plugin, _ in owners:
            if (plugin.name, shown) not in reported:  # a domain claims several kinds of one name: said once
                reported.add((plugin.name, shown))
                cause = f"{kind} {shown!r} is registered by {' and by '.join(who)}; none of them is used"
                reg.failures.append(Failure(plugin.name, plugin.distribution, cause))
    dropped = {key for key, owners in claims.items() if len(owners) > 1 or (key[0] == "format" and key[1] in BUILT_IN)}
    for (kind, name), owners in claims.items():
        plugin, item = owners[0]
        if item is None or (kind, name) in dropped:
            continue
        if kind == "domain":
            if {("task", name), ("benchmark", name), ("verifier", verifier_of(item).name)} & dropped:
                continue
            reg._add_domain(item)
        else:
            getattr(reg, kind + "s")[name] = item
        reg.origin[kind, name if isinstance(name, str) else "/".join(name)] = plugin


def _check_item(hook: str, kind: str, cls: type | None, item: Any) -> None:
    if cls is not None and not isinstance(item, cls):
        raise TypeError(f"{hook} must return {cls.__name__} objects, got {type(item).__name__}")
    if cls is None and not isinstance(item, Format):
        raise TypeError(
            f"{hook} must return objects with name, stop, render, compose and split, got {type(item).__name__}"
        )
    if not isinstance(item.name, str) or not item.name:
        raise ValueError(f"{hook}: a {kind} has no name")


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
            dist, _, name = impl.plugin_name.partition("/")
            reg.failures.append(Failure(name, dist, f"kkwarm_commands failed: {type(err).__name__}: {err}", err))
