# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Programs that try to get a correct verdict without solving the task."""

# Each defines `f`, of which 2 is expected for 1, and 3 for 2; none computes that.
FORGERIES = {
    "an object that equals everything": """
        class Same:
            def __eq__(self, other): return True
            __hash__ = object.__hash__
        def f(x): return Same()
    """,
    "an int that equals everything": """
        class Same(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        def f(x): return Same(0)
    """,
    "a str that equals everything, in a list": """
        class Same(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
        def f(x): return [Same()]
    """,
    "a lying class": """
        class Same:
            __class__ = int
            def __eq__(self, other): return True
            def __index__(self): return 2
            __int__ = __index__
        def f(x): return Same()
    """,
    "expected outputs on the stack": """
        import sys
        def f(x):
            frame = sys._getframe()
            while frame is not None:
                for name, value in list(frame.f_locals.items()):
                    if name in ("expected", "exp", "wanted", "outputs", "references"):
                        return value[x - 1]
                frame = frame.f_back
    """,
    "patched built-ins": """
        import builtins, os, sys, operator
        builtins.type = lambda *a: int
        builtins.isinstance = lambda *a: True
        builtins.len = lambda a: 0
        builtins.zip = lambda *a, **k: iter(())
        builtins.enumerate = lambda *a: iter(())
        operator.eq = lambda *a: True
        os.write = lambda fd, data: len(data)
        def f(x): return 0
    """,
    "patched encoder": """
        import sys, marshal
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "encode"))
        main.encode = lambda *a: (b"V", marshal.dumps(True, 2))
        main.record = lambda *a: b""
        main.Candidate.send = lambda *a: None
        main.Candidate.stop = lambda self: -1e9
        def f(x): return 0
    """,
    "every module replaced": """
        import sys
        for name in list(sys.modules):
            sys.modules[name] = None
        def f(x): return 0
    """,
    "an early, clean exit": """
        import os
        def f(x): os._exit(0)
    """,
    "an exit while it is loaded": """
        import sys
        def f(x): return 0
        sys.exit(0)
    """,
    "an exit at the end": """
        import atexit, os
        atexit.register(lambda: os._exit(0))
        def f(x): return None
    """,
    "forged messages on every descriptor": """
        import os, struct
        def f(x):
            good = b"".join(struct.pack("<cdI", k, 0.0, len(d)) + d for k, d in [(b"V", b"T"), (b"V", b"T"), (b"D", b"")])
            report = struct.pack("<cidddB2x", b"E", 0, 0.0, 0.0, 0.0, 0)
            for fd in range(256):
                for message in (good, report, b"passed", b"\\0" * 64):
                    try:
                        os.write(fd, message)
                    except OSError:
                        pass
            return 0
    """,
    "a forged end": """
        import os, struct
        def f(x):
            os.write(3, struct.pack("<cdI", b"D", 0.0, 0))
            os._exit(0)
    """,
    "random bytes on every descriptor": """
        import os
        def f(x):
            for fd in range(64):
                try:
                    os.write(fd, os.urandom(4096))
                except OSError:
                    pass
            return 0
    """,
    "closed descriptors": """
        import os
        def f(x):
            os.closerange(0, 64)
            return 0
    """,
    "replaced streams": """
        import sys
        class Loud:
            def write(self, text): raise SystemExit(0)
            flush = write
        sys.stdout = sys.stderr = sys.stdin = Loud()
        def f(x): return 0
    """,
    "two processes that answer": """
        import os
        def f(x):
            os.fork()
            return x + 1 if os.getpid() == 0 else 0
    """,
    "a thread that answers later": """
        import threading, time, os, struct
        def later():
            time.sleep(0.05)
            for _ in range(2):
                os.write(3, struct.pack("<cdI", b"V", 0.0, 1) + b"T")
        threading.Thread(target=later).start()
        def f(x):
            time.sleep(0.1)
            return 0
    """,
    "an exception with a hostile text": """
        class Error(Exception):
            def __str__(self): raise SystemExit(0)
        def f(x): raise Error
    """,
    "no end": """
        def f(x):
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """,
    "no end, and no alarm": """
        import signal
        def f(x):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            while True: pass
    """,
    "no end in C code": """
        def f(x): return sum(range(10 ** 15))
    """,
    "a lying clock": """
        import time
        time.process_time = time.monotonic = lambda: 0.0
        def f(x):
            while True: pass
    """,
    "sleep": """
        import time
        def f(x): time.sleep(1000)
    """,
    "deep recursion": """
        import sys
        sys.setrecursionlimit(10 ** 9)
        def f(x): return f(x)
    """,
    "a deep value": """
        def f(x):
            value = []
            for _ in range(10 ** 5): value = [value]
            return value
    """,
    "a value that contains itself": """
        def f(x):
            value = []
            value.append(value)
            return value
    """,
    "a huge value": """
        def f(x): return "x" * (1 << 27)
    """,
    "a huge value of small parts": """
        def f(x):
            value = [0]
            for _ in range(40): value = [value, value]
            return value
    """,
    "a gigabyte printed": """
        import os
        def f(x):
            for _ in range(1024):
                print("x" * (1 << 20))
                os.write(2, b"x" * (1 << 20))
            return 0
    """,
    "a memory bomb": """
        def f(x):
            kept = []
            while True: kept.append(bytearray(1 << 24))
    """,
    "a set of numbers that share one hash": """
        import marshal, struct
        dumps, n = marshal.dumps, 50_000
        parts = b"".join(dumps(i * (2 ** 61 - 1), 2) for i in range(1, n + 1))
        marshal.dumps = lambda *a: b"<" + struct.pack("<I", n) + parts
        def f(x): return x
    """,
    "patched locals of every frame": """
        import sys
        def trace(frame, event, arg):
            for name in ("result", "value", "args", "data", "used", "limit"):
                if name in frame.f_locals: frame.f_locals[name] = 2
            return trace
        sys.settrace(trace)
        sys.setprofile(trace)
        def f(x): return 0
    """,
    "a descriptor passed to the other side": """
        import array, socket, struct
        def f(x):
            side = socket.socket(fileno=3)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 10))]
            for _ in range(100): side.sendmsg([struct.pack("<cdI", b"V", 0.0, 1) + b"T"], rights)
            return 0
    """,
    "a crash": """
        import ctypes
        def f(x): ctypes.string_at(0)
    """,
    "a file that never ends": """
        import tempfile
        def f(x):
            with tempfile.TemporaryFile() as file:
                while True: file.write(b"x" * (1 << 20))
    """,
}
