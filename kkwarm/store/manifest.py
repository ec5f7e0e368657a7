"""Reads the manifest of a run folder and validates it, because people edit it by hand."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kkwarm.errors import KkwarmError, shorten
from kkwarm.files import read_regular
from kkwarm.json_text import parse_json
from kkwarm.schema.manifest import SCHEMA_VERSION, Manifest, list_problems

MANIFEST = "manifest.json"
_HINT = "it was edited or damaged: restore it, or delete the run and make it again"
_OTHER_VERSION = "make the run again, in another folder or after deleting this one"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the run in a folder.

    :raises KkwarmError: the folder holds no run (similar names are suggested), or its manifest is damaged or written
        by another version of kkwarm. All problems of a damaged manifest are listed.
    """
    path = folder / MANIFEST
    try:
        data = parse_json(read_regular(path))
    except FileNotFoundError:
        raise _missing_run(folder) from None
    except ValueError as err:
        raise KkwarmError(f"{path} cannot be read: {err}", hint=_HINT) from None
    except KkwarmError:
        if folder.is_file():
            raise _missing_run(folder) from None
        raise
    if not isinstance(data, dict) or "kind" not in data:
        raise KkwarmError(f"{path} is not the manifest of a run", hint=_HINT)
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        found = "no schema version" if version is None else f"schema version {shorten(version)}"
        raise KkwarmError(
            f"{path} has {found}; this version of kkwarm reads version {SCHEMA_VERSION}", hint=_OTHER_VERSION
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as err:
        from kkwarm import __version__  # read from the package's metadata, so not above

        problems, writer = "; ".join(list_problems(err)), _written_by(data)
        if writer and writer != __version__:
            text = f"{path} was written by kkwarm {writer}; kkwarm {__version__} cannot read it: {problems}"
            raise KkwarmError(text, hint=_OTHER_VERSION) from None
        raise KkwarmError(f"{path}: {problems}", hint=_HINT) from None


def _written_by(data: dict[str, Any]) -> str:
    """The version of kkwarm that a manifest records; empty where it records none."""
    value: Any = data
    for key in ("environment", "versions", "kkwarm"):
        value = value.get(key) if isinstance(value, dict) else None
    return shorten(value).strip("'\"") if isinstance(value, str) else ""


def _missing_run(folder: Path) -> KkwarmError:
    if folder.is_file():
        return KkwarmError(f"{folder} is a file, not a run folder", hint=f"name the folder that holds {MANIFEST}")
    if folder.is_dir():
        runs = sorted(p.parent for p in folder.glob(f"*/{MANIFEST}"))
        hint = f"it holds runs, such as {runs[0]}: name those" if runs else ""
        return KkwarmError(f"{folder} is no run folder ({MANIFEST} is missing)", hint=hint)
    siblings = sorted(p.parent.name for p in folder.parent.glob(f"*/{MANIFEST}"))
    matches = difflib.get_close_matches(folder.name, siblings, n=3)
    hint = f"did you mean {' or '.join(str(folder.with_name(n)) for n in matches)}?" if matches else ""
    return KkwarmError(f"there is no run {folder}", hint=hint)
