"""Programs with standard streams: `kkwarm.sandbox.run`, `program_verifier`, and how outputs are compared."""

import json
import time
from typing import Any

import pytest

import kkwarm
from kkwarm.errors import KkwarmError
from kkwarm.protocols import BUILT_IN
from kkwarm.sandbox import Limits, ProgramResult, run
from kkwarm.types import Completion, Example, Status, Target, Verdict, Verifier
from kkwarm.verify import program_verifier, programs, verify
from kkwarm.verify.code import extract_program
from kkwarm.verify.outputs import COMPARISONS
from kkwarm.verify.program_probes import PROGRAM_PROBES
from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED, End, ProgramJob, Sandbox
from kkwarm.verify.source import verifier_provenance

from .checkers import exiting, hanging, is_factor, numeric, raising

PAPER = BUILT_IN["paper"]
SECRET = "8155273906418"
SUMS = Example(
    "sum",
    "Print the sum.",
    {"tests": [{"input": "3 4\n", "output": "7\n"}, {"input": "1 1", "output": "2"}, {"input": "5 5", "output": "10"}]},
)
SUM = "print(sum(map(int, input().split())))"


@pytest.fixture(autouse=True)
def _any_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """This code is ours: it may run where there are no namespaces."""
    monkeypatch.setenv(ALLOW_UNSANDBOXED, "1")


def verdicts(verifier: Verifier, *answers: str, example: Example = SUMS) -> list[Verdict]:
    return verify(
        verifier, PAPER, [(example, Completion(PAPER.compose("so", a), finish_reason="stop")) for a in answers]
    )


# -- one program -------------------------------------------------------------------------------------------------------


def test_the_module_is_an_attribute_of_the_package() -> None:
    assert kkwarm.sandbox.run is run
    with pytest.raises(AttributeError, match="no attribute 'sandbx'"):
        kkwarm.sandbx  # noqa: B018


@pytest.mark.parametrize(
    ("program", "stdin", "stdout"),
    [
        ("print(int(input()) + 1)", "41\n", "42\n"),
        ("import sys; print(sys.stdin.read())", "a\nb", "a\nb\n"),
        ("import sys; print(sys.stdin.buffer.read()[::-1])", b"ab\xff", "b'\\xffba'\n"),
        ("print(open(0).read())", "abc", "abc\n"),
        ("import os; print(os.read(0, os.fstat(0).st_size))", "abc", "b'abc'\n"),
        ("for line in open(0): print(line, end='')", "é\r\nb", "é\nb"),
        ("print(len(input()))", "x" * 2_000_000, "2000000\n"),
        ("f = open(1, 'w'); f.write('not flushed')", "", "not flushed"),
        ("import sys; sys.stdout.write('a\\0b\\udcff')", "", "a\0b\ufffd"),
        ("import threading\nthreading.Thread(target=print, args=('thread',)).start()", "", "thread\n"),
        ("import atexit; atexit.register(print, 'bye'); print('hello')", "", "hello\nbye\n"),
        ("import os\nif os.fork() == 0: print('child')\nelse: os.wait(); print('parent')", "", "child\nparent\n"),
        (
            "if __name__ == '__main__': print(__builtins__.__name__, __import__('sys').argv)",
            "",
            "builtins ['main.py']\n",
        ),
        ("import os; print(1); os._exit(0)", "", ""),  # not flushed, as in Python
        ("print(1, __file__); exit()", "", "1 main.py\n"),
        ("from multiprocessing.pool import ThreadPool\nprint(ThreadPool(2).map(abs, [-1, 2]))", "", "[1, 2]\n"),
    ],
)
def test_a_program_runs_as_python_would(program: str, stdin: str | bytes, stdout: str) -> None:
    result = run(program, stdin)
    assert (result.stdout, result.exit_code, result.stderr) == (stdout, 0, "")
    assert result.ok and not result.timed_out and result.reason == "exit code 0"


@pytest.mark.parametrize(
    ("program", "exit_code", "stderr"),
    [
        ("raise SystemExit('bad')", 1, "bad\n"),
        ("import sys; sys.exit(7)", 7, ""),
        ("input()", 1, "EOFError: EOF when reading a line\n"),
        ("def f():\n    return 1 / 0\nf()", 1, "ZeroDivisionError: division by zero\n"),
        ("print(", 1, "SyntaxError: '(' was never closed\n"),
        ("x = [0] * 10**9", 1, "MemoryError\n"),
        ("import os; os.close(1); print(3)", 120, ""),
        ("import kkwarm", 1, "ModuleNotFoundError: No module named 'kkwarm'\n"),
        ("import os\nwhile True: os.fork()", 1, "temporarily unavailable\n"),
        ("print('\\ud800')", 1, "surrogates not allowed\n"),
    ],
)
def test_a_program_that_fails(program: str, exit_code: int, stderr: str) -> None:
    result = run(program)
    assert result.exit_code == exit_code and stderr in result.stderr, result
    assert "program.py" not in result.stderr  # only the program's own lines


