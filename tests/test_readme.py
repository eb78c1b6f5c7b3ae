"""The README's Python runs, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from promptscope.cli import app

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert "steps=200" in block  # two steps here: that it runs, not how well it learns
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block.replace("steps=200", "steps=2"), "README.md", "exec"), names)
    table = names["kl"].to_dataframe()  # type: ignore[attr-defined]
    assert set(table["prompt"]) == {"v2", "random"}
    assert {"layer", "head", "value", "low", "high"} <= set(table)

    # "The same from the shell" is the same run: in the same folder the first line finds the finished one.
    lines = re.findall(r"^promptscope (.*)$", TEXT.replace("\\\n", " "), flags=re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["train", "eval", "probe", "report"]
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line.replace("--steps 200", "--steps 2")))
        assert done.exit_code == 0, (line, done.stderr)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target
