"""Steps as tasks of a Ray cluster, each with the cores and GPUs that it needs. The only importer of ray.

The study's folder must be on a filesystem that all nodes share: a step reads what earlier ones left there, and its run
in it is what makes it resumable. Ray itself carries a few hundred bytes each way.
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
from kkwarm.study.executor import Began, Done, Event, Failed, Lost, Task
from kkwarm.study.worker import perform

__all__ = ["RayExecutor"]

ANSWER = 5.0  # seconds in which a port must take a connection
CONNECT = 60.0  # ... and in which the cluster behind it must answer; ray itself would try for minutes
GRACE = 60.0  # seconds in which an interrupted step can end its training step and save it
PASSED_ON = ("KKWARM_", "HF_", "TOKENIZERS_", "TRL_", "VLLM_")  # variables; secrets among them stay here
SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")


@dataclass(frozen=True, slots=True)
class _Waiting:
    task: Task
    log: Path
    size: int  # of the log when the task was handed over: it has begun when the log has grown


class RayExecutor:
    """Hands every ready step to Ray, the most urgent first; Ray decides where and when.

    :raises KkwarmError: ray is not installed, nobody answers at `address`, or no node is large enough for a step.
    """

    attempts = 4  # nodes of a cluster are taken away; that is no fault of the step

    def __init__(self, out: Path, jobs: int | None, address: str | None, say: Callable[[str], None]) -> None:
        self.out, self.jobs = out.resolve(), jobs
        self._ray = _imported()
        self._own = not self._ray.is_initialized()
        if self._own:
            _connect(self._ray, address or os.environ.get("RAY_ADDRESS") or "local", jobs)
        self._perform = self._ray.remote(_on_node)
        self._running: dict[Any, _Waiting] = {}
        self._nodes = _nodes(self._ray)
        total = [f"{sum(n.get(k, 0) for n in self._nodes):g} {name}" for k, name in (("CPU", "cores"), ("GPU", "GPUs"))]
        say(f"Ray: {len(self._nodes)} node(s), {', '.join(total)}")
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
        cpus, gpus = self._asked(task)
        log = self.out / "logs" / f"{task.step.id}.log"
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0, "name": task.step.id}
        place = {"cwd": str(Path.cwd()), "out": str(self.out), "log": str(log), "threads": max(1, int(cpus))}
        absolute = Task(task.step, task.folder.resolve(), task.attempt)
        handle = self._perform.options(**options).remote(absolute.payload, place, task.attempt)
        self._running[handle] = _Waiting(task, log, _size(log))

    def events(self, seconds: float) -> Sequence[Event]:
        if not self._running:
            return ()
        some, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        begun = list(self._began())
        return [*begun, *(self._ended(handle) for handle in some)]

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
            if self._own:
                self._ray.shutdown()  # ends what still runs for us, here and on the nodes

    def _asked(self, task: Task) -> tuple[float, float]:
        asked = task.step.resources
        gpus = float(self._has_gpus) if asked.gpus is None else asked.gpus
        if not self._fits(asked.cpus, gpus):
            self._nodes = _nodes(self._ray)  # one may have come
            if not self._fits(asked.cpus, gpus):
                there = ", ".join(sorted({f"{n.get('CPU', 0):g} and {n.get('GPU', 0):g}" for n in self._nodes}))
                raise KkwarmError(
                    f"step {task.step.id} needs {asked.cpus:g} cores and {gpus:g} GPUs of one node; nodes have {there}",
                    hint="change [resources] of the recipe, or add a node",
                )
        return asked.cpus, gpus

    def _fits(self, cpus: float, gpus: float) -> bool:
        return any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in self._nodes)

    def _began(self) -> Iterator[Event]:
        for handle, waiting in self._running.items():
            if waiting.size >= 0 and _size(waiting.log) > waiting.size:
                self._running[handle] = _Waiting(waiting.task, waiting.log, -1)
                yield Began(waiting.task.step.id, _last_place(waiting.log))

    def _ended(self, handle: Any) -> Event:
        waiting = self._running.pop(handle)
        step = waiting.task.step.id
        lost = self._ray.exceptions
        try:
            answer: Mapping[str, Any] = self._ray.get(handle)
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.ObjectLostError) as err:
            return Lost(step, f"{_LOST.get(type(err).__name__, 'its result was lost')}; see {waiting.log}")
        except lost.TaskCancelledError:
            return Lost(step, "it was cancelled")
        except lost.RayError as err:
            return Failed(step, f"ray: {' '.join(str(err).split())[-300:]}")
        if answer["ok"]:
            return Done(step, answer["seconds"])
        return (Lost if answer.get("again") else Failed)(step, answer["error"])


_LOST = {
    "WorkerCrashedError": "its process was killed",
    "NodeDiedError": "its node went away",
    "OutOfMemoryError": "its node ran out of memory",
}


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it counts its users over the net
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise KkwarmError("--executor ray needs ray", hint="pip install 'kkwarm[ray]'") from None
    return ray


def _connect(ray: Any, address: str, jobs: int | None) -> None:
    """Joins the cluster, or starts one of this machine's cores and GPUs (``local``)."""
    local = address == "local"
    if not local:
        _answers(address)
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
    except Exception as err:  # ray has no type for a cluster that does not start
        why = " ".join(str(err).split())[:200]
        if not local:
            raise _silence(address, why) from None
        raise KkwarmError(f"Ray did not start here: {why}", hint="start again, or take --executor local") from None


