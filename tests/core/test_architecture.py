"""Rules for imports: which modules may import which others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "kkwarm").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
PUBLIC = (
    "types",
    "plugins",
    "hookspecs",
    "protocols",
    "data",
    "verify",
    "sandbox",
    "errors",
    "testing",
    "schema",
    "analysis",
    "cli",
    "files",
)
HEAVY = {
    "torch",
    "transformers",
    "lm_eval",
    "trl",
    "datasets",
    "evalplus",
    "vllm",
    "sympy",
    "math_verify",
    "accelerate",
    "ray",
}


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    names: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_imports_no_plugin(path: Path) -> None:
    assert not [m for m in imports(path) if m.startswith("kkwarm_")]


@pytest.mark.parametrize("path", PLUGINS, ids=named)
def test_plugins_import_public_names_only(path: Path) -> None:
    modules = [m.split(".") for m in imports(path) if m.split(".")[0] == "kkwarm"]
    assert not [".".join(m) for m in modules if m[1] not in PUBLIC or any(p.startswith("_") for p in m)]


@pytest.mark.parametrize("path", [p for p in CORE if p.is_relative_to(ROOT / "kkwarm" / "verify")], ids=named)
def test_verify_does_not_import_the_store(path: Path) -> None:
    assert not [m for m in imports(path) if m == "kkwarm.store" or m.startswith("kkwarm.store.")]


@pytest.mark.parametrize(("library", "folder"), [("trl", "train"), ("lm_eval", "evaluation"), ("ray", "study")])
def test_each_large_library_has_one_importer(library: str, folder: str) -> None:
    users = {named(p) for p in CORE if any(m.split(".")[0] == library for m in imports(p))}
    assert all(u.startswith(f"kkwarm/{folder}/") for u in users), users


# Modules with subclasses of a heavy library's classes. Only functions that need them import these modules.
SUBCLASSING = {
    "backends/decode.py",
    "backends/kv_cache.py",
    "evaluation/likelihood.py",
    "evaluation/lm.py",
    "train/callback.py",
    "train/grpo_trainer.py",
}


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=named)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    if path.relative_to(ROOT / path.relative_to(ROOT).parts[0]).as_posix() not in SUBCLASSING:
        assert not {m.split(".")[0] for m in imports(path, top_only=True)} & HEAVY


@pytest.mark.parametrize(
    "args", [["--help"], ["plugins"], ["bench", "--help"], ["rlvr", "--help"], ["report", "--help"]]
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys\nfrom kkwarm.cli import main\n"
        f"try: main({args!r})\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
