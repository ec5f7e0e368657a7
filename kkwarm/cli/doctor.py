"""`kkwarm doctor`: what is installed, what is missing, and how to fix it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import TYPE_CHECKING, Any, Literal

import click

from kkwarm.cli.console import echo_json, err_console, json_option, out_console
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from kkwarm.backends.parity import Variant


State = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `fix` says what to do about it."""

    what: str
    state: State
    detail: str
    fix: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Do not try to reach the Hugging Face hub.")
@click.option(
    "--parity",
    metavar="CHECKPOINT",
    help="Compare the engines on this checkpoint instead of checking the installation.",
)
@click.option("--base-url", help="With --parity: URL of an OpenAI-compatible server that serves the checkpoint.")
@click.option("--served", metavar="NAME", help="With --parity: the model's name on that server.  [default: CHECKPOINT]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="With --parity: a prompt. Can be given several times.  [default: five prompts]",
)
@click.option("--device", help="With --parity: cpu or cuda.  [default: cuda if available]")
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
    """Show what is installed, what is missing, and how to fix it. Exits with 1 if something required is missing.

    With --parity, compares log-probabilities and greedy texts of a checkpoint between transformers (eager and SDPA
    attention, single and batched), vLLM if it is installed, and a server. Exits with 1 if they differ by more than
    rounding explains.
    """
    if parity is not None:
        server = (base_url, served or parity) if base_url else None
        ctx.exit(0 if _compare_variants(parity, server, prompts, device, as_json) else 1)
    if base_url or served or prompts or device:
        raise KkwarmError("--base-url, --served, --prompt and --device need --parity CHECKPOINT")
    findings = [
        Finding("python", "ok", sys.version.split()[0]),
        *_check_packages(),
        *_check_compatibility(),
        *_check_device(),
        *_check_sandbox(),
        *_check_data(offline),
        *_check_plugins(),
        *_check_disk(),
    ]
    ok = all(finding.state != "missing" for finding in findings)
    if as_json:
        echo_json({"ok": ok, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    ctx.exit(0 if ok else 1)


def _show(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[bold red]missing[/]"}
    for finding in findings:
        fix = f"\n[dim]{escape(finding.fix)}[/]" if finding.fix else ""
        table.add_row(marks[finding.state], finding.what, escape(finding.detail) + fix)
    out_console().print(table)


def _check_packages() -> Iterator[Finding]:
    """Installed versions against the ranges that kkwarm declares."""
    from packaging.requirements import Requirement

    extras = {"vllm": "fast rollouts on a GPU", "peft": "LoRA", "ray": "studies on a cluster"}
    requirements = [Requirement(r) for r in distribution("kkwarm").requires or ()]
    for requirement in requirements:
        if requirement.marker is None:
            yield _check_package(requirement)
    for requirement in requirements:
        name = requirement.name
        if name not in extras or "dev" in str(requirement.marker):
            continue
        finding = _check_package(requirement)
        if finding.detail == "not installed":
            extra = "lora" if name == "peft" else name
            yield Finding(name, "note", f"not installed ({extras[name]})", f"pip install 'kkwarm[{extra}]'")
        else:
            failure = _check_import("vllm") if name == "vllm" and finding.state == "ok" else None
            yield failure or finding


def _check_package(requirement: Requirement) -> Finding:
    fix = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, "missing", "not installed", fix)
    if not requirement.specifier.contains(installed.partition("+")[0], prereleases=True):
        return Finding(requirement.name, "missing", f"{installed}, but {requirement.specifier} is required", fix)
    return Finding(requirement.name, "ok", installed)


def _check_import(module: str) -> Finding | None:
    """The error of an installed module that cannot be imported; None if it can. Import errors may be crashes."""
    process = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    if not process.returncode:
        return None
    lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
    fix = f"fix the installation, or run pip uninstall {module}: trl imports {module} if it is installed"
    return Finding(module, "missing", f"installed, but cannot be imported: {lines[-1][:300]}", fix)


_RELATED = ("torch", "transformers", "trl", "vllm", "accelerate", "peft", "lm-eval", "triton")


def _check_compatibility() -> Iterator[Finding]:
    """Unmet requirements of these libraries on each other, including extras (trl's extra limits vLLM's version)."""
    from packaging.requirements import Requirement

    installed = {}
    for name in _RELATED:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = distribution(name)
    for name, library in installed.items():
        for text in library.requires or ():
            requirement = Requirement(text)
            other = installed.get(requirement.name)
            if other is None or not _applies(requirement):
                continue
            if not requirement.specifier.contains(other.version.partition("+")[0], prereleases=True):
                needed = f"{requirement.name} {requirement.specifier}"
                detail = f"{name} {library.version} needs {needed}, but {other.version} is installed"
                fix = f"pip install '{requirement.name}{requirement.specifier}', or another {name}"
                yield Finding(f"{name} and {requirement.name}", "missing", detail, fix)


def _applies(requirement: Requirement) -> bool:
    """Whether a requirement applies on this machine, for the library itself or its extra for a related one."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", *_RELATED))


def _check_device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as err:
        yield Finding("device", "missing", f"torch cannot be imported: {err}", "pip install --force-reinstall torch")
        return
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(i)
            yield Finding("device", "ok", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    elif shutil.which("nvidia-smi"):
        fix = f"install a CUDA build of torch {torch.__version__} that matches the driver"
        yield Finding("device", "missing", "there is a GPU, but torch cannot use it", fix)
    else:
        detail = f"CPU, {os.cpu_count()} cores: enough for the miniature; larger models need a GPU"
        yield Finding("device", "ok", detail)


def _check_sandbox() -> Iterator[Finding]:
    from kkwarm.verify.sandbox import (
        ALLOW_UNSANDBOXED,
        Level,
        landlock_unavailable,
        probe_levels,
        seccomp_unavailable,
        strongest_level,
        unsandboxed_allowed,
    )

    try:
        level = strongest_level()
    except KkwarmError as err:
        yield Finding("sandbox", "note", err.message, err.hint)
        return
    lock = f"without Landlock ({landlock_unavailable()})" if landlock_unavailable() else "with Landlock"
    causes = "; ".join(f"{lv.value}: {cause}" for lv, cause in probe_levels().items() if cause)
    if level is Level.PROCESS and unsandboxed_allowed():
        detail = f"level process only, {lock}, and model-written code is allowed ({ALLOW_UNSANDBOXED}=1)"
        yield Finding("sandbox", "note", detail, causes)
    elif level is Level.PROCESS:
        fix = f"{causes}. Install bubblewrap, allow user namespaces, or set {ALLOW_UNSANDBOXED}=1"
        yield Finding("sandbox", "note", f"level process only, {lock}: model-written code is refused", fix)
    else:
        yield Finding("sandbox", "ok", f"level {level.value}", causes)
    if cause := seccomp_unavailable():
        yield Finding("seccomp", "note", f"system calls are not filtered ({cause})", "use Linux on x86_64 or aarch64")
    else:
        yield Finding("seccomp", "ok", "system calls of model-written code are filtered")


def _check_data(offline: bool) -> Iterator[Finding]:
    from kkwarm.data import data_folder

    try:
        root = data_folder()
    except KkwarmError as err:
        yield Finding("data", "missing", err.message, err.hint)
        return
    if root is not None:
        yield Finding("data", "ok", f"KKWARM_DATA={root}")
        return
    if offline or os.environ.get("HF_HUB_OFFLINE") == "1":
        fix = "set KKWARM_DATA to a folder with the data, or go online"
        yield Finding("data", "note", "only from the hub's cache (offline)", fix)
        return
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen("https://huggingface.co", timeout=3)
    except (urllib.error.URLError, OSError) as err:
        fix = "set KKWARM_DATA to a folder with the data; the miniature needs none"
        yield Finding("data", "note", f"the Hugging Face hub cannot be reached ({getattr(err, 'reason', err)})", fix)
    else:
        yield Finding("data", "ok", "the Hugging Face hub can be reached")


def _check_plugins() -> Iterator[Finding]:
    from kkwarm.plugins import registry

    reg = registry()
    if reg.plugins:
        yield Finding("plugins", "ok", f"{len(reg.plugins)} plugins, {len(reg.domains)} domains")
    else:
        yield Finding("plugins", "missing", "no plugin is registered", "reinstall kkwarm: its entry points are missing")
    for f in reg.failures:
        detail = f"{f.plugin} ({f.distribution}): {f.cause}"
        yield Finding("plugin", "missing", detail, f"fix or uninstall {f.distribution}")


def _check_disk() -> Iterator[Finding]:
    from kkwarm.store import runs_home

    home = runs_home()
    parent = next(p for p in (home.absolute(), *home.absolute().parents) if p.exists())
    free = shutil.disk_usage(parent).free / 2**30
    detail = f"{home} ({free:.0f} GiB free)"
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        yield Finding("runs", "note", f"{home} cannot be written", "set KKWARM_HOME to a writable folder, or use --out")
    elif free <= 5:
        yield Finding("runs", "note", detail, "free some space, or set KKWARM_HOME to another disk")
    else:
        yield Finding("runs", "ok", detail)


def _compare_variants(
    checkpoint: str, server: tuple[str, str] | None, prompts: Sequence[str], device: str | None, as_json: bool
) -> bool:
    """Compares the ways of running a checkpoint and prints the result. Returns whether all that could be run agree."""
    from kkwarm.backends.parity import PROMPTS, compare_variants

    console = err_console()
    with console.status("loading") as status:
        variants, tolerance = compare_variants(
            checkpoint,
            prompts=prompts or PROMPTS,
            device=device,
            vllm=importlib.util.find_spec("vllm") is not None,
            server=server,
            on_start=status.update,
        )
    ok = all(variant.agrees is not False for variant in variants)
    if as_json:
        rows = [asdict(variant) for variant in variants]
        echo_json({"ok": ok, "checkpoint": checkpoint, "tolerance": tolerance, "variants": rows})
    else:
        _show_variants(variants, tolerance)
    return ok


def _show_variants(variants: Sequence[Variant], tolerance: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = out_console()
    table = Table(box=None, pad_edge=False, title_justify="left", title="compared with hf eager, one text at a time")
    for column in ("", "variant", "greedy texts", "max. difference of log-probabilities", "mean"):
        table.add_column(column, justify="left" if column in ("", "variant") else "right")
    marks = {True: "[green]agrees[/]", False: "[bold red]differs[/]", None: "[yellow]not run[/]"}
    for v in variants:
        texts = "" if v.agrees is None else f"{v.same_texts} of {v.texts} equal"
        table.add_row(marks[v.agrees], escape(v.name), texts, _number(v.max_error), _number(v.mean_error))
    console.print(table)
    for v in variants:
        if v.note:
            console.print(f"{v.name}: {v.note}", markup=False, soft_wrap=True)
        for d in v.divergences:
            margin = "" if d.margin is None else f" (the reference prefers its own by {d.margin:.2g})"
            text = f"{v.name}: {d.prompt[:40]!r} after {d.tokens} tokens: {d.expected!r}, here {d.actual!r}{margin}"
            console.print(text, markup=False, soft_wrap=True)
    console.print(f"tolerance {tolerance:g}: rounding does not explain a larger difference", markup=False)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.2g}"
