"""The protocol that a checkpoint was trained with: its training run records it, and later commands ask by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.schema.settings import TrainConfig

__all__ = ["describe_prompting", "inherit_protocol"]

_OPTIONS = ("chat", "system", "chat_template_args", "think_tags")  # settings of the prompts beside `protocol`


def describe_prompting(config: TrainConfig, domains: Iterable[str]) -> dict[str, Any]:
    """How a training run prompts, for its manifest: the protocol of each domain, and other options that were given."""
    from kkwarm.plugins import registry

    reg = registry()
    prompting: dict[str, Any] = {"protocols": {d: reg.protocol(reg.task(d), config.protocol).name for d in domains}}
    values = config.dump()
    return prompting | {k: values[k] for k in _OPTIONS if values[k] != type(config).model_fields[k].default}


def inherit_protocol(model: str, given: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The given settings with the protocol and the other prompt settings that a checkpoint was trained with, and a note
    for the user; unchanged, with an empty note, where no training run made the checkpoint or the defaults are the same.

    A protocol that the user names is kept; the note tells if it is another one.

    :param given: settings that the user gave.
    :param names: benchmarks or domains. Those that do not have the protocol keep their default.
    """
    from kkwarm.plugins import registry
    from kkwarm.store import find_training_run

    run = find_training_run(model)
    prompting = {} if run is None else run.manifest.prompting
    trained = list(dict.fromkeys(prompting.get("protocols", {}).values()))
    if run is None or not trained:
        return dict(given), ""
    options = {k: prompting[k] for k in _OPTIONS if k in prompting}
    what = f"{run.path} was trained by protocol {', '.join(trained)}"
    if options:
        what += f" with {', '.join('--' + name.replace('_', '-') for name in options)}"
    reg, chosen = registry(), {}
    for name in names:
        try:
            benchmark = reg.benchmark(name)
            asked = reg.protocol(benchmark, given.get("protocol")).name
        except KkwarmError:
            continue  # an unknown name or protocol is reported later
        offered = [p for p in trained if p in reg.protocols_of(benchmark.name)]
        if offered and asked not in offered:
            chosen[benchmark.name] = offered[0]
    if any(key in given for key in ("protocol", *_OPTIONS)):
        other = "protocol" in given and chosen
        return dict(given), f"{what}, but it is asked by protocol {given['protocol']}" if other else ""
    inherited: dict[str, Any] = dict(options)
    if chosen:
        inherited["protocol"] = ",".join(f"{name}={protocol}" for name, protocol in chosen.items())
    note = f"{what}, and is asked in the same way; --protocol, --chat and so on replace that" if inherited else ""
    return {**given, **inherited}, note
