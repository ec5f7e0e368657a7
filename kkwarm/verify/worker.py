"""The worker process of `kkwarm.verify.workers`: reads (verifier, example, response), writes verdicts."""

from __future__ import annotations

import math
import os
import pickle
import resource
import select
import signal
import threading
import time

_SPARE_S = 1.0  # CPU seconds for each core that a check may use beyond its time: the parent ends it before


def main() -> None:
    """Serves until standard input ends. What a verifier prints goes to stderr, never into the protocol."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    threading.Thread(target=_end_with_parent, args=(requests.fileno(),), daemon=True).start()

    from kkwarm.verify.judge import checked
    from kkwarm.verify.workers import read_frame, write_frame

    while (frame := read_frame(requests)) is not None:
        verifier, example, response = pickle.loads(frame)  # written by the parent, which is trusted
        write_frame(replies, b"ready")
        _limit(verifier.timeout_s)
        write_frame(replies, pickle.dumps(checked(verifier, example, response)))


def _end_with_parent(requests: int) -> None:
    """Ends this process, and what the verifier started, when the pipe's other end goes: the parent was killed."""
    poll = select.poll()
    poll.register(requests, 0)  # hang-up is always told
    poll.poll()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _limit(seconds: float) -> None:
    """The kernel ends a check that its parent can no longer end: one long call in C lets no other thread run."""
    most = time.process_time() + (seconds + _SPARE_S) * (os.cpu_count() or 1)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(most)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