def _environment() -> dict[str, str]:
    """What steps find set on their node. Modules beside the installed ones are found where they are here."""
    names = [k for k in os.environ if k.startswith(PASSED_ON) and not any(s in k for s in SECRET)]
    own = tuple({sys.prefix, sys.base_prefix})
    beside = [str(Path(p).resolve()) for p in sys.path if p and not p.startswith(own)]
    passed = {k: os.environ[k] for k in names}
    return {"TOKENIZERS_PARALLELISM": "false"} | passed | {"PYTHONPATH": os.pathsep.join(beside)}


def _answers(address: str) -> None:
    """Whether a Ray cluster answers, within a bounded time.

    :raises KkwarmError: nobody does. (ray itself tries for minutes, and then ends the process.)
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        if not colon or not port.isdecimal():
            raise KkwarmError(f"--ray-address {address} is no address", hint="auto, HOST:PORT or ray://HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
        except OSError as err:
            raise _silence(address, str(err.strerror or err)) from None
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False); ray.nodes()"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", code, address], capture_output=True, text=True, timeout=CONNECT, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise _silence(address, f"no answer within {CONNECT:g} s") from None
    if probe.returncode:
        said = [line for line in probe.stderr.splitlines() if line.strip()]
        raise _silence(address, said[-1][:200] if said else f"ray ended with code {probe.returncode}")


def _silence(address: str, why: str) -> KkwarmError:
    return KkwarmError(
        f"no Ray cluster answers at {address}: {why}",
        hint="start one by `ray start --head`, or leave out --ray-address for one of this machine",
    )


# -- on the node -------------------------------------------------------------------------------------------------------


def _on_node(payload: str, place: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """Does a step in a worker process of Ray, which is kept warm for the next one unless it used a GPU."""
    out, node = Path(place["out"]), socket.gethostname()
    if not (out / "manifest.json").is_file():
        why = f"node {node} does not see {out}: a study's folder must be on a filesystem that all nodes share"
        return {"ok": False, "error": why}
    with contextlib.suppress(FileNotFoundError):
        os.chdir(place["cwd"])  # so that relative paths of the recipe mean what they mean to its user
    _threads(place["threads"])
    with _logged(Path(place["log"])):
        sys.stderr.write(f"-- attempt {attempt} on {node}, process {os.getpid()}\n")
        sys.stderr.flush()
        if attempt > 1 and not _free(payload):
            return {"ok": False, "again": True, "error": "the process that was thought lost still writes its run"}
        return perform(payload)


def _threads(count: int) -> None:
    """As many threads as cores were asked for; the process may have served a step that asked for another number."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def _free(payload: str, patience: float = 60.0) -> bool:
    """Waits until the run's last writer has gone: a node that Ray has given up may take seconds to notice."""
    import filelock

    lock = Path(json.loads(payload)["spec"]["out"]) / ".lock"
    if not lock.parent.exists():
        return True
    try:
        with filelock.FileLock(lock, timeout=patience):
            return True
    except filelock.Timeout:
        return False


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What the step and its libraries print goes to the step's log, in the study's folder."""
    kept = [os.dup(1), os.dup(2)]
    old = sys.stdout, sys.stderr
    with path.open("a", encoding="utf-8", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        try:
            yield
        finally:
            sys.stdout, sys.stderr = old
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_place(log: Path) -> str:
    """The node and process that the last attempt named in a log."""
    lines = log.read_text("utf-8", "replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith("-- attempt ")), "")
    return last.partition(" on ")[2]
