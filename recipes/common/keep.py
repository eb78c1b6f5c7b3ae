"""Keep a run's results in the repository: its tables and settings, no weights, no pages.

    python recipes/common/keep.py OUT recipes/NAME/results/PRESET

Afterwards `python recipes/common/readme.py` writes the READMEs' tables anew.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from promptscope.errors import RunError

MAX_BYTES = 5_000_000
"""Of all that is kept of a recipe."""
SUFFIXES = (".csv", ".json")


def keep(out: Path, folder: Path) -> list[Path]:
    """Copy the tables and JSON files directly in *out* (not in its subfolders) to *folder*, whose files they replace.

    Raises:
        RunError: *out* is not finished, or the recipe would keep more than 5 MB.
    """
    if not (out / "results.json").is_file():
        raise RunError(
            f"{out} has no results.json, so the recipe has not finished there: run it "
            "again, it continues where it stopped"
        )
    files = sorted(path for path in out.iterdir() if path.suffix in SUFFIXES)
    others = sum(path.stat().st_size for path in kept_files(folder.parent) if folder not in path.parents)
    size = others + sum(path.stat().st_size for path in files)
    if size > MAX_BYTES:
        raise RunError(
            f"{folder.parent} would hold {size:,} bytes, and at most {MAX_BYTES:,} are "
            "kept for each recipe: remove the results of another preset first"
        )
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return [Path(shutil.copy(path, folder / path.name)) for path in files]


def kept_files(results: Path) -> list[Path]:
    """Return all files below a recipe's `results`."""
    return sorted(path for path in results.rglob("*") if path.is_file())


def main(options: Sequence[str] | None = None) -> int:
    """Keep one results folder; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("folder", type=Path, help="recipes/NAME/results/PRESET")
    arguments = parser.parse_args(options)
    try:
        kept = keep(arguments.out, arguments.folder)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(kept)} files in {arguments.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
