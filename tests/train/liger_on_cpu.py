"""Trains two steps with Liger's kernels or without, and prints the losses. Arguments: model, traces, out, liger|plain.

Triton's interpreter (TRITON_INTERPRET=1) runs kernels on a CPU, but passes floats unchanged, where a kernel on a
GPU is given scalars with a type, and lacks CUDA's own functions. Both are patched here.
"""

import json
import sys
from pathlib import Path
from typing import Any

import toy_task as toy
import triton
import triton.language as tl

from kkwarm.train import WarmupConfig, warmup


def _rsqrt(x):  # type: ignore[no-untyped-def]
    return tl.rsqrt(x)


def patch_triton() -> None:
    import liger_kernel.ops.rms_norm
    import numpy as np
    from triton.runtime import interpreter

    plain = interpreter._implicit_cvt

    def converted(arg: Any) -> Any:
        if isinstance(arg, float):
            return tl.tensor(interpreter.TensorHandle(np.array([arg], np.float32), tl.float32), tl.float32)
        return plain(arg)

    interpreter._implicit_cvt = converted
    liger_kernel.ops.rms_norm.rsqrt = triton.jit(_rsqrt)


if __name__ == "__main__":
    toy.install()
    liger = sys.argv[4] == "liger"
    if liger:
        patch_triton()
    config = WarmupConfig(learning_rate=1e-2, max_steps=2, batch_size=2, precision="fp32", threads=1, liger=liger)
    run = warmup(*map(Path, sys.argv[1:4]), config, progress=False)
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    kernels = sorted(m for m in sys.modules if m.startswith("liger_kernel.ops."))
    sys.stdout.write(json.dumps({"losses": [[r["loss"], r["grad_norm"]] for r in rows], "kernels": kernels}))
