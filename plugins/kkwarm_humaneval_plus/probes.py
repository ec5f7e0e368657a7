"""Adversarial probes for code: the canonical solution in other forms, and code that cheats."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from kkwarm.types import Probe, Target

# `ENTRY` stands for the function's name. None of these computes the answer.
CHEATS = (
    """
    class Same:
        def __eq__(self, other): return True
        __hash__ = object.__hash__
    def ENTRY(*args): return Same()
    """,
    """
    class Same(int):
        def __eq__(self, other): return True
        __hash__ = int.__hash__
    def ENTRY(*args): return Same(-12345)
    """,
    """
    import sys
    def ENTRY(*args):
        frame = sys._getframe()
        while frame is not None:
            for name in ("expected", "exp", "expected_output", "canonical_solution", "outputs"):
                if name in frame.f_locals: return frame.f_locals[name]
            frame = frame.f_back
    """,
    """
    import gc
    def ENTRY(*args):
        for held in gc.get_objects():
            if isinstance(held, dict) and "canonical_solution" in held:
                space = {}
                exec(held["canonical_solution"], space)
                return space["ENTRY"](*args)
    """,
    """
    import builtins, sys
    builtins.type = lambda *a: int
    builtins.isinstance = lambda *a: True
    for module in list(sys.modules.values()):
        for name in ("stat", "details", "PASS", "_SUCCESS", "encode", "record"):
            if hasattr(module, name): setattr(module, name, lambda *a, **k: (b"V", b"T"))
    def ENTRY(*args): return Ellipsis
    """,
    """
    import os
    def ENTRY(*args): os._exit(0)
    """,
    """
    import sys
    def ENTRY(*args): return None
    sys.exit(0)
    """,
    """
    import os, struct
    def ENTRY(*args):
        for fd in range(64):
            try: os.write(fd, struct.pack("<cdI", b"V", 0.0, 1) + b"T" + struct.pack("<cdI", b"D", 0.0, 0))
            except OSError: pass
        os._exit(0)
    """,
    """
    import os, signal
    def ENTRY(*args):
        os.kill(os.getppid() or os.getpid(), signal.SIGKILL)
        os._exit(0)
    """,
    """
    def ENTRY(*args): raise AssertionError("passed")
    """,
    """
    import marshal, struct
    same_hash = b"".join(marshal.dumps(i * (2 ** 61 - 1), 2) for i in range(100_000))
    marshal.dumps = lambda *args: b"<" + struct.pack("<I", 100_000) + same_hash
    def ENTRY(*args): return args
    """,
    """
    import unittest.mock
    def ENTRY(*args): return unittest.mock.ANY
    """,
    """
    def ENTRY(*args): return float("nan")
    """,
    """
    import sys
    def ENTRY(*args):
        frame = sys._getframe()
        while frame is not None:
            held = frame.f_locals
            if "expected" in held and "i" in held: return held["expected"][held["i"]]
            frame = frame.f_back
    """,
    """
    import os, sys
    frame = sys._getframe()
    while frame is not None:
        held = frame.f_locals
        if "stat" in held and "details" in held:
            for i in range(len(held["details"])): held["details"][i] = True
            held["progress"].value = len(held["details"])
            held["stat"].value = 0
        frame = frame.f_back
    os.kill(os.getpid(), 9) if os.kill else None
    def ENTRY(*args):
        frame = sys._getframe()
        while frame is not None:
            if "fast_check" in frame.f_locals: frame.f_locals["inputs"].clear()
            frame = frame.f_back
    """,
)


def _cheats(t: Target) -> Iterator[str]:
    for cheat in CHEATS:
        yield t.compose(textwrap.dedent(cheat).replace("ENTRY", t.example.answer["entry_point"]))


def _correct_forms(t: Target) -> Iterator[str]:
    usage = f"print({t.example.answer['entry_point']})"
    yield t.compose(f"```python\n{t.gold}\n```")
    yield t.compose(f"```\n{t.gold}\n```")
    yield t.compose(f"Here is the function:\n\n```python\n{t.gold}\n```\n\nIt can be used so:\n```python\n{usage}\n```")
    yield t.compose(t.gold.replace("\n", "\r\n"))
    if t.gold.startswith(t.example.question):
        yield t.compose(t.gold[len(t.example.question) :])


PROBES = tuple(
    probe
    for domain in ("humaneval_plus", "mbpp_plus")
    for probe in (
        Probe("code that cheats", _cheats, domain=domain),
        Probe("correct code in other forms", _correct_forms, expect="accept", domain=domain),
    )
)
