"""The commands of every page work. CONTRIBUTING.md describes how pages mark those that cannot be run in a test.

Blocks of commands are run page by page, in order, in an empty folder, and with the limits below, so that a command
takes a few seconds. Every command is parsed too: its options exist and have values of the right type.
"""

import multiprocessing
import os
import re
import resource
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from kkwarm.cli import cli
from kkwarm.cli.options import given_settings
from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import BenchConfig, DistillConfig, RlvrConfig, Settings, WarmupConfig, configure

ROOT = Path(__file__).parents[2]
# Other tests run the tutorial; the commands of the others are generated from the CLI or from a stored run.
ELSEWHERE = {"tutorial.md", "commands.md", "settings.md", "model_card.md", "notebook.md"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]
PAGES = [page for page in PAGES if page.name not in ELSEWHERE]
MODEL = "kkwarm_mini:BASE"  # in place of the word MODEL
LIMITS = {
    "bench": ["--limit", "6"],
    "distill": ["-n", "40"],
    "warmup": ["--max-steps", "2", "--batch-size", "4"],
    "rlvr": ["--steps", "2", "--prompts-per-step", "3", "--generations", "4"],
}
SETTINGS: dict[str, type[Settings]] = {
    "bench": BenchConfig,
    "distill": DistillConfig,
    "warmup": WarmupConfig,
    "rlvr": RlvrConfig,
}
CPU_S = 60  # of one command
PRELOADED = [
    "pandas",
    "scipy.stats",
    "lm_eval.evaluator",
    "trl.trainer.grpo_trainer",
    "trl.trainer.sft_trainer",
    "peft",
]
PRELOADED += ["kkwarm.train.grpo", "kkwarm.train.sft", "kkwarm.evaluation.engine"]
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?[^\n]*\n(.*?)^```', re.M | re.S)
NOT_RUN = re.compile(r"^<!-- not run: (.+?) -->\n+\Z", re.M)
PREPARE = re.compile(r"^<!-- prepare: (.+?) -->", re.M | re.S)


@dataclass
class Block:
    """Commands with the output that the page shows, a file that it shows, or commands that readers do not see."""

    commands: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    file: tuple[str, str] | None = None
    reason: str = ""  # why it is not run


def read_blocks(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    blocks, end = [], 0
    for match in FENCE.finditer(text):
        before = text[end : match.start()]
        blocks += [Block(commands=[found]) for found in PREPARE.findall(before)]
        reason = NOT_RUN.search(before)
        language, title, body = match.groups()
        end = match.end()
        if title and "." in title:
            blocks.append(Block(file=(title, body)))
        elif language in ("console", "bash"):
            block = read_commands(body, prompt="$ " if language == "console" else "")
            block.reason = reason[1] if reason else ""
            blocks.append(block)
    return blocks


def read_commands(body: str, prompt: str) -> Block:
    """The commands of a block; without a prompt, every line that is not a comment is one."""
    block = Block()
    for line in join_lines(body).splitlines():
        if line.startswith(prompt) and line.strip() and not line.startswith("#"):
            block.commands.append(line.removeprefix(prompt))
        elif prompt:
            block.output.append(line)
    return block


def join_lines(text: str) -> str:
    """The text with lines that end in a backslash joined to the next."""
    return re.sub(r"\\\n\s*", "", text)


def page_blocks(page: Path) -> list[Block]:
    return read_blocks(page.read_text("utf-8"))


# -- parsing -----------------------------------------------------------------------------------------------------------


def kkwarm_arguments(line: str) -> list[list[str]]:
    """The arguments of each call of kkwarm in a line of shell, also below srun, torchrun and the like."""
    lexer = shlex.shlex(os.path.expandvars(line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    calls: list[list[str]] = []
    call: list[str] | None = None
    for word in lexer:
        if set(word) <= set("&|;<>()"):
            call = None
        elif call is not None:
            call.append(word)
        elif word == "kkwarm":
            calls.append(call := [])
    return calls


def parse(arguments: list[str]) -> None:
    """Raises an error for an unknown command or option, or a bad value. Files need not exist."""
    command: click.Command = cli
    context = cli.make_context("kkwarm", [], resilient_parsing=True)
    name = ""
    while isinstance(command, click.Group):
        if not arguments or arguments[0].startswith("-"):
            return
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    try:
        context = command.make_context(name, list(arguments))
    except click.BadParameter as err:
        if "does not exist" not in err.message:
            raise
    except click.exceptions.Exit:  # --help
        return
    if (model := SETTINGS.get(name)) is not None:
        given = given_settings(model, context)
        try:
            configure(model, given, where=name, preset=context.params.get("preset"))
        except KkwarmError as err:
            if "does not exist" not in str(err):
                raise


def check_line(line: str) -> None:
    """Checks what can be checked of a line without running it."""
    for arguments in kkwarm_arguments(line):
        parse(arguments)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in re.findall(r"kkwarm\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), f"{line}: no such extra"
    for target in re.findall(r"(?:^|&& |; )make ([\w-]+)", line):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.M), f"{line}: no such target"
    for script in re.findall(r"\bpython ([\w/]+\.py)", line):
        assert (ROOT / script).is_file(), f"{line}: no such file"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_of_the_program(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KKWARM_HOME", "/runs")
    for block in page_blocks(page):
        script = block.file[1] if block.file and block.file[0].endswith(("sh", "sbatch")) else ""
        lines = [*join_lines(script).splitlines(), *block.commands]
        for line in lines:
            try:
                check_line(line)
            except (click.ClickException, KkwarmError, ValueError) as err:
                pytest.fail(f"{page.name}: {line}: {err}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_in_a_block_that_is_run_or_says_why_not(page: Path) -> None:
    text = page.read_text("utf-8")
    marks = len(re.findall(r"^<!-- not run", text, re.M))
    assert marks == sum(bool(block.reason) for block in page_blocks(page)), "a mark stands directly before its block"
    for language, title, body in FENCE.findall(text):
        if language not in ("console", "bash") and not title:
            found = re.search(r"^(\$ .*|kkwarm [a-z].*)", body, re.M)
            assert found is None, f"{page.name}: {found and found[1]} stands in a block that nothing runs: use console"


def test_marks_and_files_are_recognized() -> None:
    page = """<!-- prepare: kkwarm doctor -->
```toml title="a.toml"
x = 1
```
<!-- not run: needs a GPU -->

```bash
# comment
kkwarm bench \\
  MODEL