def test_a_traceback_has_the_lines_of_the_program() -> None:
    stderr = run("def f():\n    return 1 / 0\nf()").stderr
    assert stderr.startswith('Traceback (most recent call last):\n  File "main.py", line 3, in <module>\n')


@pytest.mark.parametrize(
    ("program", "reason", "timed_out"),
    [
        ("while True: pass", "limit of 0.3 s of CPU time", True),
        ("import time; time.sleep(60)", "it slept for more than 0.5 s", True),
        ("import select; select.select([], [], [])", "it slept for more than 0.5 s", True),
        ("import os; r, w = os.pipe(); os.read(r, 1)", "it slept for more than 0.5 s", True),
        ("while True: print('x' * 100)", "more than 1 MiB of output", False),
        ("import sys\nwhile True: print('x' * 100, file=sys.stderr)", "more than 1 MiB of output", False),
        ("import os, signal; signal.raise_signal(signal.SIGSEGV)\nos.abort()", "", False),
    ],
)
def test_a_program_that_reaches_a_limit(program: str, reason: str, timed_out: bool) -> None:
    result = run(program, limits=Limits(cpu_s=0.3, idle_s=0.5, output=1 << 20))
    assert reason in result.reason and result.timed_out is timed_out and not result.ok, result
    assert len(result.stdout) <= 1 << 20 and len(result.stderr) <= 1 << 16


def test_programs_at_each_level(sandbox: Sandbox) -> None:
    jobs = [ProgramJob("open('left', 'x').close(); print(input())", f"{i}".encode()) for i in range(6)]
    outcomes = sandbox.run_programs([*jobs, ProgramJob("while True: pass", limits=Limits(cpu_s=0.2))])
    assert [(o.end, o.stdout) for o in outcomes[:6]] == [(End.EXITED, b"%d\n" % i) for i in range(6)]
    assert outcomes[6].end is End.TIMEOUT and outcomes[6].exit_code is None


# -- comparison --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "expected", "equal"),
    [
        ("7\n", "7", "exact tokens floats"),
        ("7\r\n\r\n", "7\n", "exact tokens floats"),
        ("7  \n8\t\n\n", "7\n8", "exact tokens floats"),
        (" 7", "7", "tokens floats"),
        ("7 8", "7\n8", "tokens floats"),
        ("7\n\n8", "7\n8", "tokens floats"),
        ("7.0", "7", "floats"),
        ("+7", "7", "floats"),
        ("007", "7", "floats"),
        ("-0", "0", "floats"),
        ("0.3333333", "0.33333333333", "floats"),
        ("1e2", "100.0", "floats"),
        ("1000001.5", "1000000.5", "floats"),
        ("1.01", "1.02", ""),
        ("NaN", "nan", "floats"),
        ("-nan", "nan", "floats"),
        ("Infinity", "inf", "floats"),
        ("-inf", "inf", ""),
        ("inf", "1e400", ""),
        ("1e401", "1e400", ""),
        ("1e400", "1e400", "exact tokens floats"),
        ("inf", "1.5", ""),
        ("nan", "1.5", ""),
        ("1.5", "nan", ""),
        ("50000000000000001", "50000000000000000", ""),
        ("1_0", "10", ""),
        ("١", "1", ""),
        ("0x10", "16", ""),
        ("7 7", "7", ""),
        ("", "7", ""),
        ("YES", "yes", ""),
        ("7\0", "7", ""),
        ("7\u00a08", "7 8", ""),
        ("true 1.0", "true 1", "floats"),
    ],
)
def test_comparisons(output: str, expected: str, equal: str) -> None:
    found = [name for name, same in COMPARISONS.items() if same(output.encode(), expected.encode(), 1e-6)]
    assert found == equal.split()


def test_bytes_that_are_no_text_are_different() -> None:
    assert not any(same(b"7\xff", b"7", 1e-6) for same in COMPARISONS.values())


