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

TITLE = "What prompt tuning v1 and v2 change inside a language model"
_COLUMNS = ["row", "column", "published", "computed", "difference"]


def write_page(
    results: Results, model: str, observations: pd.DataFrame, means: pd.DataFrame, groups: str, notes: list[str]
) -> None:
    """Write `report.html` from what *results* holds."""
    held = observations["verdict"].value_counts()
    lead = (
        f"Attention and neurons of {Path(model).name}, with and without trained prompts, beside the published "
        "numbers, which are of mGPT 1.3B trained on whole data sets. Differences of scores are of models and data, not "
        "only of method."
    )
    page = ps.Report(TITLE, lead)
    for verdict in ("holds", "undecided", "does not hold", "not measured"):
        page.number(verdict, str(int(held.get(verdict, 0))), f"of {len(observations)} observations of the paper")
    page.section("Observations").text(
        "Each number is above zero where the claim is right. On these tasks: by the 95 % interval over inputs, which "
        "is shown. On others: by the interval over tasks. holds, does not hold: the whole interval lies above zero, or "
        "below; undecided: it reaches over, or there is none."
    )
    page.table(_verdicts(observations))
    page.bullets(*map(_meaning, range(1, len(observations) + 1), observations.to_dict("records")))
    if notes:
        page.section("Left out").bullets(*notes)
    page.section("Scores").text(
        "Percent, first metric of each task, mean over seeds. frozen: no prompt; random: random prompts of the norms "
        "of the trained ones; all layers is v2."
    )
    page.table(means.reset_index(), formats={name: ".1f" for name in means.columns})
    for table, frame in results.comparisons.items():
        page.section("Numbers in the text" if table == "text" else f"Table {table}")
        if table == "2":
            page.text(f"Deep prompts in groups of layers: {groups}.")
        absent = int((frame["status"] == "absent").sum())
        caption = f"{absent} more published numbers are of tasks or prompts that this run does not have."
        if absent < len(frame):
            page.table(frame.loc[frame["status"] != "absent", _COLUMNS], caption if absent else "")
        else:
            page.text(f"None of the {absent} published numbers is of a task or a prompt that this run has.")
    for name, figure in results.figures.items():
        _figure(page, name, figure, results.tables["figure_5_turns"] if name == "figure_5" else None)
    page.provenance({"recipe": {"name": results.recipe}, "settings": results.settings})
    page.write(results.folder / "report.html")


def _verdicts(observations: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "": range(1, len(observations) + 1),
            "claim": observations["claim"],
            "on these tasks": observations["verdict"],
            "on others": observations["other_tasks"],
            "number [95 %]": [
                _with_interval(*numbers) for numbers in observations[["number", "low", "high"]].itertuples(index=False)
            ],
        }
    )


def _with_interval(number: float, low: float, high: float) -> str:
    interval = f" [{low:.2g}, {high:.2g}]" if np.isfinite([low, high]).all() else ""
    return "" if np.isnan(number) else f"{number:.2g}{interval}"


def _interval(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}" if np.isfinite([low, high]).all() else ""


def _meaning(number: int, observation: dict[Hashable, Any]) -> str:
    over_tasks = _interval(observation["tasks_low"], observation["tasks_high"])
    parts = [f"{number} (section {observation['section']}): {observation['meaning']}"]
    parts += [f"over tasks {over_tasks}"] if over_tasks else []
    parts += [f"p = {observation['p_value']:.2g}"] if np.isfinite(observation["p_value"]) else []
    return "; ".join(parts) + "."


def _figure(page: ps.Report, name: str, figure: go.Figure, turns: pd.DataFrame | None) -> None:
    page.section(TITLES.get(name, name.replace("_", " ").capitalize())).text(CAPTIONS[name]).figure(figure)
    if turns is not None:
        page.table(turns, "Layers where the curves turn; the published ones are of a model with 24 layers.")
