"""Starts the processes of a training run with torch's launcher, in the environment that an accelerate config asks for.

Ctrl-C asks every process to stop after its current step; a killed process ends the others. Either way the run resumes,
with any number of processes. Under another launcher (``torchrun -m kkwarm rlvr ...``, SLURM) nothing is started here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kkwarm import interrupt
from kkwarm.errors import KkwarmError
from kkwarm.files import expand_path
from kkwarm.schema.settings import TrainConfig
from kkwarm.train import distributed
from kkwarm.train.progress import print_status

PRESETS = Path(__file__).with_name("presets")
WORKER = "kkwarm.train.worker"
STOP, FAILED = "stop", "failed-*.json"  # files in the folder that the parent shares with its workers


class ProcessLayout:
    """The number of processes, and what an accelerate config adds to their environment.

    :param nproc: processes on all machines.
    :param file: the accelerate config.
    :param settings: its content.
    """

    def __init__(self, nproc: int, file: Path | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.nproc, self.file, self.settings = nproc, file, settings or {}

    @property
    def sharding(self) -> str | None:
        """``FSDP`` or ``DEEPSPEED`` where each process holds only a part of the weights."""
        kind = self.settings.get("distributed_type")
        return kind if kind in ("FSDP", "DEEPSPEED") else None

    @property
    def machines(self) -> int:
        return int(self.settings.get("num_machines") or 1)

    def arguments(self) -> list[str]:
        """Arguments of torch's launcher.

        :raises KkwarmError: the config is for several machines, and does not say how they find each other.
        """
        if self.machines == 1:
            return ["--standalone", "--nproc-per-node", str(self.nproc)]
        keys = ("machine_rank", "main_process_ip", "main_process_port")
        values = {key: str(self.settings.get(key, "")) for key in keys}
        if missing := [key for key, value in values.items() if value in ("", "None")]:
            raise KkwarmError(f"{self.file} is for {self.machines} machines, but {', '.join(missing)} is missing")
        return [
            *("--nnodes", str(self.machines), "--nproc-per-node", str(self.nproc // self.machines)),
            *("--node-rank", values["machine_rank"], "--master-addr", values["main_process_ip"]),
            *("--master-port", values["main_process_port"]),
        ]

    def environment(self) -> dict[str, str]:
        """The variables by which accelerate's own launcher passes a config to its processes."""
        if self.file is None:
            return {}
        from accelerate.commands.launch import _validate_launch_command, launch_command_parser
        from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

        options = ["--config_file", str(self.file), "--num_processes", str(self.nproc), "--main_process_port", "0"]
        try:
            args = launch_command_parser().parse_args([*options, "-m", WORKER])
            args, defaults, _ = _validate_launch_command(args)  # merges file and options; there is no public function
            if args.use_deepspeed:
                args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
                variables = prepare_deepspeed_cmd_env(args)[1]
            else:
                variables = prepare_multi_gpu_env(args)
        except (ValueError, TypeError, ImportError, KeyError, OSError) as err:
            raise KkwarmError(f"accelerate rejects {self.file}: {' '.join(str(err).split())[:300]}") from err
        return {k: v for k, v in variables.items() if os.environ.get(k) != v}


def plan_processes(config: TrainConfig) -> ProcessLayout | None:
    """The processes to start; None where this process is enough, or is already one of several.

    :raises KkwarmError: more processes than GPUs (without GPUs: than CPU cores), a step that they cannot share, or an
        accelerate config that does not fit.
    """
    if distributed.world_size() > 1:
        if config.nproc not in (1, distributed.world_size()):
            raise KkwarmError(f"started as {distributed.world_size()} processes, but --nproc is {config.nproc}")
        return None
    if config.nproc == 1 and config.accelerate is None:
        return None
    layout = ProcessLayout(config.nproc) if config.accelerate is None else _read_accelerate_config(config)
    _check_devices(layout, config)
    if layout.sharding == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise KkwarmError(f"--accelerate-config {config.accelerate} needs DeepSpeed", hint="pip install deepspeed")
    if (total := config.sequences) % layout.nproc:
        raise KkwarmError(f"{layout.nproc} processes cannot share the {total} sequences of a step", hint="change one")
    if config.lora and layout.sharding:
        raise KkwarmError("LoRA with sharded weights cannot be merged", hint="leave out --accelerate-config or --lora")
    return layout


