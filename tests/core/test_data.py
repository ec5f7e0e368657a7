"""Sources and splits."""

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.data import content_hash, fingerprint, holdout, hub_rows, local_file, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Example

rows = st.lists(
    st.builds(
        lambda i, q, c: Example(str(i), q, "x", meta={"c": c}),
        st.integers(),
        st.text(alphabet="ab ", max_size=4),
        st.sampled_from("xy"),
    ),
    max_size=30,
)


@given(rows, st.integers(0, 8), st.randoms())
def test_a_split_depends_on_content_only(examples: list[Example], train: int, rng: random.Random) -> None:
    split = {(e.id, e.question, e.meta["c"]): e.split for e in holdout(examples, train=train, by="c")}
    shuffled = examples[:]
    rng.shuffle(shuffled)
    assert {(e.id, e.question, e.meta["c"]): e.split for e in holdout(shuffled, train=train, by="c")} == split


@given(rows, st.integers(0, 8))
def test_splits_share_no_content(examples: list[Example], train: int) -> None:
    done = holdout(examples, train=train, by="c")
    sides = {s: {content_hash(e) for e in done if e.split == s} for s in ("train", "test")}
    assert not sides["train"] & sides["test"]
    for c in "xy":
        assert sum(e.split == "train" for e in done if e.meta["c"] == c) <= train


def test_a_split_has_the_requested_size() -> None:
    done = holdout([Example(str(i), f"question {i}", i) for i in range(164)], train=50)
    assert sum(e.split == "train" for e in done) == 50


def test_examples_in_never_are_not_trained_on() -> None:
    listed = [Example(str(i), f"question {i // 2}", i) for i in range(40)]  # each question twice
    usual = {e.id for e in holdout(listed, train=20) if e.split == "train"}
    never = sorted(usual)[:3]
    done = {e.id for e in holdout(listed, train=20, never=never) if e.split == "train"}
    assert len(done) == 20
    assert not done & {twin for i in never for twin in (i, str(int(i) ^ 1))}


def test_a_fingerprint_sees_every_change() -> None:
    base = [Example("1", "q", {"a": 1})]
    others = [[Example("2", "q", {"a": 1})], [Example("1", "r", {"a": 1})], [Example("1", "q", {"a": 2})]]
    assert len({fingerprint(x) for x in [base, *others, [Example("1", "q", {"a": 1}, "train")]]}) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        (b'{"a": 1}\n\n"x"\n', "line 3: a string, not a JSON object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2: not UTF-8"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(KkwarmError, match=message):
        list(read_jsonl(path))


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 50_000)[:-20])
    with pytest.raises(KkwarmError, match=r"x\.jsonl\.gz, line \d+"):
        list(read_jsonl(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="No such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_the_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KKWARM_DATA", raising=False)
    assert local_file("x") is None
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path))
    with pytest.raises(KkwarmError, match="is missing"):
        local_file("x")
    (tmp_path / "x").touch()
    assert local_file("x") == tmp_path / "x"
    monkeypatch.setenv("KKWARM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(KkwarmError, match="is not a folder"):
        local_file("x")


def test_a_missing_split_is_reported_with_the_existing_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "rows").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "rows" / f"{split}.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(KkwarmError, match=r"rows has no split 'test' \(it has train, validation\)"):
        list(hub_rows(str(tmp_path / "rows"), "test"))
