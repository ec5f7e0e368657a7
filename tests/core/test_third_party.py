"""A separately packaged plugin, installed by pip, shows up everywhere that a built-in one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin_package"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        + ["--target", str(target), str(PACKAGE)],
        check=True,
        timeout=120,
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *filter(None, sys.path)])}


def kkwarm(environment: dict[str, str], *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kkwarm", *args],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_is_listed_with_its_distribution(environment: dict[str, str]) -> None:
    shown = json.loads(kkwarm(environment, "plugins", "--json").stdout)
    (mine,) = [p for p in shown["plugins"] if p["distribution"] == "kkwarm-colours"]
    assert mine["version"] == "1.2.3"
    assert mine["hooks"] == [
        "kkwarm_commands",
        "kkwarm_domains",
        "kkwarm_probes",
        "kkwarm_protocols",
        "kkwarm_resolve_domain",
        "kkwarm_teachers",
    ]
    domains = {d["name"]: d for d in json.loads(kkwarm(environment, "domains", "--json").stdout)["domains"]}
    assert domains["colours"]["teachers"] == ["painter"]


def test_it_passes_the_check(environment: dict[str, str]) -> None:
    done = kkwarm(environment, "check", "colours", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] and "mixing" in done.stderr  # what the plugin prints is not part of the document
    assert document["probes"]["colours: loud"] == document["probes"]["colours: nearly"] == 12


@pytest.mark.slow
def test_it_creates_domains_on_demand_with_its_own_protocol(environment: dict[str, str]) -> None:
    done = kkwarm(environment, "check", "tint:matt", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["prompt"].endswith("give? ->") and "colours: nearly" in document["probes"]
    tried = kkwarm(environment, "try", "tint:matt", "--id", "matt/red+yellow", "--json", "hm -> orange")
    assert json.loads(tried.stdout)["status"] == "correct"


def test_the_shell_completes_it(environment: dict[str, str]) -> None:
    completion = {"_KKWARM_COMPLETE": "bash_complete", "COMP_WORDS": "kkwarm check colo", "COMP_CWORD": "2"}
    assert kkwarm(environment | completion).stdout.split() == ["plain,colours"]


def test_new_does_not_take_its_name(environment: dict[str, str]) -> None:
    done = kkwarm(environment, "new", "colours")
    assert done.returncode == 2 and "exists already, in kkwarm-colours" in done.stderr


def test_its_verifier_works(environment: dict[str, str]) -> None:
    text = "It is so. </think> <answer> orange </answer>"
    done = kkwarm(environment, "try", "colours", "--id", "matt/red+yellow", "--json", stdin=text)
    assert json.loads(done.stdout)["status"] == "correct", done.stderr


def test_it_is_shown_with_its_splits(environment: dict[str, str]) -> None:
    shown = json.loads(kkwarm(environment, "domains", "colours", "--json").stdout)
    assert shown["splits"]["train"] == 20
    assert shown["splits"]["test"] == 20
    assert all(e["verdict"] == "correct" for e in shown["examples"])
    assert shown["teachers"] == ["painter"]
    assert shown["facet"] == "tint" and sum(shown["facets"].values()) == 20


def test_its_command_is_available(environment: dict[str, str]) -> None:
    assert kkwarm(environment, "palette").stdout.split() == ["green", "grey", "orange", "purple"]
    assert "palette" in kkwarm(environment, "--help").stdout


@pytest.mark.slow
def test_it_is_distilled_benchmarked_trained_on_and_reported(environment: dict[str, str], tmp_path: Path) -> None:
    from kkwarm.testing.checkpoint import tiny_checkpoint

    model, home = str(tiny_checkpoint(tmp_path / "model")), str(tmp_path)
    steps = [
        ["distill", "--domain", "colours", "--teacher", "painter", "-n", "5", "-o", f"{home}/traces"],
        ["warmup", model, "--traces", f"{home}/traces", "--max-steps", "1", "-o", f"{home}/warmed"],
        ["rlvr", model, "--domain", "colours", "--examples", "20", "-o", f"{home}/rlvr", "--dry-run"],
        [
            "bench",
            f"{home}/warmed",
            "--on",
            "colours,colours:matt",
            "--max-tokens",
            "4",
            "-o",
            f"{home}/bench",
            "--json",
        ],
        ["report", f"{home}/bench", "--json"],
    ]
    for step in steps:
        done = kkwarm(environment, *step)
        assert done.returncode == 0, f"{step}: {done.stderr[-1500:]}"
    assert set(json.loads(done.stdout)["matrix"]["bench"]) == {"colours", "colours:matt"}


def test_help_loads_only_plugins_with_commands_if_no_others_are_installed(environment: dict[str, str]) -> None:
    from kkwarm.plugins import load

    reg = load()
    own = {p.key: p.module for p in reg.plugins if p.distribution == "kkwarm"}
    adding = {impl.plugin_name for impl in reg.manager.hook.kkwarm_commands.get_hookimpls()}
    expected = sorted(module for key, module in own.items() if key in adding)
    assert expected == ["kkwarm_kk"]
    shown = "sorted({m.partition('.')[0] for m in sys.modules if m.startswith('kkwarm_')})"
    code = f"import atexit, sys; atexit.register(lambda: print({shown})); from kkwarm.cli import main; main(['--help'])"
    alone = {k: v for k, v in environment.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], env=alone, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith(f"{expected}\n"), done.stdout + done.stderr
    assert "  kk " in done.stdout
