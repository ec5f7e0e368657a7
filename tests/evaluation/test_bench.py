"""`bench`: figures, resuming, limits, forcing, hooks, and lm-eval's agreement."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from toy_benchmark import N, Toy, examples

from kkwarm import plugins
from kkwarm.analysis.metrics import advise_on_unusable
from kkwarm.backends.base import Request
from kkwarm.backends.hf import HFBackend
from kkwarm.backends.replay import ReplayBackend
from kkwarm.errors import KkwarmError
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.evaluation.plan import limit_examples
from kkwarm.store import Run
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.types import Completion, Sample, Sampling

GOLD = {f"toy/{e.id}": e.answer for e in examples()}
SCRIPT = Path(__file__).parent / "toy_benchmark.py"


def scripted(request: Request, index: int) -> Completion:
    """Right for sample 0; wrong, unparsed, broken and cut off for the next ones."""
    gold = GOLD[request.key.replace("+forced", "")]
    texts = [
        f" easy </think> <answer> {gold} </answer>",
        f" </think> <answer> {gold + 1} </answer>",
        " hm </think> <answer> many </answer>",
        " no tags",
    ]
    if index == 4:
        return Completion(" I go on and", 4, "length")
    return Completion(texts[index % 4], 5 + index, "stop")


class ChatTokenizer:
    """Renders a chat as plain lines."""

    chat_template = "plain"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> str:
        return "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\nassistant: "


def stored(run: Run) -> dict[tuple[str, str, int], Sample]:
    found = [((s.benchmark, s.id, s.index), s) for s in Run.read(run.path).samples()]
    assert len(dict(found)) == len(found), "a sample is stored twice"
    return dict(found)


def test_figures(toy: Toy, tmp_path: Path) -> None:
    run = bench(
        "m",
        ["toy"],
        tmp_path / "r",
        BenchConfig(samples=5),
        labels={"condition": "base"},
        backend=ReplayBackend(scripted),
    )
    assert run.done
    results = json.loads((tmp_path / "r" / "manifest.json").read_text())["results"]
    figures = results["benchmarks"]["toy"]
    assert (figures["n"], figures["samples"]) == (N, 5 * N)
    assert figures["accuracy"] == pytest.approx(0.2) == figures["pass@1"]
    assert figures["stderr"] == pytest.approx(0)
    assert figures["pass@5"] == 1
    statuses = ("correct", "wrong", "unparsed", "malformed", "truncated")
    assert figures["status"] == dict.fromkeys(statuses, N)
    assert figures["metrics"]["near"] == pytest.approx(0.4)
    assert [set(v) for v in figures["by"].values()] == [{"even", "odd"}]
    assert figures["reasoning_rate"] == pytest.approx(0.4)  # neither " </think>" alone nor text without it is reasoning
    assert figures["tokens"]["max"] == 8 and figures["mean_tokens"] == pytest.approx((5 + 6 + 7 + 8 + 4) / 5)
    assert results["labels"] == {"condition": "base"} == run.manifest.labels
    assert results["throughput"]["tokens"] == N * 30
    sample = stored(run)["toy", "sum/3", 0]
    assert sample.meta == {"parity": "odd"} and len(sample.prompt_hash) == 16 and sample.completion.token_ids is None


def test_hooks_are_called_and_may_fail(toy: Toy, tmp_path: Path) -> None:
    run = bench("m", ["toy"], tmp_path / "r", BenchConfig(samples=2), backend=ReplayBackend(scripted))
    assert [(s.id, s.index) for s in toy.scored] == [(s.id, s.index) for s in Run.read(run.path).samples()]
    assert toy.finished == [run] and run.done
    assert any("this plugin is broken" in f.cause for f in plugins.registry().failures)


def test_lm_eval_agrees_on_uneven_answers(toy: Toy, tmp_path: Path) -> None:
    """Accuracy and its error by lm-eval's own aggregation equal ours, over questions that differ."""
    from kkwarm.evaluation import lm

    def uneven(request: Request, index: int) -> str:
        i = int(request.key.rpartition("/")[2])
        right = (i + i // 2 + index) % 4 == 0
        return f" x </think> <answer> {GOLD[request.key] + (0 if right else 2)} </answer>"

    kept: dict = {}
    real = lm.evaluate_tasks

    def spied(*args: object) -> dict:
        kept.update(real(*args))  # type: ignore[arg-type]
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "evaluate_tasks", spied)
        run = bench(
            "m",
            ["toy", "toy:even"],
            tmp_path / "r",
            BenchConfig(samples=3),
            backend=ReplayBackend(
                lambda r, i: uneven(Request(r.key.replace("toy:even", "toy"), r.prompt, r.samples), i)
            ),
        )
    for name in ("toy", "toy:even"):
        ours = run.manifest.benchmarks[name]
        assert 0 < ours["accuracy"] < 1 and ours["stderr"] > 0
        assert kept[name]["accuracy"] == pytest.approx(ours["accuracy"], abs=1e-12)
        assert kept[name]["accuracy_stderr"] == pytest.approx(ours["stderr"], abs=1e-12)
        assert kept[name]["metric:near"] == pytest.approx(ours["metrics"]["near"], abs=1e-12)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_keeps_every_completion_and_resumes(
    error: type[BaseException], toy: Toy, tmp_path: Path
) -> None:
    requested: Counter[str] = Counter()

    def interrupting(request: Request, index: int) -> Completion:
        requested[request.key] += 1
        if sum(requested.values()) == 80:
            raise error
        return scripted(request, index)

    config = BenchConfig(samples=8)
    with pytest.raises(error):
        bench("m", ["toy"], tmp_path / "r", config, backend=ReplayBackend(interrupting))
    interrupted = Run.read(tmp_path / "r")
    assert interrupted.manifest.state == "interrupted" and len(stored(interrupted)) == 79
    assert len(toy.scored) == 79 and interrupted.manifest.generation["tokens"] > 0
    run = bench("m", ["toy"], tmp_path / "r", config, backend=ReplayBackend(interrupting))
    assert sum(requested.values()) == 80 + (8 * N - 79)
    uninterrupted = bench("m", ["toy"], tmp_path / "whole", config, backend=ReplayBackend(scripted))
    assert stored(run) == stored(uninterrupted)
    assert run.manifest.benchmarks == uninterrupted.manifest.benchmarks
    requested.clear()
    again = bench("m", ["toy"], tmp_path / "r", config, labels={"late": "yes"}, backend=ReplayBackend(interrupting))
    assert again.done and not requested and again.manifest.results["labels"] == {"late": "yes"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupt_while_samples_are_stored_loses_and_repeats_none(
    moment: str, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, calls = Run.append, []

    def interrupted_append(self: Run, samples: Iterable[Sample]) -> None:
        calls.append(moment)
        if len(calls) == 1 and moment == "before":
            raise KeyboardInterrupt
        append(self, samples)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "append", interrupted_append)
    with pytest.raises(KeyboardInterrupt):
        bench("m", ["toy"], tmp_path / "r", BenchConfig(samples=8), backend=ReplayBackend(scripted))
    assert len(stored(Run.read(tmp_path / "r"))) == 64


def test_other_recipe_is_refused(toy: Toy, tmp_path: Path) -> None:
    bench("m", ["toy"], tmp_path / "r", BenchConfig(limit=2), backend=ReplayBackend(scripted))
    with pytest.raises(KkwarmError, match=r"different settings \(.*samples: \d+ there"):
        bench("m", ["toy"], tmp_path / "r", BenchConfig(limit=2, samples=2), backend=ReplayBackend(scripted))
    with pytest.raises(KkwarmError, match="checkpoint"):
        bench("m", ["toy"], tmp_path / "r", BenchConfig(limit=2), backend=ReplayBackend(scripted, fingerprint="new"))


def test_limit_is_by_content_not_order() -> None:
    some = limit_examples(examples(), 5)
    assert len(some) == 5 and some != examples()[:5]
    assert {e.id for e in limit_examples(examples()[::-1], 5)} == {e.id for e in some}
    assert {e.id for e in some} < {e.id for e in limit_examples(examples(), 7)}
    assert limit_examples(examples(), 100) == examples()


def test_benchmarks_with_few_samples_are_generated_in_one_batch(toy: Toy, tiny: Path, tmp_path: Path) -> None:
    """Their samples are those of separate runs, and each keeps its own token limit."""
    calls: list[list[Request]] = []

    class Recording(HFBackend):
        def generate(
            self, requests: Sequence[Request], sampling: Sampling
        ) -> Iterator[tuple[Request, int, Completion]]:
            calls.append(list(requests))
            return super().generate(requests, sampling)

    config, names = BenchConfig(samples=2, limit=5), ("toy", "toy_free", "toy_short")
    together = bench(str(tiny), names, tmp_path / "all", config, backend=Recording.load(str(tiny)))
    assert [{r.key.partition("/")[0] for r in call} for call in calls] == [set(names)]
    separate: dict[tuple[str, str, int], Sample] = {}
    for name in names:
        run = bench(str(tiny), [name], tmp_path / name, config, backend=Recording.load(str(tiny)))
        separate |= stored(run)
    assert stored(together) == separate
    assert max(s.completion.n_tokens or 0 for k, s in separate.items() if k[0] == "toy_short") == 6
    assert max(s.completion.n_tokens or 0 for k, s in separate.items() if k[0] == "toy") == 24
    calls.clear()
    many = BenchConfig(samples=16)
    bench(str(tiny), names[:2], tmp_path / "fuller", many, backend=Recording.load(str(tiny)))
    assert [len(call) for call in calls] == [12, 5], "64 samples and more are a batch of their own"


def test_forced(toy: Toy, tmp_path: Path) -> None:
    prompts = set()

    def spied(request: Request, index: int) -> Completion:
        prompts.add(request.prompt[-len(" Let me think.") :])
        return Completion(" It is 0. </think> <answer> 0 </answer>", 6, "stop")

    config = BenchConfig(force=True, protocol="toy-forcing", limit=3)
    run = bench("m", ["toy"], tmp_path / "r", config, backend=ReplayBackend(spied))
    figures = run.manifest.benchmarks["toy+forced"]
    assert prompts == {" Let me think."} and figures["reasoning_rate"] == 1
    assert all(s.completion.text.startswith(" Let me think. It is 0.") for s in stored(run).values())
    assert figures["samples"] == 3


@pytest.mark.parametrize("name", ["paper", "paper", "plain"])
def test_built_in_formats_can_force_reasoning(name: str, toy: Toy, tmp_path: Path) -> None:
    force = plugins.registry().protocols["", name].force
    prompts = set()

    def reply(request: Request, index: int) -> Completion:
        prompts.add(request.prompt)
        gold = GOLD[request.key.replace("+forced", "")]
        text = str(gold) if name == "plain" else f" {gold} it is. </think> <answer> {gold} </answer>"
        return Completion(text, 3, "stop")

    backend = ReplayBackend(reply, tokenizer=ChatTokenizer())
    run = bench("m", ["toy"], tmp_path / "r", BenchConfig(force=True, protocol=name, limit=3), backend=backend)
    assert len(prompts) == 3 and all(prompt.endswith(force) for prompt in prompts)
    assert all(s.completion.text.startswith(force) for s in stored(run).values())
    if name != "plain":  # the toy's verifier reads nothing but a number
        assert run.manifest.benchmarks["toy+forced"]["accuracy"] == 1
        assert run.manifest.benchmarks["toy+forced"]["reasoning_rate"] == 1


def test_bad_input(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(KkwarmError, match=r"unknown benchmark 'toi'.*did you mean toy"):
        bench(str(tmp_path), ["toi"], tmp_path / "r")
    with pytest.raises(KkwarmError, match=r"neither config.json"):
        bench(str(tmp_path), ["toy"], tmp_path / "r")
    with pytest.raises(KkwarmError, match="no benchmark is named"):
        bench(str(tmp_path), [" , "], tmp_path / "r")
    with pytest.raises(KkwarmError, match="unknown protocol"):
        bench("m", ["toy"], tmp_path / "r", BenchConfig(protocol="thinkanswer"), backend=ReplayBackend(scripted))
    with pytest.raises(KkwarmError, match="top_p"):
        BenchConfig(top_p=1.5)
    assert not (tmp_path / "r").exists()


def test_real_checkpoint_any_batch(toy: Toy, tiny: Path, tmp_path: Path) -> None:
    runs = [
        bench(str(tiny), ["toy,toy_free"], tmp_path / f"r{rows}", BenchConfig(samples=2, batch_size=rows, device="cpu"))
        for rows in (3, None)
    ]
    assert stored(runs[0]) == stored(runs[1])
    assert all(s.completion.n_tokens for s in stored(runs[0]).values())
    figures = runs[0].manifest.results
    assert figures["benchmarks"]["toy"]["samples"] == 2 * N and figures["throughput"]["tokens_per_s"] > 0


def test_what_to_do_where_nothing_can_be_scored(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kkwarm.cli.bench import show

    cut = ReplayBackend(lambda request, index: Completion(" I go on and", 4, "length"))
    run = bench("m", ["toy"], tmp_path / "cut", BenchConfig(), backend=cut)
    advice = run.manifest.benchmarks["toy"]["advice"]
    assert advice.startswith(f"all {N} completions are truncated, so nothing was measured: raise --max-tokens")
    show(run.manifest.results)
    assert f"toy: {advice}" in capsys.readouterr().out
    mixed = ReplayBackend(scripted)
    figures = bench("m", ["toy"], tmp_path / "some", BenchConfig(samples=5), backend=mixed).manifest.benchmarks["toy"]
    assert "advice" not in figures
    broken = {"malformed": 7, "truncated": 2}
    assert advise_on_unusable(broken).startswith(
        "all 9 completions are truncated or malformed, so nothing was measured"
    )
    assert "warm it up first" in advise_on_unusable(broken) and "--max-tokens" not in advise_on_unusable(broken)
    assert advise_on_unusable({}) == advise_on_unusable({"wrong": 1, "malformed": 9}) == ""


def test_raw_text_to_a_chat_model_is_noted_once(
    toy: Toy, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = tmp_path / "chat"
    shutil.copytree(tiny, chat)
    (chat / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    config = BenchConfig(limit=1, max_tokens=2)
    for model, out, times in ((tiny, "plain", 0), (chat, "raw", 1)):
        bench(str(model), ["toy", "toy_short"], tmp_path / out, config, progress=False)
        assert capsys.readouterr().err.count("has a chat template, but paper prompts it with raw text") == times
    bench(str(chat), ["toy"], tmp_path / "c", config.replace(chat="on"), progress=False)
    assert "raw text" not in capsys.readouterr().err


def test_prompts_with_unknown_tokens_give_a_warning(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_checkpoint(tmp_path / "words", vocab=["What", "is"])
    run = bench(str(words), ["toy_free"], tmp_path / "r", BenchConfig(device="cpu"), progress=False)
    *_, said = run.manifest.warnings
    assert said.startswith("toy_free: the tokenizer has no token for some text of 5 of 5 prompts")
    assert said in capsys.readouterr().err


def _kkwarm(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


@pytest.mark.slow
def test_killed_run_ends_the_same(toy: Toy, tiny: Path, tmp_path: Path) -> None:
    """kill -9 in the middle; the same command finishes, and equals an uninterrupted run.

    Row by row, where equality is exact: in another batch, rounding can tip a token between nearly equal ones.
    """
    command = _kkwarm(
        "bench", tiny, "--on", "toy", "--samples", 16, "--max-tokens", 60, "--batch-size", 1, "--device", "cpu"
    )
    command += ["-o", str(tmp_path / "killed"), "--json"]
    lines = tmp_path / "killed" / "samples.jsonl"
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 200
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 64):
            assert started.poll() is None, started.communicate()[1].decode()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(started.pid, signal.SIGKILL)
    finally:
        started.kill()
        started.communicate()
    before = lines.read_bytes().count(b"\n")
    assert 64 <= before < 16 * N
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    config = BenchConfig(samples=16, max_tokens=60, batch_size=1, device="cpu")
    whole = bench(str(tiny), ["toy"], tmp_path / "whole", config)
    assert stored(Run.read(tmp_path / "killed")) == stored(whole)
    assert document["benchmarks"] == whole.manifest.benchmarks
    assert Run.read(tmp_path / "killed").manifest.resumed == 1
