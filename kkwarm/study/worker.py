"""A worker process of a study: runs one step after another.

It reads JSON lines ``{"function", "spec"}`` from stdin and replies to each with one JSON line on stdout. The output of
libraries goes to stderr, which is the worker's log. The worker ends when its parent does.
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.interrupt import interrupt_on_signals


def main() -> int:
    """Runs steps until stdin is closed."""
    interrupt_on_signals()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, output of libraries cannot be mistaken for replies
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        while True:
            reply = run_task(tasks.get())
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    except KeyboardInterrupt:
        return 130


def _listen(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    # The parent is gone, perhaps killed: leave nothing running. Runs are crash-safe, and the step can be resumed.
    os._exit(0)


def run_task(payload: str) -> dict[str, Any]:
    """Runs the step of a task (`executor.Task.payload`).

    :returns: ``ok``, and ``seconds`` or ``error``.
    :raises KeyboardInterrupt: the step was interrupted and can be resumed.
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
        if "torch" in sys.modules:  # other workers and the next step need what this step used
            from kkwarm.backends.memory import release_memory

            release_memory()
    return {"ok": True, "seconds": time.monotonic() - started}


def run_step(spec: Mapping[str, Any]) -> None:
    """Runs one step; an interrupted step resumes. Its progress goes to the log of the worker.

    :param spec: ``id``, ``kind``, ``config``, ``inputs`` (folders or hub ids by name), ``out``, ``labels``, ``domains``
        (that the recipe names, so that traces may name them).
    """
    if spec.get("domains"):
        from kkwarm.plugins import registry

        for name in spec["domains"]:
            registry().task(name)
    kind, config, out = spec["kind"], dict(spec["config"]), Path(spec["out"])
    inputs, labels = spec["inputs"], {"step": spec["id"], **spec["labels"]}
    if kind == "distill":
        from kkwarm.train import DistillConfig, distill

        distill(DistillConfig(**config), out, labels=labels)
    elif kind == "warmup":
        from kkwarm.train import WarmupConfig, warmup

        warmup(inputs["model"], inputs["traces"], out, WarmupConfig(**config), labels=labels)
    elif kind == "rlvr":
        from kkwarm.train import RlvrConfig, rlvr

        rlvr(inputs["model"], RlvrConfig(**config), out, labels=labels)
    elif kind == "bench":
        from kkwarm.evaluation import BenchConfig, bench

        domains = config.pop("domains")
        labels = {key: str(value) for key, value in labels.items()}
        bench(inputs["model"], domains, out, BenchConfig(**config), labels=labels)
    else:
        raise ValueError(f"step {spec['id']}: unknown kind {kind!r}")


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the listener thread still waits on stdin
