"""Curves: reading a log that is being written, and steps saved."""

from pathlib import Path

import pytest

from kkwarm.analysis.efficiency import compare_curves, smooth
from kkwarm.analysis.training import Curve, read_curve
from kkwarm.errors import KkwarmError


def curve(condition: str, seed: int, accuracy: list[float]) -> Curve:
    return Curve(condition, seed, tuple(range(1, len(accuracy) + 1)), tuple(accuracy), tuple(accuracy))


def test_a_torn_last_line_is_left_out_and_the_last_log_of_a_step_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = ['{"step": 1, "reward": 0, "accuracy": 0.1}', '{"step": 2, "reward": 1, "accuracy": 0.2}']
    log.write_text("\n".join([*rows, '{"step": 2, "reward": 3, "accuracy": 0.4}', '{"step": 3, "rew']))
    read = read_curve(log, "x", 0)
    assert read is not None
    assert (read.steps, read.reward, read.accuracy) == ((1, 2), (0.0, 3.0), (0.1, 0.4))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "rew\n{"step": 2, "reward": 3}\n')
    with pytest.raises(KkwarmError, match="line 1"):
        read_curve(log, "x", 0)


def test_no_log_is_no_curve(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "log.jsonl", "x", 0) is None


def test_smooth_is_a_running_mean() -> None:
    assert list(smooth([0, 1, 2, 3, 4, 5])) == pytest.approx([0, 0.5, 1, 1.5, 2, 3])


def test_steps_saved_and_area() -> None:
    base = [curve("b", s, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]) for s in (0, 1)]
    warmed = [curve("w", s, [0.5 + s / 10] * 8) for s in (0, 1)]
    advantage, found = compare_curves(base, warmed)
    assert advantage == pytest.approx([0.15, 0.25])
    assert found.advantage == pytest.approx((15, 25))
    assert found.level == pytest.approx(0.5)
    assert (found.steps_base, found.steps_warmed) == (8, 1)


def test_a_level_never_reached_is_none() -> None:
    _, found = compare_curves([curve("b", 0, [0.9] * 6)], [curve("w", 0, [0.1] * 6)])
    assert found.steps_warmed is None


def test_curves_of_other_seeds_are_not_compared() -> None:
    with pytest.raises(KkwarmError, match="no seed"):
        compare_curves([curve("b", 0, [0.9])], [curve("w", 1, [0.1])])