def _check_devices(layout: ProcessLayout, config: TrainConfig) -> None:
    from kkwarm.train.trainer_setup import uses_cuda

    cuda = uses_cuda(config)
    local = layout.nproc // layout.machines
    if cuda:
        import torch

        if local > torch.cuda.device_count():
            hint = f"{_nproc_hint(layout, torch.cuda.device_count())}, or --device cpu"
            raise KkwarmError(f"{local} processes, but {torch.cuda.device_count()} CUDA devices", hint=hint)
    elif layout.sharding and config.device != "cpu":
        raise KkwarmError(
            f"--accelerate-config {config.accelerate} shards over GPUs, and there is none",
            hint="--device cpu tries it on a few CPU processes",
        )
    elif local > (cores := max(2, os.cpu_count() or 1)):  # each process loads torch and the model
        raise KkwarmError(f"{local} processes, but {cores} CPU cores", hint=_nproc_hint(layout, cores))


def _nproc_hint(layout: ProcessLayout, limit: int) -> str:
    if layout.settings.get("num_processes") is not None:
        return f"num_processes: {limit} in {layout.file}"
    return f"--nproc {limit}"


def _read_accelerate_config(config: TrainConfig) -> ProcessLayout:
    import yaml

    name = config.accelerate or ""
    preset = PRESETS / f"{name}.yaml"
    file = preset if preset.is_file() else expand_path(name)
    if not file.is_file():
        presets = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise KkwarmError(f"--accelerate-config {name}: no such file", hint=f"a file, or one of {presets}")
    try:
        settings = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise KkwarmError(f"{file} cannot be read: {' '.join(str(err).split())[:200]}") from None
    if not isinstance(settings, dict) or "distributed_type" not in settings:
        raise KkwarmError(f"{file} is not an accelerate config", hint="make one with `accelerate config`")
    n = settings.get("num_processes")
    if n is None:
        import torch

        n = config.nproc if config.nproc > 1 else max(1, torch.cuda.device_count())
    elif config.nproc not in (1, int(n)):
        raise KkwarmError(f"{file} is for {n} processes, not {config.nproc}", hint=f"--nproc {n}, or change the file")
    return ProcessLayout(int(n), file, settings)


def launch(layout: ProcessLayout, kind: str, config: TrainConfig, **job: Any) -> None:
    """Runs one training job in several processes; returns when all have finished.

    :param kind: ``warmup`` or ``rlvr``; `job` holds the other arguments of that function, as JSON data.
    :raises KkwarmError: what a process raised, or that one was killed.
    :raises KeyboardInterrupt: the job was interrupted, after saving.
    """
    import torch.distributed.run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # failures are reported here
    with tempfile.TemporaryDirectory(prefix="kkwarm-") as name:
        folder = Path(name)
        job_file = folder / "job.json"
        settings = {**config.dump(), "nproc": 1, "accelerate": None}
        job_file.write_text(json.dumps({"kind": kind, "config": settings, **job}, default=str))
        args = torchrun.parse_args(
            [*layout.arguments(), "--signals-to-handle", "SIGQUIT", "--module", WORKER, str(job_file)]
        )
        threads = config.threads or max(1, (os.cpu_count() or 1) // layout.nproc)
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), **layout.environment()}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with _environment(variables), _forward_interrupts(folder):
            try:
                torchrun.run(args)
            except ChildFailedError as err:
                raise _merge_failures(folder, str(job["out"]), err) from None


def _merge_failures(folder: Path, out: str, err: Any) -> BaseException:
    """One error from the failure reports of all processes."""
    reports = [json.loads(p.read_text("utf-8")) for p in sorted(folder.glob(FAILED))]
    errors = [report for report in reports if not report["interrupted"]]
    if errors:
        error = KkwarmError(errors[0]["message"], hint=errors[0]["hint"])
        error.exit_code = errors[0]["exit_code"]
        return error
    if reports:
        interrupt.RESUMABLE_RUNS.append(out)
        return KeyboardInterrupt()
    rank, failure = err.get_first_failure()
    end = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else f"exited with code {failure.exitcode}"
    hint = "its output is above; run the same command again to resume"
    return KkwarmError(f"process {rank} {end}", hint=hint)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _forward_interrupts(folder: Path) -> Iterator[None]:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a stop file, which the workers see; a second one ends them."""

    def handle(number: int, frame: Any) -> None:
        if (folder / STOP).exists():
            raise KeyboardInterrupt
        (folder / STOP).touch()
        print_status("stopping after this step (press Ctrl-C again to stop at once)")

    with interrupt.handle_signals(handle):
        yield
