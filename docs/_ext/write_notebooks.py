"""Execute the notebooks and keep what they print: `python docs/_ext/write_notebooks.py [NAME ...]`.

Figures are kept twice: as a picture, for pages that run no code, and for hovering. The picture needs kaleido and
Chrome.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def execute(path: Path, folder: Path, renderer: str) -> nbformat.NotebookNode:
    """Run the notebook *path* inside *folder* and return it with its output.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ["PLOTLY_RENDERER"] = renderer  # the kernel is a process of its own
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return notebook


def main(names: list[str]) -> None:
    """Execute all notebooks, or those named, and write them with their output."""
    import tempfile

    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder), "plotly_mimetype+png")
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day
            if cell.cell_type == "code":  # progress bars and the loading of weights are not worth keeping
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        nbformat.write(notebook, path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
