"""A full disk, a read-only folder, two processes on one run: one clear line each, and nothing lost.

    python tests/kills/hinder.py --out benchmarks/results/hindrances.json
    python tests/kills/hinder.py --only bench --sizes 2

Each work (kill_work.py) is done on disks too small for it, of sizes up to what it needs: it must end with one line and
exit code 2. Then the disk is made larger, and the same call must end with what a run without hindrance leaves. Disks
are tmpfs, mounted in a user namespace of its own (`unshare`).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kill_fork
import kill_work

PATIENCE = 900.0
ROOM = 512 << 20
INSIDE = "KKWARM_TEST_NAMESPACE"


class Disk:
    """A tmpfs of `size` bytes at `folder`."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)

    def again(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


class Hindrances:
    def __init__(self, folder: Path) -> None:
        self.folder, self.given = folder, folder / "given"
        self.given.mkdir()
        assert self._done(lambda: kill_work.prepare(self.given)) == (0, "")

    def work(self, name: str, sizes: int) -> dict[str, Any]:
        """All hindrances of one command; `problems` is empty where it stands them all."""
        problems: list[str] = []
        whole = self._whole(name, problems)
        if problems:
            return {"problems": problems}
        wanted = kill_work.product(whole)
        size = sum(f.stat().st_size for f in whole.rglob("*") if f.is_file())
        full = [self._full(name, size * (k + 1) // (sizes + 1) // 4096 * 4096, wanted, problems) for k in range(sizes)]
        self._read_only(name, problems)
        shutil.rmtree(whole.parent)
        return {"needs_bytes": size, "full_disks": full, "problems": problems}

    def _whole(self, name: str, problems: list[str]) -> Path:
        """A run without hindrance, but for a second process that tries the same folder while it goes on."""
        out = self.folder / name / "whole"
        out.parent.mkdir()
        first = self._start(name, out, log := self.folder / "first.log")
        until = time.monotonic() + PATIENCE
        while not (out / "manifest.json").exists() and time.monotonic() < until:
            time.sleep(0.01)
        os.killpg(first, signal.SIGSTOP)  # so that it cannot end before the other has tried
        code, text = self._done(lambda: kill_work.WORKS[name](self.given, out))
        os.killpg(first, signal.SIGCONT)
        if code != 2 or "is being written by another process" not in text or text.count("\n") != 1:
            problems.append(f"a second process ended with {code}: {text[-500:]}")
        if kill_fork.ended(first, PATIENCE) != 0:
            problems.append(f"the first of two processes: {log.read_text()[-500:]}")
        return out

    def _full(self, name: str, size: int, wanted: dict[str, Any], problems: list[str]) -> dict[str, Any]:
        size = max(size, 8192)
        disk = Disk(self.folder / "disk", size)
        out = disk.folder / "run"
        try:
            code, text = self._done(lambda: self._guarded(name, out))
            stored = kill_work.progress(out)
            message = text.strip()
            if code not in (0, 2) or (code == 2 and not _is_one_line_of_space(message)):
                problems.append(f"{name} on {size} bytes ended with {code}: {message[-800:]}")
            disk.again(f"size={ROOM}")
            kept = kill_work.progress(out)
            again, text = self._done(lambda: self._guarded(name, out))
            if again:
                problems.append(f"{name} on {size} bytes, then {ROOM}: {text[-800:]}")
            elif (found := kill_work.product(out)) != wanted:
                differs = [k for k in {*wanted, *found} if wanted.get(k) != found.get(k)]
                problems.append(f"{name} on {size} bytes, then {ROOM}: {differs} differ")
            return {"bytes": size, "ended_with": code, "message": message, "stored": stored, "kept": kept}
        finally:
            disk.close()

    def _read_only(self, name: str, problems: list[str]) -> None:
        disk = Disk(self.folder / "disk", ROOM)
        try:
            disk.again("ro")
            code, text = self._done(lambda: self._guarded(name, disk.folder / "run"))
            if code != 2 or "Read-only file system" not in text or text.count("\n") != 1:
                problems.append(f"{name} in a read-only folder ended with {code}: {text[-500:]}")
        finally:
            disk.close()

    def _guarded(self, name: str, out: Path) -> None:
        from kkwarm.study import local

        local.spawn = kill_fork.ForkedWorker  # type: ignore[assignment]
        kill_work.WORKS[name](self.given, out)

    def _start(self, name: str, out: Path, log: Path) -> int:
        log.unlink(missing_ok=True)
        return kill_fork.fork(lambda: self._guarded(name, out), log)

    def _done(self, work: Any) -> tuple[int | None, str]:
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        pid = kill_fork.fork(work, log)
        code = kill_fork.ended(pid, PATIENCE)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            kill_fork.ended(pid)
        return code, log.read_text()


def _is_one_line_of_space(message: str) -> bool:
    """The last line says where space is lacking; before it only warnings may stand."""
    lines = message.splitlines()
    return all(line.startswith("kkwarm: ") for line in lines) and "cannot be written" in lines[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=8, help="disks too small, for each command")
    parser.add_argument("--only", default=",".join(kill_work.WORKS), help="commands, separated by commas")
    parser.add_argument("--out", type=Path, help="JSON of the outcome")
    args = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ |= {INSIDE: "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv])
    kill_fork.adopt()
    kill_work.preload()
    folder = Path(tempfile.mkdtemp(prefix="hinder-"))
    hindrances = Hindrances(folder)
    outcome = {}
    for name in args.only.split(","):
        outcome[name] = hindrances.work(name, args.sizes)
        found = outcome[name]["problems"]
        sys.stdout.write(f"{name}: {found or 'fine'}\n")
        sys.stdout.flush()
        if args.out:
            args.out.write_text(json.dumps(_document(args, outcome), indent=1) + "\n")
    shutil.rmtree(folder)
    return int(any(found["problems"] for found in outcome.values()))


def _document(args: argparse.Namespace, outcome: dict[str, Any]) -> dict[str, Any]:
    from kkwarm.store import environment

    where = environment()
    del where["command"]
    return {
        "what": "disks too small for a run, a read-only folder, two processes on one run",
        "command": f"python tests/kills/hinder.py --sizes {args.sizes}",
        "environment": where,
        "commands": outcome,
    }


if __name__ == "__main__":
    sys.exit(main())
