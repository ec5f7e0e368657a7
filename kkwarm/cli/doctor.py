"""kkwarm doctor: what is there, what is missing, and how to mend it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Literal

import click

from kkwarm.cli.console import echo_json, json_option, out_console
from kkwarm.errors import KkwarmError

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: `mend` says what to do about it."""

    what: str
    state: State
    found: str
    mend: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Do not try to reach the hub.")
@click.option("--parity", metavar="CHECKPOINT", help="Compare the ways of running a checkpoint instead.")
@click.option("--base-url", help="With --parity: an OpenAI-compatible server that serves the checkpoint, too.")
@click.option("--served", metavar="NAME", help="The model's name on that server.  [default: CHECKPOINT]")
@click.option("--prompt", "prompts", multiple=True, help="With --parity: prompts instead of five built-in ones.")
@click.option("--device", help="With --parity: cpu, cuda  [default: CUDA where there is one]")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    offline: bool,
    parity: str | None,
    base_url: str | None,
    served: str | None,
    prompts: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Show what is installed, what is missing, and how to mend it. Exits 1 if something needed is missing.

    With --parity: log-probabilities and greedy texts of transformers (eager and SDPA attention, alone and batched), of
    vLLM where it is installed, and of a server, beside each other. Exits 1 where rounding explains no difference.
    """
    if parity is not None:
        from kkwarm.cli.parity import compare

        server = (base_url, served or parity) if base_url else None
        ctx.exit(0 if compare(parity, server, prompts, device, as_json) else 1)
    if base_url or served or prompts or device:
        raise KkwarmError("--base-url, --served, --prompt and --device belong to --parity CHECKPOINT")
    lines = [*_python(), *_packages(), *_clashes(), *_device(), *_sandbox(), *_data(offline), *_plugins(), *_disk()]
    bad = any(line.state == "missing" for line in lines)
    if as_json:
        echo_json({"ok": not bad, "findings": [asdict(line) for line in lines]})
        ctx.exit(1 if bad else 0)
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[bold red]missing[/]"}
    for line in lines:
        mend = f"\n[dim]{escape(line.mend)}[/]" if line.mend else ""
        table.add_row(marks[line.state], line.what, escape(line.found) + mend)
    out_console().print(table)
    ctx.exit(1 if bad else 0)


def _python() -> Iterator[Line]:
    shown = sys.version.split()[0]
    yield Line(
        "python",
        "ok" if sys.version_info >= (3, 11) else "missing",
        shown,
        "" if sys.version_info >= (3, 11) else "3.11 or newer is needed",
    )


def _packages() -> Iterator[Line]:
    """Installed versions against the ranges that kkwarm itself declares."""
    from packaging.requirements import Requirement

    extras = {"vllm": "fast rollouts on a GPU", "peft": "LoRA", "ray": "studies on a cluster"}
    declared = [Requirement(r) for r in distribution("kkwarm").requires or ()]
    core = [r for r in declared if r.marker is None]
    for requirement in core:
        yield _package(requirement)
    for requirement in declared:
        if requirement.name in extras and "dev" not in str(requirement.marker):
            try:
                version(requirement.name)
            except PackageNotFoundError:
                extra = "lora" if requirement.name == "peft" else requirement.name
                yield Line(
                    requirement.name,
                    "note",
                    f"not installed ({extras[requirement.name]})",
                    f"pip install 'kkwarm[{extra}]'",
                )
            else:
                found = _package(requirement)
                broken = _broken("vllm") if requirement.name == "vllm" and found.state == "ok" else None
                yield broken or found


def _broken(module: str) -> Line | None:
    """What is wrong where an installed module cannot be imported: a driver or another library that does not fit it."""
    import subprocess

    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)  # may be a crash
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    mend = f"mend it, or pip uninstall {module}: trl imports it wherever it is"
    return Line(module, "missing", f"installed, and cannot be imported: {said[-1][:300]}", mend)


def _package(requirement: object) -> Line:
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Line(requirement.name, "missing", "not installed", mend)
    if not requirement.specifier.contains(found.partition("+")[0], prereleases=True):
        return Line(requirement.name, "missing", f"{found}, but {requirement.specifier} is needed", mend)
    return Line(requirement.name, "ok", found)


_TOGETHER = ("torch", "transformers", "trl", "vllm", "accelerate", "peft", "lm-eval", "triton")


def _clashes() -> Iterator[Line]:
    """What these libraries ask of each other and do not get, extras included (trl's says which vLLM it drives)."""
    from packaging.requirements import Requirement

    found = {}
    for name in _TOGETHER:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = distribution(name)
    for name, of in found.items():
        for text in of.requires or ():
            asked = Requirement(text)
            other = found.get(asked.name)
            if other is None or not _applies(asked):
                continue
            if not asked.specifier.contains(other.version.partition("+")[0], prereleases=True):
                mend = f"pip install '{asked.name}{asked.specifier}', or another {name}"
                yield Line(
                    f"{name} and {asked.name}",
                    "missing",
                    f"{name} {of.version} needs {asked.name} {asked.specifier}, and {other.version} is installed",
                    mend,
                )


def _applies(asked: object) -> bool:
    """Whether a requirement holds on this machine, for the library itself or its extra for another one of them."""
    from packaging.requirements import Requirement

    assert isinstance(asked, Requirement)
    return asked.marker is None or any(asked.marker.evaluate({"extra": e}) for e in ("", *_TOGETHER))


def _device() -> Iterator[Line]:
    try:
        import torch
    except ImportError as err:
        yield Line("device", "missing", f"torch cannot be imported: {err}", "pip install --force-reinstall torch")
        return
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            yield Line(
                "device",
                "ok",
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}",
            )
    elif shutil.which("nvidia-smi"):
        yield Line(
            "device",
            "missing",
            "a GPU is there, but torch cannot use it",
            f"torch {torch.__version__} needs a CUDA build that fits the driver",
        )
    else:
        yield Line("device", "ok", f"CPU, {os.cpu_count()} cores: enough for the miniature; larger models want a GPU")


