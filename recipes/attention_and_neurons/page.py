"""The report: what the paper says, what came out, every table and figure in the paper's order."""

import pandas as pd
import plotly.graph_objects as go

import promptscope as ps
from recipes.attention_and_neurons.figures import CAPTIONS
from recipes.common import Results

TITLE = "What prompt tuning v1 and v2 change inside a language model"
_COLUMNS = ["row", "column", "published", "computed", "difference"]


def write_page(
    results: Results, model: str, observations: pd.DataFrame, means: pd.DataFrame, groups: str, notes: list[str]
) -> None:
    """Write `report.html` from what *results* holds."""
    held = observations["verdict"].value_counts()
    lead = (
        f"Attention and neurons of {model}, with and without trained prompts, beside the published numbers, which are "
        "of mGPT 1.3B trained on whole data sets. Differences of scores are of models and data, not only of method."
    )
    page = ps.Report(TITLE, lead)
    for verdict in ("holds", "undecided", "does not hold", "not measured"):
        page.number(verdict, str(int(held.get(verdict, 0))), f"of {len(observations)} observations of the paper")
    page.section("Observations").text(
        "Each number is above zero where the claim is right. verdict: by the 95 % interval over inputs (low, high), "
        "the tasks as they are. other_tasks: by the interval over tasks, would other tasks say the same? holds: the "
        "whole interval lies above zero; undecided: it reaches over, or there is none."
    )
    page.table(observations)
    if notes:
        page.section("Left out").bullets(*notes)
    page.section("Scores").text(
        "Percent, first metric of each task, mean over seeds. frozen: no prompt; random: random prompts of the norms "
        "of the trained ones; all layers is v2."
    )
    page.table(means.reset_index(), formats={name: ".1f" for name in means.columns})
    page.table(results.summary(), "Cells of the published tables that this run has.")
    for table, frame in results.comparisons.items():
        page.section(f"Table {table}")
        if table == "2":
            page.text(f"Deep prompts in groups of layers. {groups}.")
        page.table(frame[_COLUMNS])
    for name, figure in results.figures.items():
        _figure(page, name, figure, results.tables["figure_5_turns"] if name == "figure_5" else None)
    page.provenance({"recipe": {"name": results.recipe}, "settings": results.settings})
    page.write(results.folder / "report.html")


def _figure(page: ps.Report, name: str, figure: go.Figure, turns: pd.DataFrame | None) -> None:
    page.section(name.replace("_", " ").capitalize()).text(CAPTIONS[name]).figure(figure)
    if turns is not None:
        page.table(turns, "Layers where the curves turn; the published ones are of a model with 24 layers.")
