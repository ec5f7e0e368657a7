"""Progress of generation: tokens, rates and the time left."""

import pytest

from kkwarm import progress
from kkwarm.progress import GenerationNote, GenerationProgress, TokenMeter, duration
from kkwarm.types import Completion, Sample, Status, Verdict


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(progress, "time", clock := Clock())
    return clock


def samples(count: int, tokens: int) -> list[Sample]:
    verdict = Verdict(Status.CORRECT)
    return [Sample("kk", str(i), 0, Completion("4", tokens), verdict) for i in range(count)]


def test_the_time_left_is_known_before_the_first_sample_is_finished(clock: Clock) -> None:
    meter = TokenMeter(total=10, max_tokens=400)
    assert (meter.seconds_left, meter.text()) == (None, "")
    clock.now += 20
    meter.add_tokens(1000)
    assert (meter.rate, meter.tokens_left, meter.seconds_left) == (50, 3000, 60)
    assert meter.text() == "1,000 tokens, 50 tokens/s, at most 1 min 00 s left"


def test_the_time_left_follows_the_lengths_of_finished_samples(clock: Clock) -> None:
    meter = TokenMeter(total=10, max_tokens=400)
    clock.now += 10
    meter.add_tokens(500)
    meter.add_samples(5, 500)
    assert meter.tokens_left == 500, "five more of 100 tokens"
    assert meter.text().endswith("about 10 s left")
    full = TokenMeter(total=4, max_tokens=400)  # all samples end at the limit, two at a time
    full.add_tokens(800)
    full.add_samples(2, 800)
    full.add_tokens(600)
    assert full.tokens_left == 200, "the unfinished samples' tokens are done"
    full.add_tokens(200)
    full.add_samples(2, 800)
    assert full.tokens_left == 0 and full.text().endswith("tokens/s")


def test_lines_are_printed_at_intervals_where_stderr_is_no_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with GenerationProgress(True) as bars:
        bars.start("kk, math", 12, 2, max_tokens=100)
        for _ in range(70):
            clock.now += 1
            bars.add_tokens(10)
        bars.add_samples(samples(5, 100))
        clock.now += 30
        bars.add_samples(samples(1, 100))
    assert capsys.readouterr().err.splitlines() == [
        "kk, math: 2/12 samples, 300 tokens, 10 tokens/s, at most 1 min 10 s left",
        "kk, math: 2/12 samples, 600 tokens, 10 tokens/s, at most 40 s left",
        "kk, math: 8/12 samples, 700 tokens, 7 tokens/s, about 43 s left",
    ]
    with GenerationProgress(False) as silent:
        silent.start("kk", 12, 0)
        clock.now += 100
        silent.add_tokens(10)
    assert capsys.readouterr().err == ""


def test_a_note_is_updated_five_times_a_second_at_most(clock: Clock) -> None:
    note, shown = GenerationNote(), []
    note.add_tokens(1)
    note.show = shown.append
    note.start("generating", 2, 50)
    for _ in range(100):
        clock.now += 0.01
        note.add_tokens(1)
    assert 4 <= len(shown) <= 6
    note.add_sample(50)
    clock.now += 1
    note.add_tokens(0)
    assert shown[-1].startswith("generating 1/2: 100 tokens, 50 tokens/s, about")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (200, "3 min 20 s"), (3600, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
