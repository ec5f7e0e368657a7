"""Jobs that need a vLLM engine, and so a process, of their own: `python vllm_jobs.py JOB FOLDER` prints JSON."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

from kkwarm_mini import BASE


def gold_completions(tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompts and gold completions of some training questions of the miniature."""
    from kkwarm.plugins import registry

    reg = registry()
    pairs = []
    for name in ("mini_code", "mini_kk", "mini_math"):
        task = reg.task(name)
        protocol = reg.protocol(task)
        for example in list(task.load())[:3]:
            prompt, answer = protocol.render(example.question), protocol.compose(None, str(example.answer))
            pairs.append((tokenizer(prompt)["input_ids"], tokenizer(answer, add_special_tokens=False)["input_ids"]))
    return pairs


def max_difference(a: list[list[float]], b: list[list[float]]) -> float:
    return max(abs(x - y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


def train_colocated(folder: Path, **more: Any) -> tuple[Any, Any]:
    """RLVR with a colocated engine: the run, and trl's object that holds the engine."""
    import torch
    import trl.generation.vllm_generation as generation
    import vllm.model_executor.layers.utils as layers

    from kkwarm.train import RlvrConfig, rlvr

    def plain_linear(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    # The CPU engine packs weights into its own layout when it loads them; a sync afterwards would miss the copy.
    layers.dispatch_cpu_unquantized_gemm = plain_linear
    generation.LLM = functools.partial(generation.LLM, dtype="float32", enforce_eager=True)
    engines: list[Any] = []
    original = generation.VLLMGeneration._init_vllm

    def recorded(self: Any) -> None:
        original(self)
        engines.append(self)

    generation.VLLMGeneration._init_vllm = recorded
    config = RlvrConfig(
        domain="mini_code",
        examples=8,
        steps=2,
        prompts_per_step=4,
        generations=4,
        learning_rate=1e-3,
        precision="fp32",
        vllm="colocate",
        keep_rollouts=True,
        **more,
    )
    run = rlvr(BASE, config, folder / "run", progress=False)
    (engine,) = engines
    return run, engine


def colocate(folder: Path) -> dict[str, Any]:
    """Log-probabilities of the trained weights by the colocated engine and by transformers."""
    from kkwarm.backends.hf import HFBackend
    from kkwarm.backends.vllm import VllmBackend

    run, engine = train_colocated(folder)
    engine.sync_weights()
    after = HFBackend.load(str(run.path), device="cpu")
    texts = gold_completions(after.tokenizer)
    by_vllm = VllmBackend("", "", after.tokenizer, engine.llm).logprobs(texts)
    rows = [json.loads(line) for line in (run.path / "rollouts.jsonl").read_text("utf-8").splitlines()]
    return {
        "results": run.manifest.results,
        "rollouts": len(rows),
        "stopped_at": sorted({row["completion"][-9:] for row in rows if row["finish"] == "stop"}),
        "from_trained": max_difference(by_vllm, after.logprobs(texts)),
        "from_base": max_difference(by_vllm, HFBackend.load(str(BASE), device="cpu").logprobs(texts)),
    }


def in_training_eval(folder: Path) -> dict[str, Any]:
    """The same run with in-training evaluation: its completions in the first and the last evaluation."""
    from kkwarm.backends.vllm import VllmBackend

    completions: list[dict[str, list[Any]]] = []
    generate = VllmBackend.generate

    def recorded(self: Any, requests: Any, sampling: Any) -> Any:
        completions.append({})
        for request, index, completion in generate(self, requests, sampling):
            completions[-1][request.key] = [completion.text, completion.finish_reason, completion.n_tokens]
            yield request, index, completion

    VllmBackend.generate = recorded  # type: ignore[method-assign]
    run, _ = train_colocated(folder, eval_on=("mini_math", "mini_kk"), eval_every=1, eval_questions=6)
    rows = [json.loads(line) for line in (run.path / "evals.jsonl").read_text("utf-8").splitlines()]
    return {"evals": rows, "results": run.manifest.results, "first": completions[:2], "last": completions[-2:]}


def lora(folder: Path) -> dict[str, Any]:
    """Greedy completions of a LoRA adapter: in vLLM as an adapter, in transformers merged."""
    import torch
    from peft import LoraConfig, get_peft_model

    from kkwarm.backends import Request, open_backend
    from kkwarm.backends.checkpoint import load_model
    from kkwarm.plugins import registry
    from kkwarm.types import Sampling

    torch.manual_seed(0)
    config = LoraConfig(
        r=8, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(load_model(BASE, device="cpu"), config).save_pretrained(folder)
    adapter_config = folder / "adapter_config.json"
    adapter_config.write_text(
        json.dumps(json.loads(adapter_config.read_text()) | {"base_model_name_or_path": str(BASE)})
    )
    benchmark = registry().benchmark("mini_code")
    protocol = registry().protocol(benchmark)
    requests = [Request(e.id, protocol.render(e.question), (0,), protocol.stop) for e in list(benchmark.load())[:6]]

    def greedy(backend: Any) -> dict[str, str]:
        return {r.key: c.text for r, _, c in backend.generate(requests, Sampling(0.0, 1.0, 32))}

    return {
        "adapter": greedy(open_backend("vllm", str(folder), enforce_eager=True)),
        "merged": greedy(open_backend("hf", str(folder), device="cpu")),
        "base": greedy(open_backend("hf", str(BASE), device="cpu")),
    }


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(
            {"colocate": colocate, "lora": lora, "in_training_eval": in_training_eval}[sys.argv[1]](Path(sys.argv[2]))
        )
        + "\n"
    )
