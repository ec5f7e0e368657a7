"""The Ray executor: what it refuses, and (slow) whole studies on a Ray cluster of two nodes that loses some."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kkwarm.cli import main
from kkwarm.cost import cores
from kkwarm.errors import KkwarmError
from kkwarm.reporting.terminal import render_text
from kkwarm.schema.manifest import StepAttempt
from kkwarm.schema.recipe import Recipe, load_recipe
from kkwarm.store import Run
from kkwarm.study.execute import open_executor
from kkwarm.study.plan import Plan, make_plan
from kkwarm.study.run import run_study

Without = Callable[[Recipe], Plan]
HERE = Path(__file__).parent


def did(out: Path) -> Counter[str]:
    return Counter(line.rpartition("-")[0] for line in (out / "trace.txt").read_text().split())


def attempts(out: Path) -> list[StepAttempt]:
    return [attempt for session in Run.read(out).manifest.sessions for attempt in session.attempts]


# -- refusals: no cluster is needed ------------------------------------------------------------------------------------


def refused(address: str, tmp_path: Path) -> tuple[str, float]:
    pytest.importorskip("ray", reason="needs the ray extra: pip install 'kkwarm[ray]'")
    start = time.monotonic()
    with pytest.raises(KkwarmError) as outcome:
        open_executor("ray", tmp_path, None, address=address)
    assert "\n" not in str(outcome.value)
    return str(outcome.value), time.monotonic() - start


def test_an_address_nobody_answers_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text, seconds = refused(f"127.0.0.1:{port}", tmp_path)
    assert f"no Ray cluster responds at 127.0.0.1:{port}: Connection refused" in text
    assert "ray start --head" in text
    assert seconds < 30
    assert refused("cluster", tmp_path)[0].startswith("--ray-address cluster is not an address")


def test_a_port_of_something_else_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never says anything; ray alone would try for minutes."""
    monkeypatch.setattr("kkwarm.study.cluster.CLUSTER_TIMEOUT", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        text, seconds = refused(f"127.0.0.1:{mute.getsockname()[1]}", tmp_path)
    assert "no response within 3 s" in text
    assert seconds < 60


def test_an_address_without_the_executor_is_refused(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["study", str(recipe_file), "--ray-address", "auto"])
    assert end.value.code == 2
    assert "add --executor ray" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KkwarmError, match=r"pip install 'kkwarm\[ray\]'"):
        open_executor("ray", tmp_path, None)


def test_needs_of_a_step_are_its_stages_or_its_kinds(recipe_file: Path) -> None:
    settings = ["resources.rlvr={cpus=4, gpus=2}", "resources.bench={gpus=0.5}"]
    recipe_file.write_text(recipe_file.read_text() + "\n[resources.warm]\ncpus = 3\n")
    plain, asked = load_recipe(str(recipe_file)), load_recipe(str(recipe_file), settings)
    needs = {s.id.rpartition("-")[0]: (s.resources.cpus, s.resources.gpus) for s in make_plan(asked).steps.values()}
    assert needs["base-rlvr-s0"] == (4, 2)
    assert needs["base-warm-s0"] == (3, None)
    assert needs["bench-base-s0"] == (1, 0.5)
    assert needs["traces-long-s0"] == (1, 0)
    assert set(make_plan(plain).steps) == set(make_plan(asked).steps)  # what a step occupies is not what it does
    assert plain.data == asked.data
    with pytest.raises(KkwarmError, match=r"resources\.worm: unknown step 'worm'"):
        load_recipe(str(recipe_file), ["resources.worm={cpus=4}"])


# -- a cluster ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, the head among them: a third would start a third of all its processes, for nothing.
    Nodes are missed within 10 seconds (sooner, and a busy one is taken for dead).
    """
    pytest.importorskip("ray", reason="needs the ray extra: pip install 'kkwarm[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray._common.utils import get_default_ray_temp_dir
    from ray.cluster_utils import Cluster

    Path(get_default_ray_temp_dir()).mkdir(exist_ok=True)  # Cluster notes its address there, whatever `temp_dir` is
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 20}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # short: sockets lie in it
        head = {"num_cpus": 1, "object_store_memory": 80 << 20, "temp_dir": folder, "_system_config": quick}
        head["include_dashboard"] = False
        made = tried(lambda: Cluster(initialize_head=True, head_node_args=head))
        nodes = [another(made)]  # those that may be killed
        yield made, nodes
        made.shutdown()


def another(made: Any) -> Any:
    """One more node."""
    return tried(lambda: made.add_node(num_cpus=1, object_store_memory=80 << 20))


def tried(start: Callable[[], Any]) -> Any:
    """On a loaded machine ray gives a node up after 30 s; a later try finds its files read."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return start()
    return start()


