"""The worker process of `kkwarm.verify.workers`: reads (verifier, example, response), writes verdicts."""

from __future__ import annotations

import os
import pickle


def main() -> None:
    """Serves until standard input ends. What a verifier prints goes to stderr, never into the protocol."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)

    from kkwarm.verify.judge import checked
    from kkwarm.verify.workers import read_frame, write_frame

    while (frame := read_frame(requests)) is not None:
        verifier, example, response = pickle.loads(frame)  # written by the parent, which is trusted
        write_frame(replies, b"ready")
        write_frame(replies, pickle.dumps(checked(verifier, example, response)))


if __name__ == "__main__":
    main()
