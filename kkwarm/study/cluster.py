"""Runs steps as tasks of a Ray cluster, each with the cores and GPUs that it needs. Only this module imports ray.

The study's folder must be on a filesystem that all nodes share: steps read each other's results from it. Ray itself
transfers a few hundred bytes per step.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.interrupt import preserve_signal_handlers
from kkwarm.study.execute import Event, StepFailed, StepFinished, StepStarted, Task, WorkerLost
from kkwarm.study.worker import run_task

PORT_TIMEOUT = 5.0  # seconds to connect to a port
CLUSTER_TIMEOUT = 60.0  # seconds for the cluster to respond; ray itself would try for minutes
GRACE = 60.0  # seconds that an interrupted step has to finish its training step and save
# Environment variables that are passed to the nodes begin with these.
_ENV_PREFIXES = ("KKWARM_", "HF_", "TOKENIZERS_", "TRL_", "VLLM_", "WANDB_", "TRACKIO_")
_SECRETS = ("TOKEN", "KEY", "SECRET", "PASSWORD")  # variables with these words are not passed


@dataclass(frozen=True, slots=True)
class _Submitted:
    task: Task
    log: Path
    log_size: int  # when the task was submitted; the step has started once the log grows; -1: start was reported


class RayExecutor:
    """Submits every ready step to Ray, the most urgent first. Ray decides where and when it runs.

    :raises KkwarmError: ray is not installed, no cluster responds at `address`, or no node is large enough for a step.
    """

    attempts = 4  # losing a node is not the step's fault

    def __init__(self, out: Path, jobs: int | None, address: str | None, log: Callable[[str], None]) -> None:
        self.out, self.jobs = out.resolve(), jobs
        self._ray = _import_ray()
        self._owns_ray = not self._ray.is_initialized()
        if self._owns_ray:
            _connect(self._ray, address or os.environ.get("RAY_ADDRESS") or "local", jobs)
        self._remote = self._ray.remote(_run_on_node)
        self._running: dict[Any, _Submitted] = {}
        self._nodes = _nodes(self._ray)
        total = [f"{sum(n.get(k, 0) for n in self._nodes):g} {name}" for k, name in (("CPU", "cores"), ("GPU", "GPUs"))]
        log(f"Ray: {len(self._nodes)} node(s), {', '.join(total)}")
        (self.out / "logs").mkdir(parents=True, exist_ok=True)

    @property
    def slots(self) -> int:
        unit = "GPU" if self._has_gpus else "CPU"
        return self.jobs or max(1, round(sum(node.get(unit, 0) for node in self._nodes)))

    @property
    def limit(self) -> int | None:
        return self.jobs

    @property
    def _has_gpus(self) -> bool:
        return any(node.get("GPU") for node in self._nodes)

    def start(self, task: Task) -> None:
        cpus, gpus = self._resources(task)
        log = self.out / "logs" / f"{task.step.id}.log"
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0, "name": task.step.id}
        context = {"cwd": str(Path.cwd()), "out": str(self.out), "log": str(log), "threads": max(1, int(cpus))}
        absolute = Task(task.step, task.folder.resolve(), task.attempt)
        handle = self._remote.options(**options).remote(absolute.payload, context, task.attempt)
        self._running[handle] = _Submitted(task, log, _size(log))

    def events(self, seconds: float) -> Sequence[Event]:
        if not self._running:
            return ()
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        started = list(self._find_started())
        return [*started, *(self._result(handle) for handle in ended)]

    def stop(self, *, interrupt: bool) -> None:
        try:
            if interrupt and self._running:
                for handle in self._running:
                    self._ray.cancel(handle, force=False)  # a KeyboardInterrupt in the step's process
                handles = list(self._running)
                _, left = self._ray.wait(handles, num_returns=len(handles), timeout=GRACE)
                for handle in left:
                    self._ray.cancel(handle, force=True)
        finally:
            self._running.clear()
            if self._owns_ray:
                self._ray.shutdown()  # ends what still runs for this study, here and on the nodes

    def _resources(self, task: Task) -> tuple[float, float]:
        """Cores and GPUs that the step needs."""
        needed = task.step.resources
        gpus = float(self._has_gpus) if needed.gpus is None else needed.gpus
        if not self._fits(needed.cpus, gpus):
            self._nodes = _nodes(self._ray)  # a node may have joined
            if not self._fits(needed.cpus, gpus):
                sizes = ", ".join(sorted({f"{n.get('CPU', 0):g} and {n.get('GPU', 0):g}" for n in self._nodes}))
                amount = f"{needed.cpus:g} cores and {gpus:g} GPUs"
                raise KkwarmError(
                    f"step {task.step.id} needs {amount} on one node; nodes have {sizes}",
                    hint="change [resources] of the recipe, or add a node",
                )
        return needed.cpus, gpus

    def _fits(self, cpus: float, gpus: float) -> bool:
        return any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in self._nodes)

    def _find_started(self) -> Iterator[Event]:
        for handle, submitted in self._running.items():
            if submitted.log_size >= 0 and _size(submitted.log) > submitted.log_size:
                self._running[handle] = _Submitted(submitted.task, submitted.log, -1)
                yield StepStarted(submitted.task.step.id, _last_worker(submitted.log))

    def _result(self, handle: Any) -> Event:
        submitted = self._running.pop(handle)
        step = submitted.task.step.id
        errors = self._ray.exceptions
        try:
            reply: Mapping[str, Any] = self._ray.get(handle)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        ) as err:
            return WorkerLost(step, f"{_LOSSES.get(type(err).__name__, 'its result was lost')}; see {submitted.log}")
        except errors.TaskCancelledError:
            return WorkerLost(step, "it was cancelled")
        except errors.RayError as err:
            return StepFailed(step, f"ray: {' '.join(str(err).split())[-300:]}")
        if reply["ok"]:
            return StepFinished(step, reply["seconds"])
        return (WorkerLost if reply.get("retry") else StepFailed)(step, reply["error"])


_LOSSES = {
    "WorkerCrashedError": "its process was killed",
    "NodeDiedError": "its node was lost",
    "OutOfMemoryError": "its node ran out of memory",
}


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray would send usage statistics
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise KkwarmError("--executor ray needs ray", hint="pip install 'kkwarm[ray]'") from None
    return ray


def _connect(ray: Any, address: str, jobs: int | None) -> None:
    """Joins the cluster at `address`, or starts one with this machine's cores and GPUs (``local``)."""
    local = address == "local"
    if not local:
        _check_cluster(address)
    settings: dict[str, Any] = {"num_cpus": jobs} if local and jobs else {}
    if local:
        settings["include_dashboard"] = False
    try:
        with preserve_signal_handlers():
            ray.init(
                address=address,
                runtime_env={"env_vars": _environment()},
                log_to_driver=False,
                configure_logging=False,
                namespace="kkwarm",
                **settings,
            )
    except Exception as err:  # ray has no error type for a cluster that does not start
        reason = " ".join(str(err).split())[:200]
        if not local:
            raise _unreachable(address, reason) from None
        raise KkwarmError(f"Ray did not start here: {reason}", hint="try again, or use --executor local") from None


