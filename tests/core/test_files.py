"""Files are written completely or not at all, and only regular files are read."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.files import append_regular, is_regular, open_regular, read_regular, write_file


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Limits the size of files that this process writes, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_is_replaced_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_file(path, ["one ", "two"])
    path.chmod(0o640)
    write_file(path, b"three")
    assert path.read_text() == "three"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_file(path, "old")
    with small_disk(1000), pytest.raises(KkwarmError, match=r"report\.html cannot be written: File too large"):
        write_file(path, ["x" * 600] * 4, hint="free space")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_an_error_while_the_content_is_made_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "new"
        raise RuntimeError

    write_file(tmp_path / "x", "old")
    with pytest.raises(RuntimeError):
        write_file(tmp_path / "x", pieces())
    assert (tmp_path / "x").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_links_are_followed_where_asked(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_file(tmp_path / "link", "new", follow=True)
    assert (tmp_path / "target").read_text() == "new" and (tmp_path / "link").is_symlink()
    write_file(tmp_path / "link", "newer")
    assert (tmp_path / "target").read_text() == "new" and not (tmp_path / "link").is_symlink()


def test_devices_are_written_to() -> None:
    write_file("/dev/null", "x")
    with pytest.raises(KkwarmError, match="/dev/full cannot be written: No space left on device"):
        write_file("/dev/full", "x")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match="Is a directory"):
        write_file(tmp_path, "x")


def make_special(path: Path, kind: str) -> None:
    """A named pipe, a socket, a folder, or a link to a device."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # addresses of sockets are short
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("kind", "name"), [("pipe", "a named pipe"), ("socket", "a socket"), ("folder", "a folder"), ("device", "a device")]
)
def test_only_regular_files_are_opened(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    make_special(path, kind)
    assert not is_regular(path)
    for use in (open_regular, read_regular):
        with pytest.raises(KkwarmError, match=f"is {name}, not a file"):
            use(path)
    with pytest.raises(KkwarmError, match="is a symbolic link" if kind == "device" else f"is {name}, not a file"):
        append_regular(path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "samples.jsonl").symlink_to("notes")
    with pytest.raises(KkwarmError, match="is a symbolic link, not a file"):
        append_regular(tmp_path / "samples.jsonl")
    assert read_regular(tmp_path / "samples.jsonl") == b"mine"  # reading is allowed
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(KkwarmError, match="is a symbolic link"):
        append_regular(tmp_path / "dangling")
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
    with pytest.raises(KkwarmError, match="cannot be read"):
        open_regular(tmp_path / ("x" * 300))


def test_standard_output_is_written_to() -> None:
    code = "from kkwarm.files import write_file; write_file('/dev/stdout', ['a', 'b'])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "ab"