@pytest.mark.parametrize("output", ["0" * 10**6 + "x", "1." + "3" * 10**6, "1e" + "9" * 10**6, "-" * 10**6])
def test_long_tokens_take_no_longer_than_others(output: str) -> None:
    started = time.process_time()
    COMPARISONS["floats"](output.encode(), b"1.5", 1e-6)
    assert time.process_time() - started < 1.0


# -- extraction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("print(1)", "print(1)"),
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("A:\n```\nprint(1)\n```\nIt prints:\n```\n1\n```", "print(1)\n"),
        ("Slow:\n```python\nprint(1)\n```\nFast:\n```python\nprint(2)\n```", "print(2)\n"),
        ("```python\nf = int\nprint(f())\n```\nTry:\n```python\nprint(f(3))\n```", "f = int\nprint(f())\n"),
        ("```\ntry: 1\nexcept OSError as e: print(e)\n```\n```\nf()\n```", "try: 1\nexcept OSError as e: print(e)\n"),
        ("```python\nf = print\n```\nThen:\n```python\nf(int())\n```", "f = print\n\nf(int())\n"),
        ("```python\nf = int\nprint(f())\n```\nwhere\n```python\ndef f(): return int()\n```", "f = int\nprint(f())\n"),
        (
            "```\nimport sys\n```\n```\ndef f(): sys.exit()\n```\n```\nf()\n```",
            "import sys\n\ndef f(): sys.exit()\n\nf()\n",
        ),
        ("<out>\n```python3.12 main.py\nprint(1)\n```\n</out>", "print(1)\n"),
        ("```{.python}\nprint(1)\n```", "print(1)\n"),
        ("```cpp\nint main() { return f(); }\n```", None),
        ("```python\nprint(\n```", "print(\n"),
        ("print(", "print("),
        ("The answer is 5", None),
        ("5", None),
        ("", None),
    ],
)  # fmt: skip
def test_extraction(text: str, program: str | None) -> None:
    assert extract_program(text) == program


def test_free_text_is_no_program() -> None:
    assert extract_program("I would import numpy:\nimport numpy as\n", tagged=False) is None


# -- the verifier ------------------------------------------------------------------------------------------------------


def test_verdicts_and_their_reasons() -> None:
    answers = {
        SUM: (Status.CORRECT, 1.0, "3 tests passed"),
        "a, b = map(int, input().split())\nprint(a + b, end='  \\r\\n\\r\\n')": (Status.CORRECT, 1.0, "3 tests passed"),
        "print(7)": (
            Status.WRONG, 1 / 3, "1 of 3 tests passed; test 2: it printed '7\\n' for the input '1 1'; right is '2'"
        ),
        "input(); input()": (
            Status.WRONG, 0.0,
            "0 of 3 tests passed; test 1: it asked for more input than the test has "
            "(EOFError: EOF when reading a line)",
        ),
        f"{SUM}\nraise SystemExit(3)": (
            Status.WRONG, 0.0, "0 of 3 tests passed; test 1: it ended with exit code 3"
        ),
        "import time\nif input() != '1 1': print(10)\nelse: time.sleep(9)": (
            Status.WRONG, 1 / 3,
            "1 of 3 tests passed; test 1: it printed '10\\n' for the input '3 4\\n'; right is '7\\n'",
        ),
        "import time; time.sleep(9)": (
            Status.TIMEOUT, 0.0,
            "0 of 3 tests passed; test 1: it did not end: it slept for more than 0.5 s; 2 more did not run",
        ),
        "while True: print(1)": (
            Status.WRONG, 0.0,
            "0 of 3 tests passed; test 1: it printed too much: more than 1 MiB of output; 2 more did not run",
        ),
        "import os; os.write(1, b'7\\xff')": (
            Status.WRONG, 0.0,
            r"0 of 3 tests passed; test 1: it printed '7\\xff' for the input '3 4\n'; right is '7\n'",
        ),
        "seven": (Status.UNPARSED, 0.0, "the answer has no Python program"),
    }  # fmt: skip
    found = verdicts(program_verifier("sums", seconds=0.5), *answers)
    for verdict, (status, share, reason) in zip(found, answers.values(), strict=True):
        assert (verdict.status, verdict.metrics, verdict.reason) == (status, {"tests_passed": share}, reason)


def test_a_program_that_waits_for_missing_input_ends_quickly() -> None:
    example = Example("ask", "?", {"tests": [{"output": "1"}]})
    started = time.monotonic()
    (verdict,) = verdicts(program_verifier("ask"), "print(input('n? '))", example=example)
    assert verdict.status is Status.WRONG and "it asked for more input than the test has" in verdict.reason
    assert time.monotonic() - started < 5


