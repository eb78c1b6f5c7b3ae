"""The results as a page of text, every sentence from the numbers."""

from __future__ import annotations

import argparse

import pandas as pd

HEAD = """# Coin flips: the causal account where the answer is known

How good is a tuned prompt, compared with the best that there is? For coin flips that is known in closed form. A
two-layer transformer is trained to predict flips of coins whose biases are uniform on [0, 1]. Prompts of 4 tokens are
then tuned for one coin (bias 0.8), and for a coin that is one of two (bias 0.2 or 0.8). After Genewein et al. 2025
(arXiv 2505.17010).

The control is a network of the same architecture that was never trained, with prompts tuned in the same way: what a
causal account (`ps.explain`) says of it too is no evidence of what a network has learnt.

This page is written by `recipes/coin_flips/run.py --steps {steps} --prompt-steps {prompt_steps} --seeds {seeds}`, every
sentence by a rule. [The recipe](../../recipes/coin_flips/README.md) says more.
"""


def results_page(table: pd.DataFrame, claims: pd.DataFrame, arguments: argparse.Namespace) -> str:
    """Return Markdown: distances from Bayes, claims, and what follows."""
    parts = [HEAD.format(**vars(arguments)), "## How far from the best predictor\n", distances_table(table)]
    parts += [
        "\n".join(f"- {sentence}" for sentence in sentences(table)),
        "\n## Which claims also hold for an untrained network\n",
    ]
    parts += [claims_text(claims), ""]
    parts.append("\n".join(f"- {sentence}" for sentence in verdicts(claims)) + "\n")
    return "\n".join(parts)


def distances_table(table: pd.DataFrame) -> str:
    """Return the KL from the best predictor in thousandths of a nat, mean over seeds with their range."""
    lines = [
        "KL from the best predictor, in thousandths of a nat for each flip; mean over seeds (range). *Bayes of the*"
    ]
    lines += ["*training flips* is Laplace's rule, the best predictor where every bias is equally likely.\n"]
    sources = list(dict.fromkeys(table["source"]))
    lines += [f"| condition | {' | '.join(sources)} |", f"|---|{'---|' * len(sources)}"]
    for condition in dict.fromkeys(table["condition"]):
        cells = []
        for source in sources:
            kl = 1000 * table[(table["condition"] == condition) & (table["source"] == source)]["kl"]
            cells.append(f"{kl.mean():.1f} ({kl.min():.1f} to {kl.max():.1f})")
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sentences(table: pd.DataFrame) -> list[str]:
    """Return sentences on the distances, seed by seed."""
    said = []
    wide = table.pivot_table(index=["source", "seed"], columns="condition", values="kl", sort=False)
    for source, rows in wide.groupby("source", sort=False):
        flips = next(name for name in rows if str(name).startswith("trained") and "flips" in str(name))
        for kind in ("v1", "v2"):
            own, control = (
                rows[f"trained network, tuned {kind} prompt"],
                rows[f"untrained network, tuned {kind} prompt"],
            )
            frozen = rows["trained network, no prompt"]
            said.append(
                f"{source}, {kind}: on the trained network the KL with the tuned prompt is {(own / frozen).mean():.0%} "
                f"of that without a prompt; it is smaller than with the best flips in {int((own < rows[flips]).sum())} "
                f"of {len(rows)} seeds, and smaller than that of a prompt tuned on the untrained network in "
                f"{int((own < control).sum())} of {len(rows)}."
            )
    return said


def claims_text(claims: pd.DataFrame) -> str:
    """Return the claims as a table."""
    lines = ["| source | claim | trained network | untrained network |", "|---|---|---|---|"]
    word = {True: "yes", False: "no", None: "undefined"}
    for row in claims.itertuples():
        cells = [
            f"{word[holds]} ({value:.2f})" if holds is not None else "undefined"
            for holds, value in ((row.trained, row.trained_value), (row.untrained, row.untrained_value))
        ]
        lines.append(f"| {row.source} | {row.claim} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def verdicts(claims: pd.DataFrame) -> list[str]:
    """Say which claims hold for an untrained network as well, and so show nothing about training."""
    said = []
    for source, rows in claims.groupby("source", sort=False):
        fooled = rows[rows["fooled"]]["claim"].tolist()
        own = rows[(rows["trained"] == True) & ~rows["fooled"]]["claim"].tolist()  # noqa: E712 (None is no claim)
        said.append(
            f"{source}: {len(fooled)} of {len(rows)} claims hold for the untrained network as well"
            + (f" ({'; '.join(fooled)})" if fooled else "")
            + (f"; only for the trained network: {'; '.join(own)}." if own else "; no other holds for the trained one.")
        )
    return said
