"""Completions from a file or a function: for outputs of other tools, and for scripted models in tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kkwarm.backends.base import Request
from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Sampling

Script = Callable[[Request, int], "str | Completion"]


@dataclass(slots=True)
class ReplayBackend:
    """Completes with `script(request, sample index)`."""

    script: Script
    checkpoint: str = "replay"
    fingerprint: str = "replay"
    tokenizer: Any = None
    name: str = "replay"

    @classmethod
    def read(cls, model: str, *, file: str | Path | None = None) -> Self:
        """Reads JSON lines with ``id`` and ``completion`` (a text or a list of texts); `file` defaults to `model`."""
        from kkwarm.data import read_jsonl

        path = Path(file or model)
        saved: dict[str, list[str]] = {}
        for row in read_jsonl(path):
            if not isinstance(row.get("id"), str) or not isinstance(row.get("completion"), str | list):
                raise KkwarmError(f"{path}: each line needs an `id` and a `completion`")
            texts = row["completion"] if isinstance(row["completion"], list) else [row["completion"]]
            saved.setdefault(row["id"], []).extend(str(text) for text in texts)

        def script(request: Request, index: int) -> str:
            # The key of a benchmark's request is NAME/ID; the file has the id.
            texts = saved.get(request.key) or saved.get(request.key.partition("/")[2])
            if texts is None or index >= len(texts):
                raise KkwarmError(f"{path} has no completion {index} of {request.key}")
            return texts[index]

        return cls(script, str(path), hashlib.sha256(path.read_bytes()).hexdigest()[:16])

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        for request in requests:
            for index in request.samples:
                completion = self.script(request, index)
                if isinstance(completion, str):
                    completion = Completion(completion, None, "stop")
                yield request, index, completion

    def close(self) -> None:
        pass
