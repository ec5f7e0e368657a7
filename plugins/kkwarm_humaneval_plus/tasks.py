"""Code benchmarks in evalplus's format (`Suite`, `CodeTask`), and HumanEval+ v0.1.10."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import marshal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kkwarm.data import file_digest, holdout, local_file, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Pin, Split
from kkwarm.verify.sandbox import encode

__all__ = ["HUMANEVAL", "CodeTask", "Suite", "load_examples", "load_tasks", "make_task", "parse_tasks"]

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CodeTask:
    """One task. Its inputs stay encoded, because as Python objects they would take hundreds of megabytes in total.

    The first `n_base` inputs are the original benchmark's, the others evalplus's. `oracle` names the rule for comparing
    results ("": equality). `wrapper` is code that defines `called`, the function to call, from `entry`.
    """

    id: str
    prompt: str
    entry: str
    solution: str  # the complete canonical solution
    atol: float
    n_base: int
    n_inputs: int
    blob: bytes
    key: str  # hash of everything that determines the expected outputs
    oracle: str = ""
    wrapper: str = ""
    called: str = ""

    def inputs(self) -> list[bytes]:
        """The encoded argument lists, base before plus."""
        inputs: list[bytes] = marshal.loads(self.blob)  # made by `make_task` in this process
        return inputs

    def full_code(self, code: str) -> str:
        """`code` with the wrapper appended."""
        return f"{code}\n\n{self.wrapper}" if self.wrapper else code


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark of evalplus. `read` returns its tasks by id, from a local file or (None) from evalplus's own loader.

    `ids` describes its ids for error messages. `train` is the number of training tasks. `sha256` is the hash of the
    release's decompressed file, which `download` fetches if evalplus has not cached it; it returns the path.
    """

    title: str
    file: str
    ids: str
    train: int
    read: Callable[[str | None], Mapping[str, CodeTask]]
    sha256: str
    release: str
    download: Callable[[], str]

    @property
    def pins(self) -> dict[Split, Pin]:
        """Both splits are of one file, whose tests count, too."""
        pin = Pin(self.sha256, self.sha256, source=self.release, measure=self._digest)
        return {"test": pin, "train": pin}

    def _digest(self) -> str:
        return file_digest(local_file(self.file) or self.download())


def load_tasks(suite: Suite) -> Mapping[str, CodeTask]:
    """All tasks by id, in the data set's order. Each source is read once."""
    path = local_file(suite.file)
    return suite.read(None if path is None else str(path))


def load_examples(suite: Suite) -> list[Example]:
    """All examples with their splits. The answer is the complete canonical solution."""
    examples = [
        Example(t.id, t.prompt, {"entry_point": t.entry, "solution": t.solution}, meta={"tests": t.n_base})
        for t in load_tasks(suite).values()
    ]
    return holdout(examples, train=suite.train)


def make_task(row: Row, *, oracle: str = "", wrapper: str = "", called: str = "") -> CodeTask:
    """The task of one row in evalplus's format."""
    blob = marshal.dumps([encode(args) for args in [*row["base_input"], *row["plus_input"]]], 2)
    entry, solution = row["entry_point"], row["prompt"] + row["canonical_solution"]
    digest = hashlib.sha256()
    for part in (entry.encode(), solution.encode(), wrapper.encode(), blob):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return CodeTask(
        id=row["task_id"],
        prompt=row["prompt"],
        entry=entry,
        solution=solution,
        atol=float(row["atol"]),
        n_base=len(row["base_input"]),
        n_inputs=len(row["base_input"]) + len(row["plus_input"]),
        blob=blob,
        key=digest.hexdigest()[:32],
        oracle=oracle,
        wrapper=wrapper,
        called=called or entry,
    )


def parse_tasks(
    rows: Iterable[Row], where: str, version: str, count: int, make: Callable[[Row], CodeTask]
) -> Mapping[str, CodeTask]:
    """The tasks of `rows` by id."""
    tasks: dict[str, CodeTask] = {}
    for row in rows:
        missing = [name for name in _FIELDS if name not in row]
        if missing:
            raise KkwarmError(f"{where}: a task lacks {', '.join(missing)}", hint=f"{version} is needed")
        task = make(row)
        tasks[task.id] = task
    if len(tasks) != count:
        raise KkwarmError(f"{where} has {len(tasks)} tasks, not {count}", hint=f"{version} is needed")
    return tasks


def download_rows(load: Callable[[], Mapping[str, Row]], title: str) -> Iterable[Row]:
    """Rows from evalplus's own loader, which caches its download."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints its progress to stdout
            return load().values()
    except Exception as err:  # wget, zlib and JSON errors of many types, which all mean that the data is not available
        cause = " ".join(str(err).split())[:200]
        raise KkwarmError(
            f"{title} cannot be loaded: {type(err).__name__}: {cause}",
            hint="go online once so that evalplus caches it, or set KKWARM_DATA to a folder that has it",
        ) from None


@functools.lru_cache(maxsize=2)
def _humaneval(path: str | None) -> Mapping[str, CodeTask]:
    rows = download_rows(_download, "HumanEval+") if path is None else read_jsonl(path)
    return parse_tasks(rows, path or "evalplus's HumanEval+", "HumanEval+ v0.1.10", 164, _humaneval_task)


def _humaneval_task(row: Row) -> CodeTask:
    return make_task(row, oracle="root" if row["entry_point"] == "find_zero" else "")


def _download() -> Mapping[str, Row]:
    from evalplus.data import get_human_eval_plus

    rows: Mapping[str, Row] = get_human_eval_plus()
    return rows


def _path() -> str:
    from evalplus.data.humaneval import _ready_human_eval_plus_path

    path: str = _ready_human_eval_plus_path()
    return path


HUMANEVAL = Suite(
    "HumanEval+",
    "humaneval_plus/HumanEvalPlus.jsonl.gz",
    "HumanEval/0 to HumanEval/163",
    50,
    _humaneval,
    sha256="42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f",
    release="evalplus/humanevalplus_release v0.1.10, HumanEvalPlus.jsonl.gz",
    download=_path,
)
