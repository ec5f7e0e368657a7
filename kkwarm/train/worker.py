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
from kkwarm.schema.settings import RlvrConfig, WarmupConfig
from kkwarm.train import distributed
from kkwarm.train.launch import FAILED, STOP
from kkwarm.train.progress import print_status

_GRACE_SECONDS = 5.0  # for the other processes to end by themselves after one has failed


def main(job_file: Path) -> int:
    """Runs the job. An error is written beside the job file, where the parent reads it."""
    job = json.loads(job_file.read_text("utf-8"))
    folder = job_file.parent
    threading.Thread(target=_watch_parent, args=(folder, os.getppid()), daemon=True).start()
    try:
        _train(job)
    except KkwarmError as err:
        error = {"message": err.message, "hint": err.hint, "exit_code": err.exit_code, "interrupted": False}
        _write_report(folder, error)
        return err.exit_code
    except KeyboardInterrupt:
        _write_report(folder, {"interrupted": True})
        return 130
    except Exception as err:
        time.sleep(1.0)  # the cause may be another process's failure, which is about to be reported
        if any(folder.glob(FAILED)):
            return 1
        if "gloo" in str(err) or "NCCL" in str(err):
            print_status(f"process {distributed.rank()} lost the connection to the others", all_ranks=True)
            return 1
        raise
    finally:
        _leave_group()
    return 0


def _train(job: dict[str, Any]) -> None:
    from kkwarm.train import rlvr, warmup

    settings: dict[str, Any] = job["config"]
    shared = {"labels": job["labels"], "progress": job["progress"]}
    if job["kind"] == "warmup":
        warmup(job["model"], job["traces"], job["out"], WarmupConfig(**settings), **shared)
    else:
        rlvr(job["model"], RlvrConfig(**settings), job["out"], **shared)


def _write_report(folder: Path, report: dict[str, Any]) -> None:
    temporary = folder / f".failed-{distributed.rank()}"
    temporary.write_text(json.dumps(report), "utf-8")
    temporary.replace(folder / FAILED.replace("*", str(distributed.rank())))


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_initialized() and sys.exc_info()[0] is None:
        dist.destroy_process_group()


def _watch_parent(folder: Path, parent: int) -> None:
    """Ends this process when its parent is gone or another process has failed, and passes on a request to stop.

    An exception cannot reach a process that waits for the others inside a collective operation.
    """
    stopping, failed_at = False, 0.0
    while True:
        time.sleep(0.2)
        if os.getppid() != parent or not folder.exists():
            os._exit(1)
        if not stopping and (folder / STOP).exists():
            stopping = True
            os.kill(os.getpid(), signal.SIGINT)
        if any(folder.glob(FAILED)):
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > _GRACE_SECONDS:
                os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
