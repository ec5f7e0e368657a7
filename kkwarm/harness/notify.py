"""Tells plugins what happened; one that fails is reported once and harms nobody."""

from __future__ import annotations

import logging
from typing import Any

from kkwarm.plugins import Failure, Registry

__all__ = ["notify"]

log = logging.getLogger(__name__)


def notify(registry: Registry, hook: str, **arguments: Any) -> None:
    """Calls every plugin's implementation of `hook`; failures are logged and kept in the registry, each once."""
    for impl in getattr(registry.manager.hook, hook).get_hookimpls():
        try:
            impl.function(**{name: arguments[name] for name in impl.argnames})
        except Exception as err:
            distribution, _, name = impl.plugin_name.partition("/")
            cause = f"{hook} failed: {type(err).__name__}: {err}"
            known = {(f.plugin, f.distribution, f.cause) for f in registry.failures}
            if (name, distribution, cause) not in known:
                registry.failures.append(Failure(name, distribution, cause, err))
                log.warning("plugin %s (%s): %s", name, distribution, cause)
