"""Estimated time, memory and disk space of generation and training, for dry runs and plans; never a result.

Rates are tokens per second: those that were measured (`kkwarm.throughput`), else what the number of parameters and the
machine let expect: 2 FLOPs for each parameter and generated token, 6 for a trained one, at a usual share of the
machine's FLOP/s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kkwarm.backends.sizes import ModelSize, read_size
from kkwarm.progress import duration

GIB = 1024**3
UNKNOWN_PARAMETERS = 1e9  # where nothing tells the size of a model
# A core of a server processor, in fp32. SmolLM2 (135 M) on two cores generates 95 and trains on 125 tokens a second,
# the miniature (1.8 M) on one core 4,400 and 5,000: 12 to 16 and 50 GFLOP/s a core.
CORE_FLOPS, CORE_GENERATE, CORE_TRAIN = 1e11, 0.13, 0.5
GPU_GENERATE, GPU_TRAIN = 0.05, 0.3
GPU_FLOPS = {  # dense bf16 (fp16 where there is no bf16), by a part of the name
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40": 362e12,
    "A40": 150e12,
    "L4": 121e12,
    "5090": 210e12,
    "4090": 165e12,
    "3090": 71e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
}
UNKNOWN_GPU = 100e12


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """Number of visible CUDA devices, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([v for v in visible.split(",") if v.strip() and v.strip() != "-1"])
    return len([p for p in Path("/dev").glob("nvidia*") if p.name.removeprefix("nvidia").isdecimal()])


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a step runs on: its FLOP/s, and the shares of them that generation and training use."""

    name: str
    flops: float
    generate_use: float
    train_use: float
    cuda: bool = False
    threads: int | None = None


@lru_cache
def this_machine(threads: int | None = None) -> Hardware:
    """One GPU of this machine, or `threads` of its cores (None: as many as OMP_NUM_THREADS says, else all of them)."""
    if gpus():
        name = _query_gpu("name")
        flops = next((value for part, value in GPU_FLOPS.items() if part in name), UNKNOWN_GPU)
        return Hardware(f"one GPU ({name or 'unknown'})", flops, GPU_GENERATE, GPU_TRAIN, cuda=True)
    given = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(given) if given.isdecimal() and int(given) else cores())
    name = "one core" if count == 1 else f"{count} cores"
    return Hardware(name, count * CORE_FLOPS, CORE_GENERATE, CORE_TRAIN, threads=count)


def _query_gpu(what: str) -> str:
    """What nvidia-smi says of the first GPU; empty where it does not run."""
    try:
        command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return lines[0].strip() if lines else ""


def device_memory(hardware: Hardware) -> float:
    """Bytes of the GPU, or of the machine's memory."""
    mib = _query_gpu("memory.total") if hardware.cuda else ""
    if mib.isdecimal():
        return float(mib) * 1024**2
    import psutil

    return float(psutil.virtual_memory().total)


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second that a model generates and trains on; `basis` says how they are known."""

    generate: float
    train: float
    basis: str


def known_rates(size: ModelSize, hardware: Hardware) -> Rates:
    """The rates of a model on this machine: measured by an earlier run or ``--probe``, else assumed."""
    from kkwarm.throughput import machine_name, read_throughput

    rates = estimate_rates(size, hardware)
    measured = read_throughput(size, machine_name(hardware.threads, cuda=hardware.cuda))
    if not measured:
        return rates
    values = {kind: float(entry["tokens_per_s"]) for kind, entry in measured.items()}
    words = {"generate": "generation", "train": "training"}
    basis = ", ".join(f"{words[kind]} measured on {entry['date']}" for kind, entry in sorted(measured.items()))
    if missing := [word for kind, word in words.items() if kind not in values]:
        basis += f"; {missing[0]} {rates.basis}"
    return Rates(values.get("generate", rates.generate), values.get("train", rates.train), basis)


def estimate_rates(size: ModelSize, hardware: Hardware) -> Rates:
    """The rates of a model on a machine as its number of parameters lets expect."""
    parameters = size.parameters or UNKNOWN_PARAMETERS
    known = f"{parameters / 1e9:.3g} G parameters" + ("" if size.parameters else " (a guess)")
    return Rates(
        hardware.flops * hardware.generate_use / (2 * parameters),
        hardware.flops * hardware.train_use / (6 * parameters),
        f"assumed from {known} on {hardware.name}",
    )


# -- memory and disk ---------------------------------------------------------------------------------------------------


def generation_memory(size: ModelSize, hardware: Hardware, *, samples: int, tokens: int) -> float | None:
    """Bytes of weights and key-value cache while `samples` samples of at most `tokens` tokens are generated; None where
    the size of the model is unknown.
    """
    if size.parameters is None:
        return None
    width = 2 if hardware.cuda else 4
    weights = size.parameters * width
    wanted = samples * tokens * (size.cache_elements or 0) * width
    return weights + (wanted if hardware.cuda else min(wanted, max(512 * 1024**2, 4 * weights)))


def sample_bytes(tokens: float, samples: int) -> float:
    """Bytes of `samples` stored samples with `tokens` tokens in all: some 4 for a token, 400 for the rest of a line."""
    return 4 * tokens + 400 * samples


def training_disk(size: ModelSize, *, lora: bool, keeps_best: bool, steps: int = 3) -> float | None:
    """Bytes of a training: the final checkpoint, the best weights, and step checkpoints with optimizer states; None
    where the size of the model is unknown.

    :param steps: three at the peak (two that are kept, one that is being written), none after the end.
    """
    if size.parameters is None:
        return None
    weights = 4 * size.parameters  # fp32
    step = 0.05 * weights if lora else 3 * weights  # an adapter, or weights and two moments
    return weights * (2 if keeps_best else 1) + steps * step


# -- dry runs ----------------------------------------------------------------------------------------------------------


def estimate(
    model: str,
    out: Path,
    *,
    generated: float = 0,
    trained: float = 0,
    memory: float | None = None,
    disk: float | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """The estimate of a dry run, as JSON data.

    :param generated, trained: tokens, at most.
    :param memory, disk: bytes, at most; None where unknown.
    :param threads: CPU threads that the command will use; None: the default.
    """
    rates = known_rates(read_size(model), this_machine(threads))
    seconds = generated / rates.generate + trained / rates.train
    return fixed_estimate(out, seconds, disk, rates.basis) | {
        "memory_gib": None if memory is None else round(memory / GIB, 6),
        "generate_tokens_per_s": round(rates.generate, 1) if generated else None,
        "train_tokens_per_s": round(rates.train, 1) if trained else None,
    }


def fixed_estimate(out: Path, seconds: float, disk: float | None, basis: str) -> dict[str, Any]:
    """The estimate of a dry run whose time is known, without a model."""
    folder = next((p for p in (out, *out.absolute().parents) if p.is_dir()), Path.cwd())
    return {
        "seconds_at_most": round(seconds, 1),
        "memory_gib": None,
        "disk_gib": None if disk is None else round(disk / GIB, 6),
        "disk_free_gib": round(shutil.disk_usage(folder).free / GIB, 2),
        "generate_tokens_per_s": None,
        "train_tokens_per_s": None,
        "basis": basis,
    }


def estimate_lines(document: dict[str, Any]) -> dict[str, str]:
    """The estimate of a dry run as named texts, for the terminal."""
    lines = {"time": f"at most {duration(document['seconds_at_most'])}, and the time to start"}
    speeds = [
        f"{rate_text(document[key])} {what}"
        for key, what in (("generate_tokens_per_s", "generated"), ("train_tokens_per_s", "trained on"))
        if document[key] is not None
    ]
    lines["speed"] = f"{', '.join(speeds)} ({document['basis']})" if speeds else str(document["basis"])
    if document["memory_gib"] is not None:
        lines["memory"] = f"about {_size_text(document['memory_gib'])}"
    if (disk := document["disk_gib"]) is not None:
        free = document["disk_free_gib"]
        lines["disk"] = f"at most {_size_text(disk)}, {_size_text(free)} free" + (": TOO LITTLE" if disk > free else "")
    return lines


def rate_text(rate: float) -> str:
    """``95.3 tokens/s``, ``4,400 tokens/s``."""
    return f"{rate:,.0f} tokens/s" if rate >= 100 else f"{rate:.3g} tokens/s"


def _size_text(gib: float) -> str:
    return f"{gib:,.3g} GiB" if gib >= 0.1 else f"{max(1, round(1024 * gib))} MiB"
