"""The cells that the paper prints, from the trained vectors, and what its printed numbers count twice."""

from collections.abc import Mapping
from decimal import Decimal

import pandas as pd

import promptscope as ps
from recipes.common.published import rounded
from recipes.prompt_geometry.distances import AVERAGE, distance_cells, reference_means, word_correlations
from recipes.prompt_geometry.neighbourhoods import SELF, closest_table, neighbourhood_table, task_counts
from recipes.prompt_geometry.settings import Settings
from recipes.prompt_geometry.vectors import Geometry

_PAIRS = {"1": 24, "2": 40, "text": 240}
"""Vectors in a group of the paper's means (Tables 1 and 2, all prompts), which count each with itself."""
_PER_TASK = 40
MATCHED = frozenset({("tokens", "vocabulary"), ("tokens", "neighbours")})
"""Cells of `text` that come out by the choice of epsilon, where that was matched to the printed number."""

Cells = dict[tuple[str, str], float]

_SHARED = ("neighbours", "vocabulary", "prompts", "same_word", "same_task", "same_position")


def paper_cells(where: Geometry, settings: Settings) -> dict[str, Cells]:
    """Return table -> (row, column) -> number, in the reading that *settings* choose.

    `text` holds the numbers of sections 3.1 and 3.2.
    """
    counts = task_counts(where, settings.table3_epsilon, settings.self_pairs)
    text: Cells = {("all prompts", AVERAGE): reference_means(where, "cosine", settings.self_pairs)["all prompts"]}
    words = word_correlations(where, 1)
    if len(words):
        once = "" if settings.self_pairs else ", each pair once"  # not the number that is printed
        column = "as_printed" if settings.self_pairs else "correlation"
        text["words", f"minimum correlation{once}"] = float(words[column].min())
    around = neighbourhood_table(where, settings.epsilon, settings.self_pairs).set_index("of")
    for of, names in (("tokens", _SHARED[:2]), ("prompt tokens", _SHARED)):
        text |= {(of, name): float(around.loc[of, name]) for name in names}
    closest = closest_table(where, settings.epsilon).set_index("of")
    text["tokens", "distance to the closest"] = float(closest.loc["tokens", "any"])
    text["tokens", "distance to the closest token"] = float(closest.loc["tokens", "vocabulary"])
    text["prompt tokens", "distance to the closest"] = float(closest.loc["prompt tokens", "any"])
    text["prompt tokens", "distance to the closest token"] = float(closest.loc["prompt tokens", "vocabulary_within"])
    text["prompt tokens", "without a token in reach"] = float(closest.loc["prompt tokens", "left_out"])
    return {
        **distance_cells(where, settings.self_pairs),
        "3": {(str(row), str(column)): float(counts.loc[row, column]) for row in counts for column in counts},
        "text": text,
    }


def data_cells(tasks: Mapping[str, ps.Task]) -> Cells:
    """Return how many examples each task has (section 2.3)."""
    return {(name, split): float(len(task.split(split))) for name, task in tasks.items() for split in ("train", "test")}


def without_counts(cells: dict[str, Cells]) -> dict[str, Cells]:
    """Return the cells without numbers of neighbours, which a grid that is too small (`saturation`) does not have."""
    text = {at: value for at, value in cells["text"].items() if at[1] not in _SHARED}
    return cells | {"3": {}, "text": text}


def counted_once(published: pd.DataFrame) -> pd.DataFrame:
    """Return the printed numbers without what they count twice, in the same columns, to compare with `fixed` counts.

    Removed are the zeros of the diagonal from means over pairs (x 24/23 in Table 1, 40/39 in Table 2), 40 self-matches
    from the diagonal of Table 3, and from neighbourhoods the vector itself and (for 10 of the 110 tokens) the second
    entry of an initial word. The lowest correlation, over all entries of a matrix, cannot be converted.
    """
    table = published.copy()
    table["published"] = [_once(*map(str, cell)) for cell in published.itertuples(index=False)]
    return table[(table["table"] != "text") | (table["row"] != "words")].reset_index(drop=True)


def _once(table: str, row: str, column: str, printed: str) -> str:
    number, decimals = Decimal(printed), max(0, -int(Decimal(printed).as_tuple().exponent))
    if column == AVERAGE:
        n = _PAIRS[table]
        number = number * n / (n - 1)
    elif table == "3" and row == column:
        number -= _PER_TASK
    elif table == "text" and column in _SHARED and (row, column) != ("prompt tokens", "vocabulary"):
        number -= Decimal(SELF) + (Decimal(10) / 110 if row == "tokens" else 0)
    return str(rounded(float(number), decimals))