```

```console
$ kkwarm runs
kkwarm: nothing
```
"""
    hidden, file, marked, shown = read_blocks(page)
    assert hidden.commands == ["kkwarm doctor"]
    assert file.file == ("a.toml", "x = 1\n")
    assert (marked.commands, marked.reason) == (["kkwarm bench MODEL"], "needs a GPU")
    assert (shown.commands, shown.output, shown.reason) == (["kkwarm runs"], ["kkwarm: nothing"], "")


@pytest.mark.parametrize(
    "line", ["kkwarm bench MODEL --onn math", "srun kkwarm bench MODEL --on math --limit x &", "make nothing"]
)
def test_a_wrong_line_is_found(line: str) -> None:
    with pytest.raises((click.ClickException, KkwarmError, AssertionError)):
        check_line(line)


# -- running -----------------------------------------------------------------------------------------------------------


def call_kkwarm(arguments: list[str], folder: Path, env: dict[str, str], log: Path) -> None:
    """Runs a command in this process, which exits with its code."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(stream, number)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [str(folder / "site")]
    from kkwarm.cli import main

    main(arguments)


def run_line(line: str, folder: Path, env: dict[str, str]) -> tuple[int | None, str]:
    """Exit code and output of a line. Calls of kkwarm alone are run in forks of a process with torch, to save time."""
    words = shlex.split(line, comments=True)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(variables) :]
    if words[0] == "kkwarm" and not re.search(r"[|;&<>]|\$\(", line.partition(" # ")[0]):
        words = [MODEL if word == "MODEL" else os.path.expandvars(word) for word in words[1:]]
        found = [sorted(str(p.relative_to(folder)) for p in folder.glob(w)) if "*" in w else [w] for w in words]
        arguments = [*(word for words in found for word in words), *LIMITS.get(words[0], [])]
        log = folder / "output.log"
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=call_kkwarm, args=(arguments, folder, {**env, **variables}, log))
        process.start()
        process.join()
        return process.exitcode, log.read_text("utf-8", "replace") if log.exists() else ""
    if words[:3] == ["pip", "install", "-e"]:  # into a folder of its own, without the network
        flags = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
        line = shlex.join([sys.executable, "-m", "pip", "install", *flags, f"./{words[3]}"])
    done = subprocess.run(
        ["bash", "-c", line.replace("MODEL", MODEL)],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def check_run(block: Block, folder: Path, env: dict[str, str]) -> None:
    """Runs a block. A page shows an error message where the last command of a block fails."""
    expected = [line for line in block.output if line.startswith("kkwarm: ")]
    output = ""
    for number, line in enumerate(block.commands, 1):
        code, output = run_line(line, folder, env)
        fails = bool(expected) and number == len(block.commands)
        no_signal = "kkwarm rlvr" in line and code == 1  # two steps may all earn the same rewards
        assert no_signal or (code in (1, 2) if fails else code == 0), f"{line}\nexit code {code}\n{output[-3000:]}"
    seen = " ".join(output.split())
    for message in expected:
        assert message in seen, f"{message!r} is not in the output: {output[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    blocks = [block for block in page_blocks(page) if not block.reason]
    if not any(block.commands for block in blocks):
        pytest.skip("there are no commands to run")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kkwarm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kkwarm "$@"\n')
    (tmp_path / "bin" / "kkwarm").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    python = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    env = {**os.environ, "PATH": path, "PYTHONPATH": python, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    env = {name: value for name, value in env.items() if not name.startswith("KKWARM_")}
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    for block in blocks:
        if block.file is not None:
            target = tmp_path / block.file[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.file[1].replace("MODEL", MODEL), "utf-8")
        check_run(block, tmp_path, env)
