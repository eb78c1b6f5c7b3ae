"""The notebooks of the site run from top to bottom, and keep what they printed."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
_spec = importlib.util.spec_from_file_location("write_notebooks", DOCS / "_ext" / "write_notebooks.py")
assert _spec is not None and _spec.loader is not None
write_notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write_notebooks)


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 5


QUICK = ("look-inside-one-prompt",)  # a kernel of its own takes each as long as fifty tests


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow, id=path.stem) for path in NOTEBOOKS],
)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    """With fewer steps: whether it runs, not what is learned."""
    notebook = nbformat.read(path, as_version=4)
    text = "".join(cell.source for cell in notebook.cells)
    assert "STEPS = 150" in text and 'MODEL = "embedded-causal"' in text
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace("STEPS = 150", "STEPS = 25").replace("limit=60", "limit=8")
            cell.source = cell.source.replace("limit=40", "limit=8").replace("limit=32", "limit=8")
    short = tmp_path / path.name
    nbformat.write(notebook, short)
    write_notebooks.execute(short, tmp_path, "plotly_mimetype")


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem not in QUICK], ids=lambda path: path.stem)
def test_the_code_of_the_others_runs_without_a_kernel(path: Path, tmp_path: Path, monkeypatch) -> None:
    """With hardly any steps, in this process: every line of every notebook runs."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            source = cell.source.replace("STEPS = 150", "STEPS = 4")
            for limit in (60, 40, 32):
                source = source.replace(f"limit={limit}", "limit=4")
            exec(compile(source, path.name, "exec"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_output_is_kept(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures, "execute it with docs/_ext/write_notebooks.py"
    assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_fits_a_window_800_pixels_wide(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not [line for cell in cells for line in cell.source.splitlines() if len(line) > 100]
