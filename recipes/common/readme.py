"""Tables in a recipe's README, written from the results that are kept with it.

    python recipes/common/readme.py            # writes the tables of all recipes anew
    python recipes/common/readme.py --check    # status 1 if a table is not what its file says

A table is between two comments, the first of which says what it is made of:

    <!-- from {"file": "results/smoke/findings.csv", "columns": ["claim", "verdict", "number"]} -->
    <!-- end -->

`query` (of pandas) chooses rows, `names` gives columns other headings, `digits` is the number of significant digits
(3). Of a JSON file, `keys` chooses values, `cost.seconds` for one inside another. `files` in place of `file` sets
columns of several CSV files side by side, {"seed 0": FILE, "seed 1": FILE}; rows with equal values in `by` are one.
With `"in_general": true` a last column says what the files' verdicts say together (files of several models).
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

import pandas as pd

from promptscope.errors import RunError
from recipes.common.findings import in_general

RECIPES = Path(__file__).resolve().parents[1]
KEYS = {
    "cost.calls": "calls of the command",
    "cost.cpu_seconds": "CPU seconds",
    "cost.peak_mb": "peak memory (MB)",
    "hardware.cores": "CPU cores",
    "hardware.threads": "threads",
}
BLOCK = re.compile(r"(<!-- from (\{.*?\}) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(text: str, folder: Path) -> str:
    """Return a README with all its tables as the files below *folder* say.

    Raises:
        RunError: a comment that cannot be read, a file, column or key that is not there.
    """
    return BLOCK.sub(lambda found: found[1] + _table(found[2], folder) + found[4], text)


def without_tables(text: str) -> str:
    """Return the text without its generated tables."""
    return BLOCK.sub("", text)


def _table(wanted: str, folder: Path) -> str:
    try:
        spec = json.loads(wanted)
        rows = _rows(spec, folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"{folder.name}/README.md: {wanted} cannot be written ({reason})") from error
    names = spec.get("names", {})
    head = [names.get(column, column) for column in rows.columns]
    digits = spec.get("digits", 3)
    lines = [[_cell(value, digits) for value in row] for row in rows.itertuples(index=False)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *lines))


def _rows(spec: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    if "files" in spec:
        return _side_by_side(spec, folder)
    path = folder / spec["file"]
    return _of_json(path, spec["keys"]) if path.suffix == ".json" else _of_csv(path, spec)[spec["columns"]]


def _of_csv(path: Path, spec: Mapping[str, Any]) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"table": str})
    return table.query(spec["query"]) if "query" in spec else table


def _side_by_side(spec: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    columns, by, files = spec["columns"], spec["by"], spec["files"]
    parts = []
    for name, file in files.items():
        part = _of_csv(folder / file, spec).set_index(by)[columns]
        if part.index.has_duplicates:
            raise ValueError(f"{file}: {part.index[part.index.duplicated()][0]} names more than one row")
        parts.append(
            part.rename(columns={column: f"{spec.get('names', {}).get(column, column)}, {name}" for column in columns})
        )
    beside = pd.concat(parts, axis=1)
    if spec.get("in_general"):
        verdicts = pd.concat([_of_csv(folder / file, spec).set_index(by)["verdict"] for file in files.values()], axis=1)
        beside["in general"] = [in_general(row.fillna("not measured")) for _, row in verdicts.iterrows()]
    return beside.reset_index()


def _of_json(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    values = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for key in keys:
        value = values
        for part in key.split("."):
            value = value[part]
        rows.append((KEYS.get(key, key), json.dumps(value) if isinstance(value, list | dict) else value))
    return pd.DataFrame(rows, columns=["", "value"], dtype=object)


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        text = f"{value:.{digits}g}"
        return f"{float(text):,.0f}" if 1e3 <= abs(float(text)) < 1e6 else text  # 5,220 and not 5.22e+03
    return str(value).replace("|", "\\|")


def main(options: Sequence[str] | None = None) -> int:
    """Write or check all READMEs; return 0 if every table is what its file says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args(options)
    wrong = []
    for path in sorted(RECIPES.glob("*/README.md")):
        text = path.read_text(encoding="utf-8")
        try:
            new = written(text, path.parent)
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if new != text:
            wrong.append(path)
            if not arguments.check:
                path.write_text(new, encoding="utf-8")
    for path in wrong:
        print(f"{path}: {'other numbers than its files' if arguments.check else 'written anew'}")
    return 1 if wrong and arguments.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
