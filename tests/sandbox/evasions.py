# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Programs that compute the right results, but use more time than a call may have, in ways that hide it.

Each defines `f`, of which 2 is expected for 1, 3 for 2, and so on, for five calls
of at most 0.3 s of CPU time and 0.5 s of sleep each.
`burn(s)` uses CPU time and `WORK` is how long: several times the limit of a call, but less than that of all calls.
"""

BURN = """
import time as _time
_clock = _time.process_time
WORK = 1.2
def burn(s, clock=_clock):
    end = clock() + s
    while clock() < end: pass
"""

SLOW = {
    "openly": """
        def f(x): burn(WORK); return x + 1
    """,
    "in the last call": """
        def f(x):
            if x == 5: burn(WORK)
            return x + 1
    """,
    "after fast calls": """
        def f(x):
            if x == 3: burn(WORK)
            return x + 1
    """,
    "while it is loaded": """
        burn(3.0)
        def f(x): return x + 1
    """,
    "patched clocks": """
        import time
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime", "monotonic_ns", "process_time_ns"):
            setattr(time, name, lambda *a: 0)
        def f(x): burn(WORK); return x + 1
    """,
    "patched marshal": """
        import marshal, sys
        dumps = marshal.dumps
        def slow(*a): burn(WORK); return dumps(*a)
        for module in list(sys.modules.values()):
            if hasattr(module, "dumps"): module.dumps = slow
        def f(x): return x + 1
    """,
    "patched encoder of the harness": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "encode"))
        encode = main.encode
        def slow(*a): burn(WORK); return encode(*a)
        main.encode = slow
        def f(x): return x + 1
    """,
    "patched decoder of the harness": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "loads"))
        loads = main.loads
        def slow(*a): burn(WORK / 2); return loads(*a)
        main.loads = slow
        def f(x): return x + 1
    """,
    "patched sending": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "Candidate"))
        send = main.Candidate.send
        def slow(*a): burn(WORK); return send(*a)
        main.Candidate.send = slow
        def f(x): return x + 1
    """,
    "patched flush": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "Candidate"))
        flush = main.Candidate.flush
        def slow(*a): burn(WORK); return flush(*a)
        main.Candidate.flush = slow
        def f(x): return x + 1
    """,
    "no checkpoints": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "Candidate"))
        main.monotonic = lambda: 0.0
        main.CHECKPOINT_S = 1e9
        def f(x): burn(0.28); return x + 1
    """,
    "empty checkpoints": """
        import os, struct
        def f(x):
            for _ in range(6):
                burn(0.2)
                os.write(3, struct.pack("<cdI", b"C", 0.0, 0))
            return x + 1
    """,
    "a checkpoint after a part of a message": """
        import os, struct
        def f(x):
            os.write(3, struct.pack("<cdI", b"V", 0.0, 5)[:7]); burn(0.25); os.write(3, struct.pack("<cdI", b"C", 0.0, 0))
            return x + 1
    """,
    "reported times": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "Candidate"))
        main.process_time = lambda: 0.0
        def f(x): burn(WORK); return x + 1
    """,
    "negative reported times": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "record"))
        record = main.record
        main.record = lambda kind, data=b"", cpu_s=0.0: record(kind, data, -1e9)
        def f(x): burn(WORK); return x + 1
    """,
    "times that are no numbers": """
        import sys
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "record"))
        record = main.record
        main.record = lambda kind, data=b"", cpu_s=0.0: record(kind, data, float("nan"))
        def f(x): burn(WORK); return x + 1
    """,
    "in a thread that is waited for": """
        import threading
        def f(x):
            t = threading.Thread(target=burn, args=(WORK,)); t.start(); t.join()
            return x + 1
    """,
    "in a thread that outlives the call": """
        import threading, time
        results = {}
        def work():
            burn(WORK); results.update({i: i + 1 for i in range(9)})
        threading.Thread(target=work, daemon=True).start()
        def f(x):
            while x not in results: time.sleep(0.001)
            return results[x]
    """,
    "in threads without the interpreter's lock": """
        import hashlib, threading
        def work():
            end = _clock() + WORK
            while _clock() < end: hashlib.sha256(bytes(10 ** 7)).digest()
        def f(x):
            ts = [threading.Thread(target=work) for _ in range(4)]
            for t in ts: t.start()
            for t in ts: t.join()
            return x + 1
    """,
    "in a child process": """
        import os
        def f(x):
            pid = os.fork()
            if pid == 0: burn(0.45); os._exit(0)
            os.waitpid(pid, 0)
            return x + 1
    """,
    "in a child process that nobody waits for": """
        import os, signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        def f(x):
            r, w = os.pipe()
            if os.fork() == 0: burn(0.45); os.write(w, b"x"); os._exit(0)
            os.read(r, 1)
            return x + 1
    """,
    "in a process that takes over": """
        import os
        if os.fork():
            while True:
                try: os.waitpid(-1, 0)
                except OSError: break
            os._exit(0)
        def f(x): burn(0.45); return x + 1
    """,
    "in a helper started with the code": """
        import os
        r, w = os.pipe(); r2, w2 = os.pipe()
        if os.fork() == 0:
            while os.read(r, 1): burn(0.45); os.write(w2, b"x")
            os._exit(0)
        def f(x):
            os.write(w, b"x"); os.read(r2, 1)
            return x + 1
    """,
    "in many helpers": """
        import os
        def f(x):
            pids = []
            for _ in range(3):
                try: pid = os.fork()
                except OSError: break
                if pid == 0: burn(0.45); os._exit(0)
                pids.append(pid)
            for pid in pids: os.waitpid(pid, 0)
            burn(0.25)
            return x + 1
    """,
    "in a child that shares memory": """
        import ctypes, os, platform
        libc = ctypes.CDLL(None)
        def f(x):
            if platform.machine() != "x86_64": burn(WORK)
            pid = libc.syscall(58)  # vfork
            if pid == 0: burn(0.45); libc._exit(0)
            return x + 1
    """,
    "in a signal handler": """
        import signal
        signal.signal(signal.SIGALRM, lambda *a: burn(WORK))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        def f(x):
            burn(0.05)
            return x + 1
    """,
    "with all signals blocked": """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.setitimer(signal.ITIMER_REAL, 0)
        def f(x): burn(WORK); return x + 1
    """,
    "in a finalizer": """
        class Late:
            def __del__(self): burn(WORK)
        def f(x):
            Late()
            return x + 1
    """,
    "in a collected cycle": """
        import gc
        class Late:
            def __init__(self): self.me = self
            def __del__(self): burn(WORK)
        def f(x):
            Late(); gc.collect()
            return x + 1
    """,
    "in a callback of the collector": """
        import gc
        gc.callbacks.append(lambda *a: burn(WORK))
        def f(x): gc.collect(); return x + 1
    """,
    "in a trace function": """
        import sys
        main = sys._getframe(1)
        def trace(frame, event, arg):
            if frame.f_code.co_name == "f" and event == "return": burn(WORK)
            return trace
        sys.settrace(trace)
        def f(x): return x + 1
    """,
    "in a profile function": """
        import sys
        def f(x):
            sys.setprofile(lambda *a: (sys.setprofile(None), burn(WORK)))
            return x + 1
    """,
    "in a generator that is closed later": """
        def g():
            try: yield
            finally: burn(WORK)
        kept = []
        def f(x):
            kept.clear(); i = g(); next(i); kept.append(i)
            return x + 1
    """,
    "in an equality": """
        class Key:
            def __hash__(self): return 1
            def __eq__(self, other): burn(WORK); return self is other
        def f(x): return x + 1 if Key() in {1: 0} or True else 0
    """,
    "in the attribute of an awaitable": """
        import asyncio
        class Slow:
            def __await__(self):
                burn(WORK); return x_ + 1
                yield
        x_ = 0
        def f(x):
            global x_
            x_ = x
            async def main(): return await Slow()
            return asyncio.run(main())
    """,
    "in C code": """
        def f(x): sum(range(10 ** 8)); return x + 1
    """,
    "in a regular expression": """
        import re
        def f(x): re.match(r"(a+)+$", "a" * 27 + "b"); return x + 1
    """,
    "in big integers": """
        def f(x): str(7 ** 600_000)[:0] if False else (7 ** 6_000_000) // 3; return x + 1
    """,
    "in the kernel": """
        import os
        def f(x):
            fd = os.open("/dev/zero", os.O_RDONLY); end = _clock() + WORK
            buffer = bytearray(1 << 24)
            while _clock() < end: os.readv(fd, [buffer])
            os.close(fd)
            return x + 1
    """,
    "in page faults": """
        import mmap
        def f(x):
            end = _clock() + WORK
            while _clock() < end:
                with mmap.mmap(-1, 1 << 26) as m:
                    for i in range(0, 1 << 26, 4096): m[i] = 1
            return x + 1
    """,
    "asleep": """
        import time
        def f(x): time.sleep(0.8); return x + 1
    """,
    "asleep in the last call": """
        import time
        def f(x):
            if x == 5: time.sleep(0.8)
            return x + 1
    """,
    "asleep in short naps": """
        import time
        def f(x):
            for _ in range(30): time.sleep(0.03); burn(0.002)
            return x + 1
    """,
    "asleep just before the limit": """
        import time
        def f(x): burn(0.335); time.sleep(0.8); return x + 1
    """,
    "asleep after many threads waited for a core": """
        import hashlib, threading, time
        def work(): hashlib.sha256(bytes(3 * 10 ** 5)).digest()
        def f(x):
            ts = [threading.Thread(target=work) for _ in range(100)]
            for t in ts: t.start()
            for t in ts: t.join()
            time.sleep(1.5)
            return x + 1
    """,
    "asleep beside a thread": """
        import threading, time
        def f(x):
            t = threading.Thread(target=time.sleep, args=(1.5,)); t.start(); t.join()
            return x + 1
    """,
    "waiting for a lock": """
        import threading
        lock = threading.Lock(); lock.acquire()
        def f(x): lock.acquire(timeout=0.8); return x + 1
    """,
    "waiting for a signal": """
        import signal
        def f(x): signal.sigtimedwait([signal.SIGUSR1], 0.8); return x + 1
    """,
    "waiting for a descriptor": """
        import select
        def f(x): select.select([], [], [], 0.8); return x + 1
    """,
    "waiting for the trusted side": """
        import select
        def f(x): select.select([3], [], [], 0.8); return x + 1
    """,
    "stopped by itself": """
        import os, signal, threading
        def f(x):
            pid = os.fork()
            if pid == 0:
                import time; time.sleep(0.8); os.kill(os.getppid(), signal.SIGCONT); os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)
            import time; time.sleep(0.8)
            return x + 1
    """,
}
