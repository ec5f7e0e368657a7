"""The software and hardware that a run uses, for its manifest."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.redaction import redact_command

_PACKAGES = ("kkwarm", "torch", "transformers", "trl", "lm-eval", "evalplus", "math-verify", "vllm")


def environment() -> dict[str, Any]:
    """Versions, processor, sandbox, command line without secrets, and GPUs where torch is already imported."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    info: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
        "sandbox": _sandbox(),
        "command": redact_command([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        info["gpu"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return info


def _sandbox() -> dict[str, Any]:
    """The isolation level of model-written code, and whether the user allows code at the weakest level."""
    from kkwarm.verify.sandbox import (
        Level,
        landlock_unavailable,
        seccomp_unavailable,
        strongest_level,
        unsandboxed_allowed,
    )

    try:
        name = strongest_level().value
    except KkwarmError:
        name = "none"
    info = {"level": name, "seccomp": not seccomp_unavailable(), "unsandboxed_code_allowed": unsandboxed_allowed()}
    return info | ({"landlock": not landlock_unavailable()} if name == Level.PROCESS else {})


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
