"""``manifest.json`` of a run folder: read with its shape checked, because people edit it by hand."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal, get_args

from kkwarm.errors import KkwarmError

__all__ = ["MANIFEST", "Kind", "read_manifest"]

MANIFEST = "manifest.json"
Kind = Literal["bench", "score", "distill", "warmup", "rlvr", "study", "import"]
# What code takes for granted of a field that is there. No field but the kind must be.
_TABLES = (
    *("config", "inputs", "environment", "labels", "products", "provenance", "results", "verifiers", "plan", "stopped"),
    *("config.formats", "results.benchmarks", "plan.rows"),
)
_LISTS = ("contamination", "warnings", "notes", "alarms", "config.benchmarks", "plan.steps", "plan.conditions")
_TEXTS = ("state", "created", "config_hash")
_SHAPE: dict[str, tuple[type, str]] = {
    **dict.fromkeys(_TABLES, (dict, "a table")),
    **dict.fromkeys(_LISTS, (list, "a list")),
    **dict.fromkeys(_TEXTS, (str, "text")),
}
_MEND = "it was edited or damaged: restore it, or remove the run and make it again"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the run in a folder.

    :raises KkwarmError: the folder holds no run (near names are offered), or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(folder) from None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror}") from None
    except RecursionError:
        raise KkwarmError(f"{path} is nested too deeply", hint=_MEND) from None
    except ValueError as err:
        raise KkwarmError(f"{path} cannot be read: {err}", hint=_MEND) from None
    if not isinstance(manifest, dict) or "kind" not in manifest:
        raise KkwarmError(f"{path} is no manifest of a run", hint=_MEND)
    if manifest["kind"] not in get_args(Kind):
        raise KkwarmError(f"{path}: kind is {manifest['kind']!r}, not one of {', '.join(get_args(Kind))}", hint=_MEND)
    for field, (wanted, named) in _SHAPE.items():
        value = _at(manifest, field)
        if value is not None and not isinstance(value, wanted):
            raise KkwarmError(f"{path}: {field} is no longer {named}", hint=_MEND)
    for name, figures in (_at(manifest, "results.benchmarks") or {}).items():
        if not isinstance(figures, dict):
            raise KkwarmError(f"{path}: results.benchmarks.{name} is no longer a table", hint=_MEND)
    return manifest


def _at(manifest: dict[str, Any], field: str) -> Any:
    table, _, key = field.partition(".")
    return manifest.get(table) if not key else (manifest.get(table) or {}).get(key)


def _no_run(folder: Path) -> KkwarmError:
    if folder.is_file():
        return KkwarmError(f"{folder} is a file, not a run folder", hint=f"name the folder that holds {MANIFEST}")
    if folder.is_dir():
        inside = sorted(p.parent for p in folder.glob(f"*/{MANIFEST}"))
        hint = f"it holds runs, such as {inside[0]}: name those" if inside else ""
        return KkwarmError(f"{folder} is no run folder ({MANIFEST} is missing)", hint=hint)
    beside = sorted(p.parent.name for p in folder.parent.glob(f"*/{MANIFEST}"))
    near = difflib.get_close_matches(folder.name, beside, n=3)
    hint = f"did you mean {' or '.join(str(folder.with_name(n)) for n in near)}?" if near else ""
    return KkwarmError(f"there is no run {folder}", hint=hint)