def _environment() -> dict[str, str]:
    """Environment variables of the steps. PYTHONPATH names the modules that are importable here but not installed."""
    names = [k for k in os.environ if k.startswith(_ENV_PREFIXES) and not any(s in k for s in _SECRETS)]
    installed = tuple({sys.prefix, sys.base_prefix})
    paths = [str(Path(p).resolve()) for p in sys.path if p and not p.startswith(installed)]
    variables = {k: os.environ[k] for k in names}
    return {"TOKENIZERS_PARALLELISM": "false"} | variables | {"PYTHONPATH": os.pathsep.join(paths)}


def _check_cluster(address: str) -> None:
    """Checks within a bounded time that a Ray cluster responds. (ray itself tries for minutes and ends the process.)"""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        if not colon or not port.isdecimal():
            raise KkwarmError(f"--ray-address {address} is not an address", hint="auto, HOST:PORT or ray://HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_TIMEOUT).close()
        except OSError as err:
            raise _unreachable(address, str(err.strerror or err)) from None
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False); ray.nodes()"
    try:
        process = subprocess.run(
            [sys.executable, "-c", code, address],
            capture_output=True,
            text=True,
            timeout=CLUSTER_TIMEOUT,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, f"no response within {CLUSTER_TIMEOUT:g} s") from None
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.strip()]
        raise _unreachable(address, lines[-1][:200] if lines else f"ray ended with code {process.returncode}")


def _unreachable(address: str, reason: str) -> KkwarmError:
    return KkwarmError(
        f"no Ray cluster responds at {address}: {reason}",
        hint="start one with `ray start --head`, or omit --ray-address to use this machine",
    )


# -- on the node -------------------------------------------------------------------------------------------------------


def _run_on_node(payload: str, context: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """Runs a step in a worker process of Ray. Ray reuses the process for the next step unless it used a GPU."""
    out, node = Path(context["out"]), socket.gethostname()
    if not (out / "manifest.json").is_file():
        error = f"node {node} does not see {out}: a study's folder must be on a filesystem that all nodes share"
        return {"ok": False, "error": error}
    with contextlib.suppress(FileNotFoundError):
        os.chdir(context["cwd"])  # so that relative paths of the recipe resolve as on the user's machine
    _set_threads(context["threads"])
    with _redirect_output(Path(context["log"])):
        sys.stderr.write(f"-- attempt {attempt} on {node}, process {os.getpid()}\n")
        sys.stderr.flush()
        if attempt > 1 and not _wait_for_lock(payload):
            return {"ok": False, "retry": True, "error": "the process of the lost attempt still writes its run"}
        return run_task(payload)


def _set_threads(count: int) -> None:
    """Uses one thread per requested core. The process may have run a step with another number before."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def _wait_for_lock(payload: str, timeout: float = 60.0) -> bool:
    """Waits until the run has no writer: a node that Ray considers dead may take seconds to end its processes."""
    import filelock

    lock = Path(json.loads(payload)["spec"]["out"]) / ".lock"
    if not lock.parent.exists():
        return True
    try:
        with filelock.FileLock(lock, timeout=timeout):
            return True
    except filelock.Timeout:
        return False


@contextlib.contextmanager
def _redirect_output(path: Path) -> Iterator[None]:
    """Appends the output of the step and its libraries to the step's log in the study's folder."""
    descriptors = [os.dup(1), os.dup(2)]
    streams = sys.stdout, sys.stderr
    with path.open("a", encoding="utf-8", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(descriptors, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_worker(log: Path) -> str:
    """Node and process of the last attempt in a log."""
    lines = log.read_text("utf-8", "replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith("-- attempt ")), "")
    return last.partition(" on ")[2]
