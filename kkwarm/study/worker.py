"""A worker of a study: does one step after the other in one process, so that torch and trl are imported once.

It reads JSON lines ``{"function", "spec"}`` from stdin and answers each with one JSON line on its first stdout; what
libraries print goes to stderr, which is the worker's log. It ends when its parent does.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.interrupt import interrupt_on_sigterm

__all__ = ["main", "perform"]


def main() -> int:
    """Serves steps until stdin ends."""
    interrupt_on_sigterm()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, prints of libraries cannot be taken for answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        while True:
            reply = perform(tasks.get())
            answers.write(json.dumps(reply) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        return 130


def _listen(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    # The parent has gone (killed, perhaps): leave nothing running. Stores are crash-safe, the step resumes.
    os._exit(0)


def perform(payload: str) -> dict[str, Any]:
    """Does a task's step (`executor.Task.payload`); tells its seconds, or what went wrong.

    :raises KeyboardInterrupt: the step was interrupted, and is resumable.
    """
    task = json.loads(payload)
    spec = task["spec"]
    started = time.monotonic()
    sys.stderr.write(f"== {spec['id']}\n")
    try:
        module, _, name = task["function"].partition(":")
        getattr(importlib.import_module(module), name)(spec)
    except KkwarmError as err:
        return {"ok": False, "error": str(err)}
    except Exception as err:
        traceback.print_exc()
        return {"ok": False, "error": f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"}
    finally:
        sys.stderr.flush()
    return {"ok": True, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the listening thread still waits on stdin
