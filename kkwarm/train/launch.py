"""Starts the processes of a training run: torch's launcher, with the environment that an accelerate config asks for.

Ctrl-C asks every process to stop after the step it is in; a killed process ends the others. Either way the run resumes,
with any number of processes. Where a launcher was used from outside (``torchrun -m kkwarm rlvr ...``, SLURM), nothing
is started here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kkwarm import interrupt
from kkwarm.errors import KkwarmError
from kkwarm.paths import expand_path
from kkwarm.train import distributed
from kkwarm.train.config import TrainConfig
from kkwarm.train.progress import say

__all__ = ["PRESETS", "Layout", "launch", "layout"]

PRESETS = Path(__file__).with_name("presets")
WORKER = "kkwarm.train.worker"
STOP, FAILED = "stop", "failed-*.json"  # files in the folder that parent and workers share


class Layout:
    """How many processes, and what an accelerate config adds to their environment.

    :param nproc: processes of all machines.
    """

    def __init__(self, nproc: int, file: Path | None = None, machines: Mapping[str, Any] | None = None) -> None:
        self.nproc, self.file, self.machines = nproc, file, machines or {}

    @property
    def shards(self) -> str | None:
        """``FSDP`` or ``DEEPSPEED``, where each process holds a part of the weights only."""
        told = self.machines.get("distributed_type")
        return told if told in ("FSDP", "DEEPSPEED") else None

    def arguments(self) -> list[str]:
        """Arguments of torch's launcher."""
        n = int(self.machines.get("num_machines") or 1)
        if n == 1:
            return ["--standalone", "--nproc-per-node", str(self.nproc)]
        told = {k: str(self.machines.get(k, "")) for k in ("machine_rank", "main_process_ip", "main_process_port")}
        if missing := [k for k, v in told.items() if v in ("", "None")]:
            raise KkwarmError(f"{self.file} is for {n} machines, but says no {', '.join(missing)}")
        return [
            *("--nnodes", str(n), "--nproc-per-node", str(self.nproc // n), "--node-rank", told["machine_rank"]),
            *("--master-addr", told["main_process_ip"], "--master-port", told["main_process_port"]),
        ]

    def environment(self) -> dict[str, str]:
        """Variables by which accelerate's own launcher hands a config to its processes.

        :raises KkwarmError: accelerate refuses the config, or DeepSpeed is asked for and not installed.
        """
        if self.file is None:
            return {}
        from accelerate.commands.launch import _validate_launch_command, launch_command_parser
        from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

        given = ["--config_file", str(self.file), "--num_processes", str(self.nproc), "--main_process_port", "0"]
        try:
            args = launch_command_parser().parse_args([*given, "-m", WORKER])
            args, defaults, _ = _validate_launch_command(args)  # merges file and flags; accelerate has no public name
            if args.use_deepspeed:
                args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
                found = prepare_deepspeed_cmd_env(args)[1]
            else:
                found = prepare_multi_gpu_env(args)
        except (ValueError, TypeError, ImportError, KeyError, OSError) as err:
            raise KkwarmError(f"accelerate refuses {self.file}: {' '.join(str(err).split())[:300]}") from err
        return {k: v for k, v in found.items() if os.environ.get(k) != v}


def layout(config: TrainConfig) -> Layout | None:
    """The processes to start; None where this one is enough, or is already one of several.

    :raises KkwarmError: more processes than GPUs (without any: than CPU cores), or than divide a step; a config for
        another number of them, or one that needs CUDA.
    """
    if distributed.world_size() > 1:
        if config.nproc not in (1, distributed.world_size()):
            raise KkwarmError(f"started as {distributed.world_size()} processes, but --nproc is {config.nproc}")
        return None
    if config.nproc == 1 and config.accelerate is None:
        return None
    from kkwarm.train.engine import on_cuda

    cuda = on_cuda(config)
    found = Layout(config.nproc) if config.accelerate is None else _configured(config)
    shards = found.shards
    here = found.nproc // int(found.machines.get("num_machines") or 1)
    if cuda:
        import torch

        if here > torch.cuda.device_count():
            hint = f"{_fewer(found, torch.cuda.device_count())}, or --device cpu"
            raise KkwarmError(f"{here} processes, but {torch.cuda.device_count()} CUDA devices", hint=hint)
    elif shards and config.device != "cpu":
        hint = "--device cpu tries it out on a few CPU processes"
        raise KkwarmError(f"--accelerate-config {config.accelerate} shards over GPUs, and there is none", hint=hint)
    elif here > (cores := max(2, os.cpu_count() or 1)):  # each loads torch and the model: the machine would drown
        raise KkwarmError(f"{here} processes, but {cores} CPU cores", hint=_fewer(found, cores))
    if shards == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise KkwarmError(f"--accelerate-config {config.accelerate} needs DeepSpeed", hint="pip install deepspeed")
    if (total := config.sequences) % found.nproc:
        raise KkwarmError(f"{found.nproc} processes cannot share the {total} sequences of a step", hint="change one")
    if config.lora and shards:
        raise KkwarmError("LoRA with sharded weights cannot be merged", hint="leave out --accelerate-config or --lora")
    return found


def _fewer(found: Layout, at_most: int) -> str:
    named = found.machines.get("num_processes") is not None
    return f"num_processes: {at_most} in {found.file}" if named else f"--nproc {at_most}"


def _configured(config: TrainConfig) -> Layout:
    import yaml

    name = config.accelerate or ""
    preset = PRESETS / f"{name}.yaml"
    file = preset if preset.is_file() else expand_path(name)
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise KkwarmError(f"--accelerate-config {name}: no such file", hint=f"a file, or one of {known}")
    try:
        told = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise KkwarmError(f"{file} cannot be read: {' '.join(str(err).split())[:200]}") from None
    if not isinstance(told, dict) or "distributed_type" not in told:
        raise KkwarmError(f"{file} is no accelerate config", hint="make one by `accelerate config`")
    n = told.get("num_processes")
    if n is None:
        import torch

        n = config.nproc if config.nproc > 1 else max(1, torch.cuda.device_count())
    elif config.nproc not in (1, int(n)):
        raise KkwarmError(f"{file} is for {n} processes, not {config.nproc}", hint=f"--nproc {n}, or mend the file")
    return Layout(int(n), file, told)


def launch(found: Layout, kind: str, config: TrainConfig, **job: Any) -> None:
    """Does one training job in several processes; returns when all are done.

    :param kind: ``warmup`` or ``rlvr``; `job` holds the other arguments of that function, as JSON data.
    :raises KkwarmError: what a process raised, or that one was killed.
    :raises KeyboardInterrupt: it was interrupted, after saving.
    """
    import torch.distributed.run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # we report failures ourselves
    with tempfile.TemporaryDirectory(prefix="kkwarm-") as folder:
        job_file = Path(folder, "job.json")
        settings = {**asdict(config), "nproc": 1, "accelerate": None}
        job_file.write_text(json.dumps({"kind": kind, "config": settings, **job}, default=str))
        args = torchrun.parse_args(
            [*found.arguments(), "--signals-to-handle", "SIGHUP", "--module", WORKER, str(job_file)]
        )
        threads = config.threads or max(1, (os.cpu_count() or 1) // found.nproc)
        extra = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), **found.environment()}
        with _environment({**extra, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}), _stopping(Path(folder)):
            try:
                torchrun.run(args)
            except ChildFailedError as err:
                raise _told(Path(folder), str(job["out"]), err) from None


def _told(folder: Path, out: str, err: Any) -> BaseException:
    """What the processes left behind, as one error."""
    reports = [json.loads(p.read_text("utf-8")) for p in sorted(folder.glob(FAILED))]
    for report in sorted(reports, key=lambda r: r["interrupted"]):
        if report["interrupted"]:
            interrupt.RESUMABLE_RUNS.append(out)
            return KeyboardInterrupt()
        told = KkwarmError(report["message"], hint=report["hint"])
        told.exit_code = report["exit_code"]
        return told
    rank, failure = err.get_first_failure()
    how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with code {failure.exitcode}"
    return KkwarmError(f"process {rank} {how}", hint="what it printed is above; the same command goes on")


@contextmanager
def _environment(extra: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """Turns the first Ctrl-C or SIGTERM into a wish that the workers see; a second one ends them."""

    def hit(number: int, frame: Any) -> None:
        if (folder / STOP).exists():
            raise KeyboardInterrupt
        (folder / STOP).touch()
        say("stopping after this step (Ctrl-C again: at once)")

    old = {}
    if threading.current_thread() is threading.main_thread():
        old = {number: signal.signal(number, hit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
