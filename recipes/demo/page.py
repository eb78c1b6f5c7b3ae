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
        f"Two kinds of soft prompts of {settings['length']} positions, trained on {len(settings['tasks'])} tasks in "
        f"English and Korean on the frozen {model.shape.n_layers}-layer model {model.name}, compared with their "
        "nulls. v1 is input-level (embeddings before the text), v2 deep (keys and values in every layer); a "
        "random prompt has the norms of the trained one's vectors and random directions.",
    )
    for finding in headline(shown):
        page.number(finding.label, finding.value, finding.detail)
    page.section("What it shows").bullets(*(finding.sentence for finding in shown))
    page.section("Scores on held-out inputs").figure(score_bars(scores))
    page.table(
        _side_by_side(scores),
        "Accuracy with Wilson 95 % intervals. Right means: what the model writes is the reference to the letter ("
        "where a task has classes: the right one's name scores best).",
    )
    page.section("Where prompts move attention").text(
        "Attention KL compares, for each head, how much attention every text token receives with and without the "
        "prompt (softmax over tokens; nats). A random prompt moves attention too: only the difference is learnt."
    )
    page.figure(kl_along_layers(probed), "Mean over heads; lines: 95 % intervals over inputs.").figure(heatmap(kl))
    page.section("Heads that look at content").text(
        "Attention variability says how much a head of the frozen model looks at content rather than position."
    )
    page.figure(heatmap(variability)).figure(attention_against_variability(heads))
    page.section("Training").figure(learning_curves(histories))
    page.section("What it does not show").bullets(
        "The frozen model has read the facts that are asked for. Held out are countries that no prompt was trained on: "
        "a right answer there says that the prompt selects what to say, not that it brings knowledge.",
        "One small model and one seed.",
        "The intervals are over inputs; another seed of the prompt may give other heads.",
        "Attention KL takes a softmax over sums, so long inputs weigh more, and it says where attention changes, not "
        "that the change causes the answer.",
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
