"""The Python of each page in docs/ runs and prints what the page shows, and so do its lines for the shell."""

import doctest
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from promptscope.cli import app

DOCS = Path(__file__).resolve().parents[1] / "docs"
GENERATED = ("_build", "api", "source")
TEXTS = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if path.relative_to(DOCS).parts[0] not in GENERATED
}
# A block of Python, and what it prints where the page shows it: the block of text that follows.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", flags=re.DOTALL | re.MULTILINE)
BLOCKS = {name: BLOCK.findall(text) for name, text in TEXTS.items()}


def test_the_pages_are_found() -> None:
    assert "start/first-prompt.md" in TEXTS
    assert sum(map(len, BLOCKS.values())) > 15


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # raised inside PEFT
@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks])
def test_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(page)


@pytest.mark.parametrize("page", list(TEXTS))
def test_code_fits_a_window_800_pixels_wide(page: str) -> None:
    """The site shows 100 signs there; lines for the shell and output are wrapped, but not at a good place."""
    fenced = re.findall(r"^```(?:python|py|bash|console)\n(.*?)^```", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    assert not [line for block in fenced for line in block.splitlines() if len(line) > 100]


def run_python(page: str) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for i, (block, shown) in enumerate(BLOCKS[page]):
        short = block.replace("steps=60", "steps=12")  # that it runs, not how well it learns
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(short, f"{page}, block {i}", "exec"), names)
        if shown:
            assert same(printed.getvalue(), shown), (page, i, printed.getvalue())


def same(printed: str, shown: str) -> bool:
    """Compare words and layout; numbers differ with the steps and the processor, and `...` is anything."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    want, got = (re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "0", text) for text in (shown, printed))
    return doctest.OutputChecker().check_output(want, got, flags)


def test_shown_output_is_compared() -> None:
    assert same("loss 0.25 ['Rome']\n", "loss 0.31 ['Rome']\n")
    assert not same("loss 0.25 ['Rome']\n", "loss 0.25 ['Oslo']\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["start/first-prompt.md", "start/own-data.md"])
def test_shell_lines_run_after_the_python(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(page)
    lines = re.findall(r"^promptscope (.*)$", TEXTS[page].replace("\\\n", " "), flags=re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["train", "eval"]
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line))
        assert done.exit_code == 0, (line, done.stderr)
