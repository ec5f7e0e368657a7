"""One of several training processes: ``python -m kkwarm.train.worker JOB``, started by `kkwarm.train.launch`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed
from kkwarm.train.config import RlvrConfig, WarmupConfig
from kkwarm.train.launch import FAILED, STOP
from kkwarm.train.progress import say

__all__ = ["main"]

_GRACE_S = 5.0  # for the others to end by themselves, once one has failed


def main(job_file: Path) -> int:
    """Does the job; what goes wrong is written beside it, for the parent to tell."""
    job = json.loads(job_file.read_text("utf-8"))
    folder = job_file.parent
    threading.Thread(target=_watch, args=(folder, os.getppid()), daemon=True).start()
    try:
        _train(job)
    except KkwarmError as err:
        _report(folder, {"message": err.message, "hint": err.hint, "exit_code": err.exit_code, "interrupted": False})
        return err.exit_code
    except KeyboardInterrupt:
        _report(folder, {"interrupted": True})
        return 130
    except Exception as err:
        time.sleep(1.0)  # another process's failure, which it is about to report, may be the cause
        if any(folder.glob(FAILED)):
            return 1
        if "gloo" in str(err) or "NCCL" in str(err):
            say(f"process {distributed.rank()} lost the others", everywhere=True)
            return 1
        raise
    finally:
        _leave()
    return 0


def _train(job: dict[str, Any]) -> None:
    from kkwarm.train import rlvr, warmup

    # Not through `kkwarm.config`: it would make 2 into 2.0, and so another run of it.
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in job["config"].items()}
    shared = {"labels": job["labels"], "progress": job["progress"]}
    if job["kind"] == "warmup":
        warmup(job["model"], job["traces"], job["out"], WarmupConfig(**settings), **shared)
    else:
        rlvr(job["model"], RlvrConfig(**settings), job["out"], **shared)


def _report(folder: Path, what: dict[str, Any]) -> None:
    temporary = folder / f".failed-{distributed.rank()}"
    temporary.write_text(json.dumps(what), "utf-8")
    temporary.replace(folder / FAILED.replace("*", str(distributed.rank())))


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized() and sys.exc_info()[0] is None:
        dist.destroy_process_group()


def _watch(folder: Path, launcher: int) -> None:
    """Ends this process with its parent (killed, perhaps) and after another's failure; passes a wish to stop on.

    A process that waits for the others inside a collective cannot be reached by an exception.
    """
    wished, failed_at = False, 0.0
    while True:
        time.sleep(0.2)
        if os.getppid() != launcher or not folder.exists():
            os._exit(1)
        if not wished and (folder / STOP).exists():
            wished = True
            os.kill(os.getpid(), signal.SIGINT)
        if any(folder.glob(FAILED)):
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > _GRACE_S:
                os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
