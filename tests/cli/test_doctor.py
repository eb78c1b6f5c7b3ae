"""`promptscope doctor` and `--version`."""

import json
from importlib.metadata import version

import pytest

import promptscope as ps
from tests.cli.conftest import run_command


def test_everything_works_here() -> None:
    result = run_command("doctor", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["versions"]["torch"] == version("torch")
    assert found["self-test"] == dict.fromkeys(("embedded-causal", "embedded-seq2seq", "embedded-masked-0"), "passed")


def test_a_failed_self_test_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptscope.cli.doctor._machine", dict)

    def broken(name: str) -> None:
        raise ps.ModelError(f"{name} is broken")

    monkeypatch.setattr(ps, "load_model", broken)
    result = run_command("doctor")
    assert result.exit_code == 1
    assert "ModelError: embedded-causal is broken" in result.output


def test_version() -> None:
    result = run_command("--version")
    assert (result.exit_code, result.output.strip()) == (0, version("promptscope"))
