"""Measured speed of models on this machine: real runs store it, ``--probe`` measures it, and dry runs estimate with it.

The measurements are in ``throughput.json`` under `KKWARM_HOME`, by processor or GPU, number of threads and size of the
model: a trained checkpoint is as fast as its base.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from kkwarm.backends.sizes import ModelSize, read_size
from kkwarm.errors import KkwarmError
from kkwarm.files import write_file

Kind = Literal["generate", "train"]
_FEW = 200  # tokens below which a run tells nothing about speed
_PROMPT = "There is an island of knights, who always tell the truth, and knaves, who always lie. "


def read_throughput(size: ModelSize, machine: str) -> Mapping[str, Mapping[str, Any]]:
    """The stored measurements of a model of this size: ``generate`` and ``train``, each with ``tokens_per_s``,
    ``tokens`` and ``date``; empty where there is none.

    :param machine: as `machine_name` gives it.
    """
    found = _read(_file()).get(_key(size, machine))
    return found if isinstance(found, dict) else {}


def record_throughput(
    model: str, kind: Kind, tokens: float, seconds: float, *, cuda: bool = False, threads: int | None = None
) -> None:
    """Stores the speed of a real run in this process. Too short runs are ignored, and so is a folder that cannot be
    written: the measurement is a help only.
    """
    size = read_size(model)
    if tokens < _FEW or seconds <= 0 or size.parameters is None:
        return
    from filelock import FileLock, Timeout

    entry = {"tokens_per_s": round(tokens / seconds, 2), "tokens": round(tokens), "date": date.today().isoformat()}
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=5):
            stored = _read(file)
            stored.setdefault(_key(size, machine_name(threads, cuda=cuda)), {})[kind] = entry
            write_file(file, json.dumps(stored, indent=1))
    except (OSError, Timeout, KkwarmError):
        return


def machine_name(threads: int | None = None, *, cuda: bool = False) -> str:
    """The GPU, or the processor with a number of threads; None: by OMP_NUM_THREADS, else one for each core.

    torch's own number is not asked for: it may count cores without their second threads, and a dry run loads no torch.
    """
    if cuda:
        from kkwarm.cost import this_machine

        return this_machine().name
    from kkwarm.cost import cores
    from kkwarm.store.environment import processor

    if threads is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdecimal() and int(given) else cores()
    return f"{processor()}, {threads} threads"


def measure(
    model: str, *, generate: bool = True, train: bool = False, device: str | None = None, threads: int | None = None
) -> None:
    """Measures and stores the speed of a model: it generates 64 tokens of 16 samples, or trains on 2 rows of 256
    tokens for two steps.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if generate:
        _measure_generation(model, device, threads)
    if train:
        _measure_training(model, device, threads)


def _measure_generation(model: str, device: str | None, threads: int | None) -> None:
    from kkwarm.backends.base import Request
    from kkwarm.backends.hf import HFBackend
    from kkwarm.types import Sampling

    backend = HFBackend.load(model, device=device)
    sampling = Sampling(1.0, 1.0, 64)
    requests = [Request(f"probe/{i}", _PROMPT * 4 + f"Question {i}:", tuple(range(4))) for i in range(4)]
    try:
        list(backend.generate([Request("warm", _PROMPT, (0,), max_tokens=2)], sampling))
        before, began = backend.tokens, time.perf_counter()
        list(backend.generate(requests, sampling))
        seconds = time.perf_counter() - began
        cuda = backend.model.device.type == "cuda"
        record_throughput(model, "generate", backend.tokens - before, seconds, cuda=cuda, threads=threads)
    finally:
        backend.close()


def _measure_training(model: str, device: str | None, threads: int | None) -> None:
    """Forward, backward and optimizer steps of all weights, in bf16 where training chooses it."""
    import torch

    from kkwarm.backends.checkpoint import load_model
    from kkwarm.schema.settings import WarmupConfig
    from kkwarm.train.trainer_setup import uses_bf16

    network = load_model(model, device=device, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    kind = network.device.type
    ids = torch.arange(512, device=network.device).reshape(2, 256) % network.get_input_embeddings().num_embeddings
    began, steps = time.perf_counter(), 2
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            began = time.perf_counter()
        with torch.autocast(kind, torch.bfloat16, enabled=uses_bf16(WarmupConfig())):
            loss = network(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for a GPU
    seconds = time.perf_counter() - began
    record_throughput(model, "train", steps * ids.numel(), seconds, cuda=kind == "cuda", threads=threads)


def _file() -> Path:
    from kkwarm.store import runs_home

    return runs_home() / "throughput.json"


def _key(size: ModelSize, machine: str) -> str:
    return f"{size.parameters or 0:.0f} parameters on {machine}"


def _read(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
