"""Kill -9 at random moments: each command is killed again and again until it ends, and must end as if it never was.

    python tests/kills/kill.py --kills 30 --out benchmarks/results/kills.json
    python tests/kills/kill.py --kills 3 --only warmup,bench --seed 7

A work runs once whole. Then, until it was killed often enough: it starts in a new folder, is killed by SIGKILL after a
random time, and starts again there, until it ends by itself. What it leaves must equal the whole run's: weights, step
log, rollouts, traces and samples to the last bit. Of a study either the main process is killed, or a worker, or all at
once. Nothing may go on running after a kill.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import kill_fork
import kill_work

PATIENCE = 600.0  # seconds that a work may take at most
AFTER = 30.0  # seconds within which everything below a killed process must have ended


@dataclass
class Campaign:
    """What happened to one command. `moments`: seconds from a start to its kill; `reached`: rows stored by then."""

    kills: int = 0
    victims: dict[str, int] = field(default_factory=dict)
    resumes: int = 0
    ended: int = 0
    equal: bool = True
    orphans: int = 0
    whole_s: float = 0.0
    moments: list[float] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Killer:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.given = folder / "given"
        self.given.mkdir()
        self._must(kill_fork.fork(lambda: kill_work.prepare(self.given), folder / "prepare.log"), "prepare")

    def campaign(self, name: str, kills: int, told: Callable[[Campaign], None]) -> Campaign:
        """Kills the work `name` so many times; `told` hears of it whenever a run has ended and was compared."""
        done = Campaign()
        began = time.monotonic()
        self._must(self._start(name, "whole"), name)
        done.whole_s = round(time.monotonic() - began, 2)
        whole = kill_work.product(self.folder / name / "whole")
        number = 0
        while done.kills < kills and not done.problems:
            number += 1
            self._until_it_ends(name, f"killed-{number}", done, kills)
            if done.problems:
                break
            done.ended += 1
            self._compare(whole, name, f"killed-{number}", done)
            done.equal = not done.problems
            told(done)
            if done.equal:
                shutil.rmtree(self.folder / name / f"killed-{number}")
        done.equal = not done.problems
        return done

    def _until_it_ends(self, name: str, run: str, done: Campaign, kills: int) -> None:
        out = self.folder / name / run
        began_before = False
        while True:
            pid = self._start(name, run)
            done.resumes += began_before
            code: int | None = None
            while code is None and done.kills < kills:
                moment = self.random.uniform(0, done.whole_s)
                code = kill_fork.ended(pid, moment)
                if code is None:
                    done.reached.append(kill_work.progress(out))
                    done.moments.append(round(moment, 3))
                    code = self._kill(name, pid, done)
            if code is None:
                code = kill_fork.ended(pid, PATIENCE)
            began_before = (out / "manifest.json").exists()
            self._wait_for_orphans(done)
            if code == 0:
                return
            log = (self.folder / name / f"{run}.log").read_text()
            # A step of a study whose worker was killed twice counts as failed; the same command resumes.
            if code != -signal.SIGKILL and not (name == "study" and "ended with code -9" in log.splitlines()[-1]):
                done.problems.append(f"{run} ended with {code}: {log.strip()[-600:]}")
                return

    def _kill(self, name: str, pid: int, done: Campaign) -> int | None:
        """Kills the run, or some process of a study; returns the exit code of the run where it ended by that."""
        workers = kill_fork.children(pid) if name == "study" else []
        victim = self.random.choice(["main", "worker", "all"]) if workers else "main"
        targets = {"main": [pid], "worker": [self.random.choice(workers or [pid])], "all": [pid, *workers]}[victim]
        for target in targets:
            os.kill(target, signal.SIGKILL)
        done.kills += 1
        done.victims[victim] = done.victims.get(victim, 0) + 1
        return None if victim == "worker" else kill_fork.ended(pid)

    def _wait_for_orphans(self, done: Campaign) -> None:
        until = time.monotonic() + AFTER
        while left := kill_fork.descendants(os.getpid()):
            if time.monotonic() > until:
                done.orphans += len(left)
                done.problems.append(f"{len(left)} processes outlived the kill")
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)
        while True:  # those that were adopted
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    return
            except ChildProcessError:
                return

    def _compare(self, whole: dict[str, Any], name: str, run: str, done: Campaign) -> None:
        try:
            ours = kill_work.product(self.folder / name / run)
        except AssertionError as err:
            done.problems.append(f"{run}: {err}")
            return
        done.problems += [f"{run}: {key} differs" for key in {*whole, *ours} if whole.get(key) != ours.get(key)]

    def _start(self, name: str, run: str) -> int:
        (self.folder / name).mkdir(exist_ok=True)
        out = self.folder / name / run

        def work() -> None:
            from kkwarm.study import local

            local.spawn = kill_fork.ForkedWorker  # type: ignore[assignment]
            kill_work.WORKS[name](self.given, out)

        return kill_fork.fork(work, self.folder / name / f"{run}.log")

    def _must(self, pid: int, what: str) -> None:
        code = kill_fork.ended(pid, PATIENCE)
        if code:
            logs = "\n".join(p.read_text()[-2000:] for p in self.folder.rglob("*.log"))
            raise SystemExit(f"{what} ended with {code}:\n{logs}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each command")
    parser.add_argument("--only", default=",".join(kill_work.WORKS), help="commands, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where runs are made; kept where something went wrong")
    parser.add_argument("--out", type=Path, help="JSON of the outcome; what others of it hold is kept")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ |= {"HF_DATASETS_OFFLINE": "1"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=args.folder))
    kill_fork.adopt()
    began = time.monotonic()
    kill_work.preload()
    sys.stderr.write(f"imported in {time.monotonic() - began:.0f} s; runs in {folder}\n")
    killer = Killer(folder, args.seed)
    outcome = json.loads(args.out.read_text())["commands"] if args.out and args.out.exists() else {}
    fine = True
    for name in args.only.split(","):
        began = time.monotonic()

        def told(now: Campaign, name: str = name, began: float = began) -> None:
            outcome[name] = asdict(now) | {"took_s": round(time.monotonic() - began, 1)}
            if args.out:
                args.out.write_text(json.dumps(_document(args, outcome), indent=1) + "\n")

        campaign = killer.campaign(name, args.kills, told)
        told(campaign)
        fine &= campaign.equal
        word = "equal" if campaign.equal else f"NOT EQUAL: {campaign.problems}"
        sys.stdout.write(f"{name}: {campaign.kills} kills, {campaign.resumes} resumes, {campaign.ended} ends, {word}\n")
        sys.stdout.flush()
    if fine:
        shutil.rmtree(folder)
    return 0 if fine else 1


def _document(args: argparse.Namespace, outcome: dict[str, Any]) -> dict[str, Any]:
    from kkwarm.store import environment

    command = f"python tests/kills/kill.py --kills {args.kills} --seed {args.seed}"
    total = {key: sum(c[key] for c in outcome.values()) for key in ("kills", "resumes", "ended", "orphans")}
    where = environment()
    del where["command"]
    return {
        "what": "kill -9 at random moments: what a run leaves in the end, against an uninterrupted run's",
        "command": command,
        "environment": where,
        "total": total | {"equal": all(c["equal"] for c in outcome.values())},
        "commands": outcome,
    }


if __name__ == "__main__":
    sys.exit(main())
