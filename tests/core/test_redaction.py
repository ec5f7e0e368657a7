"""Keys and passwords are neither stored nor printed."""

import json
import sys
from pathlib import Path

import pytest

from kkwarm.cli import main
from kkwarm.errors import warn
from kkwarm.redaction import redact, redact_command, redact_data, remember_secret
from kkwarm.store import Run, config_hash
from kkwarm.store.run import run_hash

SECRET = "s3cr3t-Value"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"http://user:{SECRET}@host:8000/v1", "http://***@host:8000/v1"),
        (f"https://{SECRET}@host/v1?model=m", "https://***@host/v1?model=m"),
        (f"http://h/v1?api_key={SECRET}&n=2", "http://h/v1?api_key=***&n=2"),
        (f"http://h/v1?n=2&token={SECRET}", "http://h/v1?n=2&token=***"),
        (f"http://h/v1?key={SECRET}&sig={SECRET}", "http://h/v1?key=***&sig=***"),
        (f"--engine api_key={SECRET}", "--engine api_key=***"),
        (f"OPENAI_API_KEY={SECRET} kkwarm bench", "OPENAI_API_KEY=*** kkwarm bench"),
        (f'{{"api_key": "{SECRET}"}}', '{"api_key": "***"}'),
        (f"Authorization: Bearer {SECRET}", "Authorization: *** ***"),
        (f"header 'Bearer {SECRET}'", "header 'Bearer ***'"),
        ("Incorrect API key provided: sk-abcdefghijklmnop1234.", "Incorrect API key provided: ***."),
        ("hf_abcdefghijklmnopqrstuvwxyz", "***"),
    ],
)
def test_secrets_in_texts(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/v1",
        "max_tokens=128 token_ids=[1] n_tokens=3 eos_token='<|im_end|>'",
        "config.api_key: must be text, not 5",
        "token 5 is beyond the model's 4; the tokenizer: does it belong to this checkpoint?",
        "def f(key=value): return key",
        "user@example.org, owner/model@main",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert redact(text) == text


def test_data_and_commands() -> None:
    data = {"engine": {"api_key": SECRET, "max_tokens": 5, "eos_token": "</s>"}, "urls": (f"http://u:{SECRET}@h",)}
    assert redact_data(data) == {
        "engine": {"api_key": "***", "max_tokens": 5, "eos_token": "</s>"},
        "urls": ["http://***@h"],
    }
    command = [
        "kkwarm",
        "bench",
        "--api-key",
        SECRET,
        "--engine",
        f"api_key={SECRET}",
        "--max-tokens",
        "5",
        "--tokens",
        "64",
    ]
    assert redact_command(command) == [
        *("kkwarm", "bench", "--api-key", "***", "--engine", "api_key=***", "--max-tokens", "5", "--tokens", "64")
    ]


def test_a_known_key_is_removed_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    remember_secret("zebra-crossing-77")
    warn("the server says: zebra-crossing-77 is not valid")
    assert capsys.readouterr().err == "kkwarm: the server says: *** is not valid\n"
    remember_secret("none")
    assert redact("none of them") == "none of them"


def test_a_manifest_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["kkwarm", "bench", "--engine", f"api_key={SECRET}", f"--base-url=http://a:{SECRET}@h/v1"]
    )
    config = {"engine": {"api_key": SECRET}, "base_url": f"http://u:{SECRET}@h/v1", "samples": 1}
    for _ in range(2):  # and the run resumes
        with Run.open(tmp_path / "r", kind="bench", config=config, inputs={"server": f"http://u:{SECRET}@h"}) as run:
            run.record(provenance={"server": f"http://h/?api_key={SECRET}"}, labels={"password": SECRET})
    text = (tmp_path / "r" / "manifest.json").read_text()
    assert SECRET not in text
    stored = Run.read(tmp_path / "r").manifest
    assert stored.config == {"engine": {"api_key": "***"}, "base_url": "http://***@h/v1", "samples": 1}
    assert stored.config_hash == run_hash("bench", stored.config, stored.inputs)  # `kkwarm verify` agrees


def test_secrets_do_not_count_in_hashes() -> None:
    one, other = ({"engine": {"api_key": key, "dtype": "float32"}} for key in ("first-key", "second-key"))
    assert config_hash(one) == config_hash(other) != config_hash({"engine": {"dtype": "float32"}})


def test_an_error_about_a_server_names_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://me:{SECRET}@127.0.0.1:9/v1?api_key={SECRET}"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "bench",
                "m",
                "--on",
                "mini_math",
                "--backend",
                "openai",
                "--base-url",
                url,
                "--engine",
                f"api_key=x{SECRET}",
            ]
        )
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "no server responds at http://***@127.0.0.1:9/v1?api_key=***: ConnectError" in err
    assert SECRET not in err and len(err.splitlines()) == 1


def test_a_report_shows_no_secret_of_an_older_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kkwarm.types import Completion, Sample, Status, Verdict

    with Run.open(tmp_path / "r", kind="bench", config={}) as run:
        run.append([Sample("d", "1", 0, Completion("x"), Verdict(Status.WRONG))])
        run.finish()
    path = tmp_path / "r" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["environment"]["command"] = ["kkwarm", "bench", "--engine", f"api_key={SECRET}"]
    path.write_text(json.dumps(manifest))
    for options in ((), ("--json",), ("--html", str(tmp_path / "r.html"))):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(tmp_path / "r"), *options])
        assert ended.value.code == 0
        assert SECRET not in capsys.readouterr().out
    assert SECRET not in (tmp_path / "r.html").read_text()
