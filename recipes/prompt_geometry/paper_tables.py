"""The cells that the paper prints, from the trained vectors."""

from collections.abc import Mapping

import promptscope as ps
from recipes.prompt_geometry.distances import AVERAGE, distance_cells, reference_means, word_correlations
from recipes.prompt_geometry.neighbourhoods import closest_table, neighbourhood_table, task_counts
from recipes.prompt_geometry.settings import Settings
from recipes.prompt_geometry.vectors import Geometry

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
        column = "as_printed" if settings.self_pairs else "correlation"
        text["words", "minimum correlation"] = float(words[column].min())
    around = neighbourhood_table(where, settings.epsilon, settings.self_pairs).set_index("of")
    for of, names in (("random tokens", _SHARED[:2]), ("prompt tokens", _SHARED)):
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
