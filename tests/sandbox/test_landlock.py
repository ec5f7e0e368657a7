"""What a candidate may not do in a limited process alone, where the kernel has Landlock."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kkwarm.verify.sandbox import End, Level, Sandbox, landlock_unavailable, probe_levels
from kkwarm.verify.sandbox.inside import landlock

from .conftest import job

needed = pytest.mark.skipif(bool(landlock_unavailable()), reason=f"no Landlock: {landlock_unavailable()}")


@pytest.fixture(scope="module")
def weakest() -> Iterator[Sandbox]:
    if problem := probe_levels()[Level.PROCESS]:
        pytest.skip(problem)
    with Sandbox(1, level=Level.PROCESS, trusted=True) as sandbox:
        yield sandbox


@needed
@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("read", "return open({secret!r}).read()"),
        ("list", "return os.listdir({folder!r})"),
        ("write", "open({folder!r} + '/left', 'w')"),
        ("remove", "os.remove({secret!r})"),
        ("link", "os.symlink({secret!r}, 'here'); return open('here').read()"),
        ("shared memory", "open('/dev/shm/kkwarm-left', 'w')"),
        ("another's memory", "open('/proc/' + str(os.getppid()) + '/mem', 'rb')"),
        ("another's environment", "open('/proc/' + str(os.getppid()) + '/environ', 'rb')"),
        ("programs", "os.execv('/bin/sh', ['sh', '-c', 'true'])"),
    ],
)
def test_files_of_the_user_are_refused(weakest: Sandbox, tmp_path: Path, what: str, body: str) -> None:
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret"
    secret.write_text("2")
    source = f"import os\ndef f(x): {body.format(secret=str(secret), folder=str(tmp_path))}"
    (outcome,) = weakest.run_many([job(source, [[1]], [2])])
    assert outcome.end is End.RAISED and "PermissionError" in outcome.detail, outcome
    assert sorted(tmp_path.iterdir()) == [secret]


@needed
@pytest.mark.skipif(
    not landlock_unavailable() and landlock._version() < 6, reason="Landlock has no signals before version 6"
)
@pytest.mark.parametrize("which", ["its supervisor", "this process"])
def test_no_other_process_is_signalled(weakest: Sandbox, which: str) -> None:
    target = "os.getppid()" if which == "its supervisor" else str(os.getpid())
    if landlock._version() < 6:
        pytest.skip("Landlock knows signals since version 6")
    (outcome,) = weakest.run_many([job(f"import os\ndef f(x): os.kill({target}, 0)", [[1]], [2])])
    assert outcome.end is End.RAISED and "PermissionError" in outcome.detail, outcome


@needed
def test_ordinary_code_still_works(weakest: Sandbox) -> None:
    source = """
import asyncio, csv, datetime, hashlib, numpy, random, sqlite3, tempfile, uuid
random.SystemRandom().random()
datetime.datetime.now().astimezone()
def f(x):
    with tempfile.TemporaryFile() as file, open("own", "w") as other, open("/dev/null", "w") as null:
        file.write(b"x")
    return int(numpy.eye(2)[0, 0]) + x
"""
    (outcome,) = weakest.run_many([job(source, [[1]], [2])])
    assert outcome.end is End.PASSED, outcome


def test_hidden_folders_are_not_opened(tmp_path: Path) -> None:
    for name in ("lib/a.py", "lib/site-packages/answers.py", "lib/b/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lib = tmp_path / "lib"
    opened = dict(landlock._readable_paths(lib, {lib / "site-packages"}))
    assert opened == {lib: landlock.READ_DIR, lib / "a.py": landlock.READ, lib / "b": landlock.READ}
