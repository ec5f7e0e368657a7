"""Finds lm-eval's tasks by name, in its own folder and in the user's, without importing lm-eval.

lm-eval's own index reads its 14,000 files as YAML, which takes 8 CPU-seconds. Here only the lines that name tasks,
groups and tags are read, and lm-eval is asked about names that were not found in them.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kkwarm.errors import KkwarmError, shorten

LM_EVAL_PREFIX = "lm_eval:"  # names of lm-eval's own tasks begin with it
TASK_FOLDERS = "KKWARM_LM_EVAL_TASKS"  # further task folders, as lm-eval's --include_path; separated as in PATH
_KEY = re.compile(rb"""^["']?(task|group|tag|class)["']?[ \t]*:[ \t]*(.*?)[ \t]*(?:[ \t]#.*)?\r?$""", re.MULTILINE)
_LISTED = re.compile(rb"""[ \t]*-[ \t]+["']?([^"'\s#]+)["']?[^\n]*\n?""")
_IGNORED = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """What lm-eval knows by a name.

    :param path: the file of a single task; None for groups and tags.
    :param local: only the user's folders know the name.
    """

    name: str
    kind: Literal["task", "group", "tag"]
    path: Path | None = None
    local: bool = False


def task_folders() -> list[Path]:
    """The user's task folders, from the environment variable ``KKWARM_LM_EVAL_TASKS``."""
    folders = [Path(part).expanduser() for part in os.environ.get(TASK_FOLDERS, "").split(os.pathsep) if part]
    for folder in folders:
        if not folder.is_dir():
            raise KkwarmError(f"{TASK_FOLDERS}: {folder} is not a folder", hint="name folders of lm-eval task files")
    return folders


def find_lm_eval_task(name: str) -> TaskEntry:
    """The task, group or tag that ``lm_eval:NAME`` means. NAME may be the path of a task file."""
    task = name.removeprefix(LM_EVAL_PREFIX)
    if task.endswith((".yaml", ".yml")):
        path = Path(task).expanduser()
        if not path.is_file():
            raise KkwarmError(f"{name}: there is no file {path}", hint=f"or set {TASK_FOLDERS} and use the task's name")
        return TaskEntry(task, "task", path)
    for folder in reversed(task_folders()):  # as in lm-eval, later folders replace earlier ones
        if (entry := _scan(folder).get(task)) is not None:
            return replace(entry, local=task not in _own_names())
    if task in _own_names():
        return _own_names()[task]
    # Names that come from an included file are in lm-eval's own index only.
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=[str(folder) for folder in task_folders()])
    if task in manager.all_groups:
        return TaskEntry(task, "group")
    if task in manager.all_tags:
        return TaskEntry(task, "tag")
    if task in manager.all_tasks:
        return TaskEntry(task, "task", manager.task_index[task].yaml_path)
    similar = difflib.get_close_matches(task, manager.all_tasks, n=3, cutoff=0.6)
    near = " or ".join(LM_EVAL_PREFIX + s for s in similar)
    hint = f"did you mean {near}?" if near else "`lm_eval ls tasks` lists the names"
    raise KkwarmError(f"unknown lm-eval task {shorten(task)}", hint=hint)


def is_lm_eval_name(name: str) -> bool:
    """Whether the user's folders or lm-eval's own files name such a task, group or tag."""
    return any(name in _scan(folder) for folder in task_folders()) or name in _own_names()


def _own_folder() -> Path:
    """lm-eval's folder of tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise KkwarmError("lm-eval is not installed", hint="pip install 'lm-eval>=0.4.13,<0.5'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


@functools.cache
def _own_names() -> dict[str, TaskEntry]:
    return _scan(_own_folder())


def _scan(folder: Path) -> dict[str, TaskEntry]:
    """The names in a folder's files. Where two files name the same task, the first in order of paths counts."""
    entries: dict[str, TaskEntry] = {}
    for path in sorted(_yaml_files(folder)):
        for entry in _read_names(path):
            entries.setdefault(entry.name, entry)
    return entries


def _yaml_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _IGNORED]
        yield from (Path(parent, name) for name in files if name.endswith(".yaml"))


def _read_names(path: Path) -> Iterator[TaskEntry]:
    """The task or group of a file, and its tags."""
    content = path.read_bytes()
    keys = {match[1].decode(): match for match in reversed(list(_KEY.finditer(content)))}
    if (group := keys.get("group")) is not None:
        yield from (TaskEntry(name, "group") for name in _values(group))
        return
    if (task := keys.get("task")) is not None:
        yield from (TaskEntry(name, "task", path) for name in _values(task)[:1])
        if (tag := keys.get("tag")) is not None:
            yield from (TaskEntry(name, "tag") for name in _values(tag))


def _values(match: re.Match[bytes]) -> list[str]:
    """The names after a key: one, a list in brackets, or a list of lines."""
    value = match[2]
    if value:
        parts = value.strip(b"[]").split(b",") if value.startswith(b"[") else [value]
        names = [part.strip().strip(b"\"'") for part in parts]
    else:
        names, at = [], match.end() + 1
        while (line := _LISTED.match(match.string, at)) is not None:
            names.append(line[1])
            at = line.end()
    return [name.decode("utf-8", "replace") for name in names if name]
