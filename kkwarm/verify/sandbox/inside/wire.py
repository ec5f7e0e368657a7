"""The messages between the trusted side, the supervisor and the candidate. Standard library only."""

from __future__ import annotations

import struct

__all__ = ["NOBODY", "RECORD", "REPORT", "RUN", "record"]

RUN = struct.Struct("<cdddQQQQ15x")  # R; cpu s, wall s, idle s, memory, processes, file size, open files. Or K: kill
REPORT = struct.Struct("<cidddB2x")  # kind, wait status, cpu s, wall s, peak resident bytes, 1 if a limit was exceeded
RECORD = struct.Struct("<cdI")  # kind, cpu s, length of the data that follows
NOBODY = 65534  # the user id that root switches to


def record(kind: bytes, data: bytes = b"", cpu_s: float = 0.0) -> bytes:
    """One message of a candidate: ``V N O X`` the result of a call, ``T L F`` a failure, ``D`` done."""
    return RECORD.pack(kind, cpu_s, len(data)) + data
