# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Programs that forge results, exhaust something, or reach for what is not theirs.

Each defines `f`, of which 2 is expected for 1, and 3 for 2. None computes that, except after it succeeded in what it tries.
"""

# What comes through the candidate's socket is not what the harness sends.
MESSAGES = {
    "code instead of data": """
        import marshal, sys
        for m in list(sys.modules.values()):
            if hasattr(m,'dumps'): m.dumps=lambda *a: marshal.dumps(compile('2','a','eval'))
        def f(x): return 0
    """,
    "a reference in the data": """
        import marshal, sys
        d=marshal.dumps
        for m in list(sys.modules.values()):
            if hasattr(m,'dumps'): m.dumps=lambda v,n: b'r\\0\\0\\0\\0'
        def f(x): return 0
    """,
    "a list of four billion parts": """
        import sys,struct
        for m in list(sys.modules.values()):
            if hasattr(m,'dumps'): m.dumps=lambda v,n: b'['+struct.pack('<I',2**32-1)
        def f(x): return 0
    """,
    "huge length in the header": """
        import os,struct
        def f(x):
            os.write(3,struct.pack('<cdI',b'V',0.0,2**32-1)+b'x'*100000); return 0
    """,
    "flood of the trusted side": """
        import os,struct
        def f(x):
            data=struct.pack('<cdI',b'V',0.0,1)+b'N'
            while True: os.write(3,data*10000)
    """,
    "flood of results before they are asked for": """
        import os,struct
        os.write(3,(struct.pack('<cdI',b'V',0.0,5)+b'i'+struct.pack('<i',2))+(struct.pack('<cdI',b'V',0.0,5)+b'i'+struct.pack('<i',3)))
        def f(x): return 0
    """,
    "results before the checkpoint of loading": """
        import os,struct
        os.write(3,struct.pack('<cdI',b'C',0.0,0)+struct.pack('<cdI',b'V',0.0,5)+b'i'+struct.pack('<i',2)+struct.pack('<cdI',b'V',0.0,5)+b'i'+struct.pack('<i',2)+struct.pack('<cdI',b'C',0.0,0))
        os._exit(0)
    """,
    "reads inputs and guesses 0": """
        import os
        def f(x):
            os.read(3, 1<<20)
            return 0
    """,
    "a second hello": """
        import os
        def f(x):
            os.write(3,b'H'*13); return 0
    """,
    "a failure of the sandbox that is none": """
        import os,struct
        os.write(3,struct.pack('<cdI',b'F',0.0,4)+b'oops')
        import time; time.sleep(0.3)
        def f(x): return 0
    """,
    "credentials of another process": """
        import socket,struct,os,array
        def f(x):
            s=socket.socket(fileno=3)
            for pid in (1,2,os.getpid()):
                try: s.sendmsg([struct.pack('<cdI',b'V',0.0,1)+b'T'],[(socket.SOL_SOCKET,2,struct.pack('iii',pid,0,0))])
                except OSError: pass
            return 0
    """,
    "shutdown of the socket": """
        import socket
        def f(x):
            s=socket.socket(fileno=3); s.shutdown(socket.SHUT_RDWR); return 0
    """,
    "half shutdown, sleep": """
        import socket,time
        def f(x):
            s=socket.socket(fileno=3); s.shutdown(socket.SHUT_WR); time.sleep(30); return 0
    """,
    "closes the socket and sleeps": """
        import os,time
        def f(x):
            os.close(3); time.sleep(30)
    """,
    "nonblocking, O_ASYNC": """
        import fcntl,os,signal
        def f(x):
            fcntl.fcntl(3,fcntl.F_SETFL,os.O_NONBLOCK|os.O_ASYNC); fcntl.fcntl(3,fcntl.F_SETOWN,os.getpid()); return 0
    """,
    "socket buffers": """
        import socket
        def f(x):
            s=socket.socket(fileno=3)
            for o in range(1,60):
                try: s.setsockopt(socket.SOL_SOCKET,o,0)
                except OSError: pass
            return 0
    """,
}

# They use up processes, memory, files, descriptors.
EXHAUSTION = {
    "fork bomb": """
        import os
        def f(x):
            while True:
                try: os.fork()
                except OSError: pass
    """,
    "fork bomb by vfork in C": """
        import ctypes
        l=ctypes.CDLL(None)
        def f(x):
            while True: l.syscall(57)
    """,
    "thread bomb": """
        import threading,time
        def f(x):
            n=0
            while True:
                try: threading.Thread(target=time.sleep,args=(100,),daemon=True).start()
                except RuntimeError: pass
    """,
    "processes by clone": """
        import ctypes
        l=ctypes.CDLL(None)
        def f(x):
            for fl in (0,0x100,0x11|0x8000,0x10000000,0x20000000): 
                r=l.syscall(56,fl|17,0,0,0,0)
                if r==0: l._exit(0)
            return 0
    """,
    "memory of many processes": """
        import os,time
        kept=[]
        def f(x):
            for _ in range(100):
                try:
                    if os.fork()==0: break
                except OSError: break
            while True: kept.append(bytearray(1<<26))
    """,
    "memory of shared mappings": """
        import mmap
        kept=[]
        def f(x):
            while True:
                m=mmap.mmap(-1,1<<26); m.write(b'x'*(1<<26)); kept.append(m)
    """,
    "files in /tmp": """
        import os
        def f(x):
            i=0
            while True:
                with open(f'f{i}','wb') as o: o.write(b'x'*(1<<20))
                i+=1
    """,
    "many inodes": """
        import os
        def f(x):
            for i in range(10**6): os.close(os.open(f'a{i}',os.O_CREAT|os.O_WRONLY))
    """,
    "deep folders": """
        import os
        def f(x):
            for i in range(10**6): os.mkdir('d'); os.chdir('d')
    """,
    "many descriptors": """
        import os
        def f(x):
            while True: os.open('/dev/null',0)
    """,
    "full pipes": """
        import os,fcntl
        def f(x):
            while True:
                r,w=os.pipe(); fcntl.fcntl(w,fcntl.F_SETFL,os.O_NONBLOCK)
                try: fcntl.fcntl(w,1031,1<<20)
                except OSError: pass
                try:
                    while True: os.write(w,b'x'*65536)
                except BlockingIOError: pass
    """,
    "descriptors in messages": """
        import socket,array
        def f(x):
            while True:
                a,b=socket.socketpair()
                b.setblocking(False)
                try:
                    while True: b.sendmsg([b'x'],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[0]*200))])
                except OSError: pass
                a.detach(); b.detach()
    """,
    "sparse file of a petabyte": """
        import os
        def f(x):
            fd=os.open('a',os.O_CREAT|os.O_RDWR); os.ftruncate(fd,1<<50); return 0
    """,
}

# They reach for other processes, privileges, files, kernel interfaces, or the harness.
REACHES = {
    "memory in /proc": """
        def f(x):
            for p in ('/proc/self/mem','/proc/1/mem','/proc/self/maps','/proc/self/fd','/proc/kcore'):
                try: open(p,'rb').read(10); return 'seen '+p
                except OSError: pass
            raise ValueError('none')
    """,
    "mount proc": """
        import ctypes,os
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            os.mkdir('p')
            if l.mount(b'proc',b'/tmp/p',b'proc',0,None)==0: return x+1
            raise OSError(ctypes.get_errno(),'mount')
    """,
    "new user namespace by clone3": """
        import ctypes,struct
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            a=struct.pack('<QQQQQQQQ',0x10000000,0,0,0,17,0,0,0)
            r=l.syscall(435,a,64)
            if r==0: l._exit(0)
            if r>0: return x+1
            raise OSError(ctypes.get_errno(),'clone3')
    """,
    "chroot escape": """
        import os
        def f(x):
            os.mkdir('a'); os.chroot('a'); return x+1
    """,
    "mknod of a disk": """
        import os,stat
        def f(x):
            os.mknod('disk',0o600|stat.S_IFBLK,os.makedev(8,0)); return x+1
    """,
    "suid file": """
        import os
        def f(x):
            open('s','w').write('x'); os.chown('s',0,0); return x+1
    """,
    "setuid 0": """
        import os
        def f(x):
            os.setuid(0); return x+1
    """,
    "capabilities back": """
        import ctypes,struct
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            if l.capset(struct.pack('<Ii',0x20080522,0),struct.pack('<6I',2**32-1,2**32-1,2**32-1,2**32-1,0,0))==0: return x+1
            raise OSError(ctypes.get_errno(),'capset')
    """,
    "raise own limits": """
        import resource
        def f(x):
            for r in (resource.RLIMIT_CPU,resource.RLIMIT_AS,resource.RLIMIT_NPROC,resource.RLIMIT_FSIZE,resource.RLIMIT_NOFILE):
                try: resource.setrlimit(r,(resource.RLIM_INFINITY,resource.RLIM_INFINITY)); return x+1
                except (ValueError,OSError): pass
            raise ValueError('none')
    """,
    "parent death signal off": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            if l.prctl(1,0,0,0,0)==0: return x+1
            raise OSError(ctypes.get_errno(),'prctl')
    """,
    "undumpable": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            if l.prctl(4,0,0,0,0)==0: return x+1
            raise OSError(ctypes.get_errno(),'prctl')
    """,
    "write Python's own files": """
        import os
        def f(x):
            open(os.__file__,'a').write('x'); return x+1
    """,
    "times of /dev/null": """
        import os
        def f(x):
            os.utime('/dev/null',None); return x+1
    """,
    "times of /dev/null by descriptor": """
        import os
        def f(x):
            fd=os.open('/dev/null',os.O_RDWR); os.utime(fd,(1,1)); return x+1
    """,
    "times of stdout": """
        import os
        def f(x):
            os.utime(1); return x+1
    """,
    "mode of /dev/null": """
        import os
        def f(x):
            os.chmod('/dev/null',0o600); return x+1
    """,
    "xattr on /dev/null": """
        import os
        def f(x):
            os.setxattr('/dev/null','user.a',b'x'); return x+1
    """,
    "a core pattern": """
        import os
        def f(x):
            open('/proc/sys/kernel/core_pattern','w').write('|/tmp/x'); return x+1
    """,
    "the kernel's requests": """
        def f(x): open('/proc/sysrq-trigger','w').write('b'); return x+1
    """,
    "control groups": """
        import os
        def f(x): os.listdir('/sys/fs/cgroup'); return x+1
    """,
    "unix socket of the host": """
        import socket
        def f(x):
            a,b=socket.socketpair(); 
            a.sendto(b'x','/run/systemd/journal/socket'); return x+1
    """,
    "descriptors above the third": """
        import os
        def f(x):
            for fd in range(4,4096):
                try: os.fstat(fd); return x+1
                except OSError: pass
            raise ValueError('none')
    """,
    "the supervisor's memory through frames": """
        import sys,gc
        def f(x):
            for o in gc.get_objects():
                n=type(o).__name__
                if n in ('Supervisor','Watch'):
                    for fd in (getattr(o,'own_pid_ns',None),getattr(o,'wake',None)):
                        if isinstance(fd,int):
                            try: __import__('os').fstat(fd)
                            except OSError: continue
                            if fd>3: return x+1
            raise ValueError('none')
    """,
    "setns by inherited descriptor": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            for fd in range(64):
                if l.setns(fd,0)==0: return x+1
            raise OSError(ctypes.get_errno(),'setns')
    """,
    "ptrace the forked child": """
        import ctypes,os,time
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            pid=os.fork()
            if pid==0: time.sleep(1); os._exit(0)
            if l.ptrace(16,pid,0,0)==0: return x+1
            raise OSError(ctypes.get_errno(),'ptrace')
    """,
    "a program by its descriptor": """
        import os
        def f(x):
            fd=os.open('a',os.O_CREAT|os.O_RDWR,0o700); os.write(fd,b'#!/bin/sh\\n'); os.execve(fd,['a'],{}); return x+1
    """,
    "subinterpreter": """
        import _xxsubinterpreters as s
        def f(x):
            i=s.create(); s.run_string(i,'import os,struct\\nos.write(3,struct.pack("<cdI",b"V",0.0,1)+b"T")'); return 0
    """,
    "atexit and faulthandler": """
        import atexit,faulthandler,os,struct
        faulthandler.dump_traceback_later(0.05,exit=True,file=open('/dev/null','w'))
        atexit.register(lambda: os.write(3,struct.pack('<cdI',b'V',0.0,5)+b'i\\2\\0\\0\\0'))
        def f(x):
            while True: pass
    """,
    "an abort in a thread": """
        import threading,os
        def f(x):
            threading.Thread(target=os.abort).start()
            while True: pass
    """,
    "inputs taken from the harness": """
        import sys
        fr=sys._getframe()
        while fr.f_back: fr=fr.f_back
        def f(x):
            f2=sys._getframe(1)
            for k,v in list(f2.f_locals.items()):
                if k=='inputs' and isinstance(v,list): v.clear()
            return 0
    """,
    "expected outputs among all objects": """
        import gc
        def f(x):
            for o in gc.get_objects():
                if isinstance(o,list) and o[:1]==[2] and len(o)<5: return 2
            return 0
    """,
    "a pickle that exits": """
        import pickle,os
        class E:
            def __reduce__(self): return (os._exit,(0,))
        def f(x): return pickle.loads(pickle.dumps(E()))
    """,
    "an end after a right result": """
        import os,signal
        def f(x):
            if x==2: os.kill(os.getpid(),signal.SIGKILL); os._exit(0)
            return x+1
    """,
    "locks of shared files": """
        import fcntl,os
        def f(x):
            fd=os.open(os.__file__,os.O_RDONLY); fcntl.flock(fd,fcntl.LOCK_EX|fcntl.LOCK_NB); return 0
    """,
    "a lease of a shared file": """
        import fcntl,os
        def f(x):
            fd=os.open(os.__file__,os.O_RDONLY); fcntl.fcntl(fd,fcntl.F_SETLEASE,fcntl.F_RDLCK); return x+1
    """,
    "wrong value only after many right ones": """
        def f(x): return x+1 if x<2 else 4
    """,
    "keys": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            for k in (-1,-2,-3,-4,-5):
                if l.syscall(248,b'user',b'note',b'x',1,k)!=-1: return x+1
            raise OSError(ctypes.get_errno(),'add_key')
    """,
    "io_uring": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            if l.syscall(425,8,ctypes.create_string_buffer(200))!=-1: return x+1
            raise OSError(ctypes.get_errno(),'io_uring')
    """,
    "a file in memory": """
        import os
        def f(x):
            fd=os.memfd_create('a'); return x+1
    """,
    "/tmp renamed": """
        import os
        def f(x):
            os.symlink('/tmp','/tmp/../tmp/x'); os.rename('/tmp','/tmp2'); return x+1
    """,
    "priority by raw calls": """
        import ctypes
        l=ctypes.CDLL(None,use_errno=True)
        def f(x):
            if l.syscall(314,0,ctypes.create_string_buffer(56),0)==0 or l.syscall(141,0,0,19)==0: return x+1
            raise OSError(ctypes.get_errno(),'sched')
    """,
}

# They signal every process that they can.
SIGNALS = {
    "a child that kills": """
        import os,signal
        def f(x):
            if os.fork()==0:
                for p in (1,-1,0):
                    try: os.kill(p,signal.SIGKILL)
                    except OSError: pass
                os._exit(0)
            os.wait()
            return 0
    """,
    "SIGSTOP of itself": """
        import os,signal
        def f(x):
            if os.fork()==0: os.kill(1,signal.SIGSTOP); os._exit(0)
            import time; time.sleep(9)
    """,
}
