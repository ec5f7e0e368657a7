"""The messages between the trusted side, the supervisor and the candidate. Standard library only."""

from __future__ import annotations

import struct

__all__ = ["CHECKPOINT", "HELLO", "NOBODY", "RECORD", "REPORT", "RUN", "record"]

# R: cpu s, wall s, memory, threads, processes, file size, open files. Or K: kill
RUN = struct.Struct("<cddQQQQQ7x")
# kind, wait status, cpu s, wall s, peak resident bytes, processes started, 1 if a limit was exceeded
REPORT = struct.Struct("<cidddIB2x")
RECORD = struct.Struct("<cdI")  # kind, cpu s, length of the data that follows
NOBODY = 65534  # the user id that root switches to
HELLO = b"H"  # the first byte that a candidate's process sends: it is ready, and the kernel tells its process id


def record(kind: bytes, data: bytes = b"", cpu_s: float = 0.0) -> bytes:
    """One message of a candidate: ``V N O X`` the result of a call, ``L F`` a failure, ``C`` a checkpoint."""
    return RECORD.pack(kind, cpu_s, len(data)) + data


CHECKPOINT = record(b"C")
