"""The results as a page of text, every sentence from the numbers."""

from __future__ import annotations

import argparse

import pandas as pd

HEAD = """# Coin flips: the causal account where the answer is known

Written by `recipes/coin_flips/run.py` (--steps {steps} --prompt-steps {prompt_steps} --seeds {seeds}). A two-layer
transformer is trained on flips of coins whose biases are uniform; prompts of 4 tokens are tuned for one coin (bias 0.8)
and for a coin that is one of two (0.2 or 0.8), where the best predictor is known in closed form. The control is a
network of the same make that was never trained, with prompts tuned in the same way.
(After Genewein et al. 2025, arXiv 2505.17010.)
"""


def results_page(table: pd.DataFrame, claims: pd.DataFrame, arguments: argparse.Namespace) -> str:
    """Return Markdown: distances from Bayes, claims, and what follows."""
    parts = [HEAD.format(**vars(arguments)), "## How far from Bayes\n", distances_table(table)]
    parts += [
        "\n".join(f"- {sentence}" for sentence in sentences(table)),
        "\n## Which claims an untrained network gets\n",
    ]
    parts += [claims_text(claims), ""]
    parts.append("\n".join(f"- {sentence}" for sentence in verdicts(claims)) + "\n")
    return "\n".join(parts)


def distances_table(table: pd.DataFrame) -> str:
    """Return the KL from the best predictor in thousandths of a nat, mean over seeds with their range."""
    lines = ["KL from the best predictor, in thousandths of a nat for each flip; mean over seeds (range).\n"]
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
    """Say what the distances come to, seed by seed."""
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
                f"{source}, {kind}: on the trained network the tuned prompt's distance from Bayes is "
                f"{(own / frozen).mean():.0%} of that without a prompt; it is nearer than the best flips "
                f"in {int((own < rows[flips]).sum())} of {len(rows)} seeds, nearer than a prompt tuned on the "
                f"untrained network in {int((own < control).sum())} of {len(rows)}."
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
    """Say which parts an untrained network fools."""
    said = []
    for source, rows in claims.groupby("source", sort=False):
        fooled = rows[rows["fooled"]]["claim"].tolist()
        own = rows[(rows["trained"] == True) & ~rows["fooled"]]["claim"].tolist()  # noqa: E712 (None is no claim)
        said.append(
            f"{source}: the untrained network fools {len(fooled)} of {len(rows)} claims"
            + (f" ({'; '.join(fooled)})" if fooled else "")
            + (f"; only the trained network gets: {'; '.join(own)}." if own else "; the trained network gets no other.")
        )
    return said
