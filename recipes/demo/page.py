"""The demo's report."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from figures import attention_against_variability, kl_along_layers, score_bars
from findings import Finding, headline

import promptscope as ps
from promptscope.plots import heatmap
from promptscope.report import learning_curves


def make_page(
    model: ps.HookedModel,
    settings: Mapping[str, Any],
    shown: Sequence[Finding],
    scores: pd.DataFrame,
    probed: Mapping[str, Mapping[str, ps.ProbeResult]],
    kl: ps.ProbeResult,
    variability: ps.ProbeResult,
    heads: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
) -> ps.Report:
    """Return the page: first what it shows, then the figures and tables that show it."""
    page = ps.Report(
        "What soft prompts do inside a small language model",
        f"Two kinds of soft prompts of {settings['length']} positions, trained on "
        f"{len(settings['tasks'])} tasks in English and Korean on the frozen "
        f"{model.shape.n_layers}-layer model {model.name}, compared with the frozen model and with "
        "random prompts. v1 is an input-level prompt (embeddings before the text), v2 a deep one "
        "(keys and values in every layer); a random prompt has vectors with the norms of the trained "
        "one's and random directions.",
    )
    for finding in headline(shown):
        page.number(finding.label, finding.value, finding.detail)
    page.section("What it shows").bullets(*(finding.sentence for finding in shown))
    page.section("Scores on held-out inputs").figure(score_bars(scores))
    page.table(
        _side_by_side(scores),
        "Accuracy with Wilson 95 % intervals. An answer is right if the generated text equals the "
        "reference exactly; in tasks with classes, if the right class has the highest score.",
    )
    page.section("Where prompts change attention").text(
        "Attention KL compares, for each head, how much attention every text token receives with and "
        "without the prompt (softmax over tokens; nats). A random prompt changes attention as well: "
        "only the difference between the two comes from training."
    )
    page.figure(kl_along_layers(probed), "Mean over heads; lines: 95 % intervals over inputs.").figure(heatmap(kl))
    page.section("Heads whose attention depends on content").text(
        "Attention variability, in [0, 1], measures how much a head's attention in the frozen model "
        "depends on the content of the text rather than on positions."
    )
    page.figure(heatmap(variability)).figure(attention_against_variability(heads))
    page.section("Training").figure(learning_curves(histories))
    page.section("What it does not show").bullets(
        "The facts that are asked for were in the frozen model's training data. The held-out "
        "countries are those that no prompt was trained on: a right answer there shows that the "
        "prompt selects what is answered, not that it adds knowledge.",
        "One small model and one seed.",
        "The intervals are over inputs; another seed of the prompt may give other heads.",
        "Attention KL takes a softmax over sums, so long inputs weigh more, and it shows where "
        "attention changes, not that the change causes the answer.",
    )
    page.provenance({"settings": settings})
    for name, results in probed.items():
        page.provenance({f"probes, {name}": results["attention_kl"].provenance})
    return page


def _side_by_side(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task and one column per condition: accuracy and its interval."""
    bounds = zip(scores["accuracy"], scores["low"], scores["high"], strict=True)
    cells = scores.assign(cell=[f"{value:.3f} ({low:.2f}–{high:.2f})" for value, low, high in bounds])
    order = {column: cells[column].unique() for column in ("task", "condition")}
    wide = cells.pivot_table(index=["task", "n"], columns="condition", values="cell", aggfunc="first")
    return wide.reindex(order["task"], level="task")[order["condition"]].reset_index()
