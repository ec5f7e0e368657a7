"""A domain in memory: sums. Run as a script, it is `kkwarm` with that plugin (for tests that kill the process)."""

import sys
from dataclasses import replace

from kkwarm import plugins
from kkwarm.plugins import Registry, hookimpl
from kkwarm.protocols import PAPER
from kkwarm.types import Domain, Example, Protocol, Response, Sample, Sampling, Status, Verdict

N = 12


def examples() -> list[Example]:
    return [
        Example(f"sum/{i}", f"What is {i} + {i * i}?", i + i * i, "test", {"parity": "even" if i % 2 == 0 else "odd"})
        for i in range(N)
    ]


def check(example: Example, response: Response) -> Verdict:
    answer = (response.answer or "").strip()
    if not answer.lstrip("-").isdigit():
        return Verdict(Status.UNPARSED, reason="no number")
    right = int(answer) == example.answer
    return Verdict(
        Status.CORRECT if right else Status.WRONG, answer, metrics={"near": abs(int(answer) - example.answer) < 3}
    )


FORCING = replace(PAPER, name="toy-forcing", force=" Let me think.")


class Toy:
    """The plugin; records the calls of its hooks."""

    def __init__(self) -> None:
        self.scored: list[Sample] = []
        self.finished: list[object] = []

    @hookimpl
    def kkwarm_domains(self) -> list[Domain]:
        sampling = Sampling(1.0, 1.0, 24)
        return [
            Domain("toy", examples, check, facet="parity", sampling=sampling),
            Domain("toy_free", lambda: examples()[:5], check, protocol="plain", sampling=sampling),
            Domain("toy_short", lambda: examples()[:5], check, sampling=Sampling(1.0, 1.0, 6)),
        ]

    @hookimpl
    def kkwarm_protocols(self) -> list[Protocol]:
        return [FORCING]

    @hookimpl
    def kkwarm_sample_scored(self, sample: Sample) -> None:
        self.scored.append(sample)

    @hookimpl
    def kkwarm_run_finished(self, run: object) -> None:
        self.finished.append(run)
        raise RuntimeError("this plugin is broken")


def registry(toy: Toy | None = None) -> Registry:
    return plugins.load(extra=[("toy", toy or Toy())])


if __name__ == "__main__":
    made = registry()
    plugins.registry = lambda: made  # type: ignore[assignment]
    from kkwarm.cli import main

    main(sys.argv[1:])