def on(cluster: Any, recipe: Recipe, out: Path, quiet: Any) -> dict[str, Any]:
    return run_study(recipe, out, None, quiet, render_text, executor="ray", address=cluster[0].address)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_study_on_two_nodes_is_the_local_one(
    cluster: Any, recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    ours = run_study(recipe, tmp_path / "local", 2, quiet, render_text)
    theirs = on(cluster, recipe, tmp_path / "ray", quiet)
    assert did(tmp_path / "ray") == did(tmp_path / "local")
    for part in ("matrix", "claims", "statuses"):
        assert getattr(theirs, part) == getattr(ours, part), part
    done = attempts(tmp_path / "ray")
    assert {attempt.outcome for attempt in done} == {"done"}
    assert len({attempt.worker for attempt in done}) >= 2  # both nodes' processes
    again = on(cluster, recipe, tmp_path / "ray", quiet)
    assert again.matrix == theirs.matrix
    assert did(tmp_path / "ray") == did(tmp_path / "local")


@pytest.mark.slow
def test_a_killed_worker_costs_its_step_only(
    cluster: Any, recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "die-once.base-warm-s0").touch()
    assert on(cluster, recipe, out, quiet).state == "done"
    assert [name for name, count in did(out).items() if count > 1] == ["base-warm-s0"]
    lost = [attempt for attempt in attempts(out) if attempt.outcome != "done"]
    assert [(attempt.step.rpartition("-")[0], attempt.outcome) for attempt in lost] == [("base-warm-s0", "lost")]
    assert "-- attempt 2 on " in (out / "logs" / f"{lost[0].step}.log").read_text()


@pytest.mark.slow
def test_a_killed_node_costs_its_steps_only(
    cluster: Any, recipe: Recipe, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    """Both nodes hang in a step; one is killed. Its step is done again where there is room."""
    made, nodes = cluster
    out = tmp_path / "s"
    out.mkdir()
    hang = [out / f"hang.traces-long-s{seed}" for seed in (0, 1)]
    for file in hang:
        file.touch()
    reports: list[Any] = []
    study = threading.Thread(target=lambda: reports.append(on(cluster, recipe, out, quiet)), daemon=True)
    study.start()
    until(lambda: (out / "trace.txt").exists() and sum(n for k, n in did(out).items() if "traces" in k) == 2)
    made.remove_node(nodes.pop(), allow_graceful=False)
    for file in hang:
        file.unlink()
    nodes.append(another(made))
    study.join(timeout=240)
    assert reports, "the study did not end"
    assert reports[0].state == "done"
    assert sum(n - 1 for n in did(out).values()) == 1
    lost = [attempt for attempt in attempts(out) if attempt.outcome != "done"]
    assert [attempt.outcome for attempt in lost] == ["lost"]
    assert lost[0].step.startswith("traces-long")


@pytest.mark.slow
def test_what_fits_on_no_node_is_said(
    cluster: Any, recipe_file: Path, without_models: Without, tmp_path: Path, quiet: Any
) -> None:
    recipe = load_recipe(str(recipe_file), ["resources.rlvr={cpus=64}"])
    with pytest.raises(KkwarmError, match=r"rlvr.* needs 64 cores and 0 GPUs on one node; nodes have"):
        on(cluster, recipe, tmp_path / "s", quiet)


@pytest.mark.slow
def test_an_ended_study_goes_on(cluster: Any, recipe_file: Path, tmp_path: Path) -> None:
    """By Ctrl-C, SIGTERM and SIGKILL, in turn: the cluster outlives the study, nothing of it is left running there,
    and what was done is not done again."""
    out = tmp_path / "s"
    out.mkdir()
    hang = out / "hang.base-warm-s1"
    hang.touch()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *[p for p in sys.path if p]])}
    command = [sys.executable, "-m", "fake_steps", str(recipe_file), "-o", str(out), "--executor", "ray"]
    command += ["--ray-address", cluster[0].address]

    def hangs(study: subprocess.Popen[str], times: int) -> bool:
        """Its step hangs for the `times`-th time, and the others are done; or it has ended, which is checked below."""
        begun = (out / "trace.txt").exists() and did(out)["base-warm-s1"] == times
        return study.poll() is not None or (begun and len(Run.read(out).manifest.seconds) == 14)

    for times, by in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), 1):
        study = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until(partial(hangs, study, times), 240)
        study.send_signal(by)
        _, err = study.communicate(timeout=120)
        assert study.returncode == (-9 if by == signal.SIGKILL else 130), err
        assert "Traceback" not in err
    hang.unlink()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "done"
    assert {name: count for name, count in did(out).items() if count > 1} == {"base-warm-s1": 4}


@pytest.mark.slow
def test_real_steps_leave_the_same_weights_and_samples(cluster: Any, tmp_path: Path, quiet: Any) -> None:
    """Traces, warm-up, RLVR and evaluation of the shipped base, here and on the cluster: equal to the last bit."""
    sys.path.insert(0, str(HERE.parent / "kills"))
    import kill_work

    (tmp_path / "real.toml").write_text(kill_work.RECIPE)
    recipe = load_recipe(str(tmp_path / "real.toml"))
    run_study(recipe, tmp_path / "local", cores(), quiet, render_text)  # a thread for each step, as on the cluster
    on(cluster, recipe, tmp_path / "ray", quiet)
    ours, theirs = kill_work.product(tmp_path / "local"), kill_work.product(tmp_path / "ray")
    assert ours.keys() == theirs.keys()
    assert sum(name.endswith("model.safetensors") for name in ours) == 2
    assert [name for name in ours if ours[name] != theirs[name]] == []