def _sandbox() -> Iterator[Line]:
    from kkwarm.verify.sandbox import (
        ALLOW_UNSANDBOXED,
        Level,
        landlock_unavailable,
        probe_levels,
        seccomp_unavailable,
        strongest_level,
        unsandboxed_allowed,
    )

    at = strongest_level()
    lock = f"without Landlock ({landlock_unavailable()})" if landlock_unavailable() else "with Landlock"
    causes = "; ".join(f"{lv.value}: {cause}" for lv, cause in probe_levels().items() if cause)
    if at is Level.PROCESS and unsandboxed_allowed():
        yield Line(
            "sandbox",
            "note",
            f"level process only, {lock}, and model-written code is allowed ({ALLOW_UNSANDBOXED}=1)",
            causes,
        )
    elif at is Level.PROCESS:
        mend = f"{causes}. Install bubblewrap or allow user namespaces; or insist with {ALLOW_UNSANDBOXED}=1"
        yield Line("sandbox", "note", f"level process only, {lock}: model-written code is refused", mend)
    else:
        yield Line("sandbox", "ok", f"level {at.value}", causes)
    if cause := seccomp_unavailable():
        yield Line("seccomp", "note", f"no filter of system calls ({cause})", "pip install 'kkwarm[sandbox]'")
    else:
        yield Line("seccomp", "ok", "system calls of model-written code are filtered")


def _data(offline: bool) -> Iterator[Line]:
    from kkwarm.data import data_folder

    try:
        root = data_folder()
    except KkwarmError as err:
        yield Line("data", "missing", err.message, err.hint)
        return
    if root is not None:
        yield Line("data", "ok", f"KKWARM_DATA={root}")
        return
    if offline or os.environ.get("HF_HUB_OFFLINE") == "1":
        yield Line(
            "data",
            "note",
            "from the hub's cache only (offline)",
            "set KKWARM_DATA to a folder with the data, or go online",
        )
        return
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen("https://huggingface.co", timeout=3)
    except (urllib.error.URLError, OSError) as err:
        mend = "set KKWARM_DATA to a folder with the data; the miniature needs none"
        yield Line("data", "note", f"the Hugging Face hub cannot be reached ({getattr(err, 'reason', err)})", mend)
    else:
        yield Line("data", "ok", "the Hugging Face hub can be reached")


def _plugins() -> Iterator[Line]:
    from kkwarm.plugins import registry

    reg = registry()
    if reg.plugins:
        yield Line("plugins", "ok", f"{len(reg.plugins)} plugins, {len(reg.domains)} domains")
    else:
        yield Line("plugins", "missing", "no plugin is registered", "reinstall kkwarm: its entry points are missing")
    for f in reg.failures:
        yield Line(
            "plugin", "missing", f"{f.plugin} ({f.distribution}): {f.cause}", f"mend or uninstall {f.distribution}"
        )


def _disk() -> Iterator[Line]:
    from kkwarm.store import runs_home

    home = runs_home()
    there = next(p for p in (home.absolute(), *home.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    found = f"{home} ({free:.0f} GiB free)"
    if not (there.is_dir() and os.access(there, os.W_OK)):
        yield Line("runs", "note", f"{home} cannot be written", "set KKWARM_HOME to a folder that can, or give -o")
    elif free <= 5:
        yield Line("runs", "note", found, "free some space, or set KKWARM_HOME elsewhere")
    else:
        yield Line("runs", "ok", found)