def test_expected_outputs_are_out_of_reach() -> None:
    """Programs that print what they find in memory, files and descriptors find no expected output, and none passes."""
    example = Example("secret", "?", {"tests": [{"input": "", "output": SECRET}]})
    (cheats,) = (p for p in PROGRAM_PROBES if p.expect == "reject")
    answers = list(cheats.completions(Target(example, "", (), PAPER)))
    found = verify(
        program_verifier("secret", seconds=1.0),
        PAPER,
        [(example, Completion(a, finish_reason="stop")) for a in answers],
    )
    assert len(found) > 10
    for verdict in found:
        assert not verdict.correct and SECRET not in verdict.reason.split("; right is")[0]
    for answer in answers[-3:]:  # those that search
        assert SECRET not in run(extract_program(PAPER.split(Completion(answer)).answer or "") or "").stdout


# -- checkers ----------------------------------------------------------------------------------------------------------


FACTOR = Example("factor", "Print a factor.", {"tests": [{"input": "15"}, {"input": "21"}]})


def test_a_checker_decides_where_several_outputs_are_right() -> None:
    right, wrong, bad, failed = verdicts(
        program_verifier("factor", compare=is_factor),
        "n = int(input())\nprint(next(i for i in range(2, n + 1) if n % i == 0))",
        "input()\nprint(5)",
        "import os; os.write(1, b'\\xff')",
        "print(int(input()))\nraise ValueError",
        example=FACTOR,
    )
    assert right.correct and right.metrics == {"tests_passed": 1.0}
    assert (wrong.status, wrong.metrics) == (Status.WRONG, {"tests_passed": 0.5})
    assert wrong.reason.endswith("test 2: it printed '5\\n' for the input '21', which the checker rejects")
    assert bad.reason.endswith("it printed bytes that are not UTF-8")
    assert failed.status is Status.WRONG  # an exit code other than 0 needs no checker


@pytest.mark.parametrize(
    ("checker", "problem"),
    [
        (raising, "failed: ZeroDivisionError: division by zero"),
        (hanging, "gave no verdict within 0.5 s"),
        (exiting, "ended its process (exit code 0)"),
        (numeric, "it returned float, neither a Verdict nor a bool"),
    ],
)
def test_a_checker_that_fails_is_an_error(checker: Any, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_CHECKER_S", 0.5)
    (verdict,) = verdicts(program_verifier("f", compare=checker), "print(0)", example=FACTOR)
    assert verdict.status is Status.ERROR
    assert (
        verdict.reason.startswith("0 of 2 tests passed; test 1: verifier f (its checker) ")
        and problem in verdict.reason
    )


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compare": "tokenwise"}, "compare is 'tokenwise' (use exact, tokens, floats or a function)"),
        ({"compare": lambda *_: True}, "the checker cannot be sent to a worker process"),
        ({"compare": ["exact"]}, "compare is ['exact']"),
        ({"tolerance": float("nan")}, "tolerance, seconds and memory must be positive and finite"),
        ({"seconds": 0}, "tolerance, seconds and memory must be positive and finite"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KkwarmError) as raised:
        program_verifier("v", **options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "has no tests"),
        ({}, "has no tests"),
        ({"tests": []}, "has no tests"),
        ({"tests": "3 4"}, "has no tests"),
        ({"tests": ["3 4"]}, "has a test without an input as text (test 1: '3 4')"),
        ({"tests": [{"input": 3}]}, "has a test without an input as text (test 1: {'input': 3})"),
        ({"tests": [{"input": "3"}]}, "has a test without an output as text (test 1: {'input': '3'})"),
        ({"tests": [{"input": "3", "output": "\n"}]}, "has no test with an output, so a program that does"),
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_named(answer: Any, message: str) -> None:
    with pytest.raises(KkwarmError) as raised:
        verdicts(program_verifier("v"), SUM, example=Example("e/1", "?", answer))
    assert str(raised.value).startswith(f"the answer of e/1 {message}")


def test_the_code_of_a_verdict_includes_comparison_and_checker() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"compare": "exact"},
        {"seconds": 1.0},
        {"compare": is_factor},
        {"compare": raising},
    ]
    hashes = [verifier_provenance(program_verifier("v", **options), PAPER)["code"] for options in kinds]
    assert len(set(hashes)) == len(kinds)
    assert verifier_provenance(program_verifier("v"), PAPER)["code"] == hashes[0]


def test_results_are_plain_data() -> None:
    result = run("print(1)")
    assert isinstance(result, ProgramResult) and json.dumps([result.stdout, result.stderr, result.exit_code])
