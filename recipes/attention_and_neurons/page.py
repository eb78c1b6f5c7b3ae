"""The report: what the paper says, what came out, every table and figure in the paper's order."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

import promptscope as ps
from recipes.attention_and_neurons.figures import CAPTIONS, TITLES
from recipes.common import Results
from recipes.common.findings import tally
from recipes.common.verdicts import ROUNDING

TITLE = "What prompt tuning v1 and v2 change inside a language model"
_COLUMNS = ["row", "column", "published", "computed", "difference"]


def write_page(
    results: Results, model: str, observations: pd.DataFrame, means: pd.DataFrame, groups: str, notes: list[str]
) -> None:
    """Write `report.html` from what *results* holds."""
    over = observations[observations["where"].str.match("over|all tasks")]
    held = tally(over)
    lead = (
        f"Attention and neurons of {Path(model).name}, with and without trained prompts, compared "
        "with the published numbers. Those are of mGPT 1.3B with prompts trained on whole data sets, "
        "so that scores differ because of model and data, too."
    )
    page = ps.Report(TITLE, lead)
    for verdict in ("holds", "undecided", "does not hold", "not measured"):
        page.number(verdict, str(held[verdict]), f"of {len(over)} claims, over tasks")
    page.section("Observations").text(
        "Each claim is a number that is above zero if the claim is right: for each task with a 95 % "
        "interval over inputs, and over tasks with Student's t interval. For claims about training, "
        "null is the same number for random prompts of the same norms, beyond the paired difference "
        "to it, and size = beyond / |null|. holds: all intervals are above zero; does not hold: one "
        "is below zero; undecided: one includes zero, or there is none."
    )
    page.table(_verdicts(observations))
    page.bullets(*map(_meaning, over.to_dict("records")))
    if notes:
        page.section("Left out").bullets(*notes)
    page.section("Scores").text(
        "Percent, first metric of each task, mean over seeds. frozen: without a prompt; random: "
        "random prompts of the same norms as the trained ones; v2: a deep prompt in all layers."
    )
    written = results.tables["mean_scores_generated"]
    for table, caption in (
        (
            means.reset_index(),
            (
                "The answer is the most likely label; in tasks without labels, generated "
                "text. Observation 7 uses these scores."
            ),
        ),
        (
            written,
            (
                "The answer is generated text, and counts as right only if it is the right label's "
                "word. Tables 2 and 7 use these scores."
            ),
        ),
    ):
        page.table(table, caption, formats={name: ".1f" for name in means.columns})
    for table, frame in results.comparisons.items():
        page.section("Numbers in the text" if table == "text" else f"Table {table}")
        if table == "2":
            page.text(f"Deep prompts in groups of layers: {groups}.")
        absent = int((frame["status"] == "absent").sum())
        caption = (
            f"{absent} more published numbers are not compared: they are of tasks or prompts "
            "that this run does not have."
        )
        if absent < len(frame):
            page.table(frame.loc[frame["status"] != "absent", _COLUMNS], caption if absent else "")
        else:
            page.text(f"None of the {absent} published numbers is of a task or a prompt that this run has.")
    for name, figure in results.figures.items():
        _figure(page, name, figure, results.tables["figure_5_turns"] if name == "figure_5" else None)
    page.provenance({"recipe": {"name": results.recipe}, "settings": results.settings})
    page.write(results.folder / "report.html")


def _verdicts(observations: pd.DataFrame) -> pd.DataFrame:
    numbers = {
        "number [95 %]": ["number", "low", "high"],
        "beyond [95 %]": ["beyond", "beyond_low", "beyond_high"],
    }
    cells = {
        name: [_with_interval(*row) for row in observations[columns].itertuples(index=False)]
        for name, columns in numbers.items()
    }
    return pd.DataFrame(
        {
            "claim": observations["claim"].where(~observations["claim"].duplicated(), ""),
            "where": observations["where"],
            "verdict": observations["verdict"],
            "number [95 %]": cells["number [95 %]"],
            "random": observations["null"].map(lambda null: "" if np.isnan(null) else _short(null)),
            "beyond [95 %]": cells["beyond [95 %]"],
            "size": observations["size"].map(lambda size: "" if np.isnan(size) else _short(size)),
        }
    )


def _with_interval(number: float, low: float, high: float) -> str:
    interval = f" [{_short(low)}, {_short(high)}]" if np.isfinite([low, high]).all() else ""
    return "" if np.isnan(number) else f"{_short(number)}{interval}"


def _short(number: float) -> str:
    """Write two digits; a difference that is zero up to rounding errors is written as 0."""
    return f"{number if abs(number) > ROUNDING else 0.0:.2g}"


def _meaning(finding: dict[Hashable, Any]) -> str:
    p = f"; p = {finding['p_value']:.2g}" if np.isfinite(finding["p_value"]) else ""
    return f"{finding['claim']} (section {finding['section']}): {finding['meaning']}{p}."


def _figure(page: ps.Report, name: str, figure: go.Figure, turns: pd.DataFrame | None) -> None:
    page.section(TITLES.get(name, name.replace("_", " ").capitalize())).text(CAPTIONS[name]).figure(figure)
    if turns is not None:
        page.table(
            turns,
            "Layers at which the curves have peaks and troughs; the published ones are of a model with 24 layers.",
        )
