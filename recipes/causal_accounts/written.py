"""The findings as a page; every sentence is computed from the kept tables.

    python recipes/causal_accounts/written.py recipes/causal_accounts/results/NAME docs/findings/accounts-NAME.md

Verdicts compare intervals with nulls; nothing is said that the tables do not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

import numpy as np
import pandas as pd

from promptscope.files import write_text
from recipes.causal_accounts.permuted import same_task_test

HEAD = """# Causal accounts: {model}

What do tuned prompts have in common? Here `ps.explain` made a causal account of prompts of {length} tokens for
{tasks}. Two kinds: v1 (trained embeddings) and v2 (trained keys and values in
every layer). Each was trained for {steps} steps of {train_batch} records. Effects are measured over {limit} inputs
({few} where many variants of a run are needed); heads are ranked by {how}.

The *effect* of a prompt is the log-probability of the right answer with it less that without it, in nats. A *share* of
the effect is what an intervention keeps of it: 1 is all, 0 is nothing.

**{finished} of {planned} prompts are measured here**{cut}.{note}

This page is written from the tables in `recipes/causal_accounts/results/{preset}`, every sentence by a rule
(`recipes/causal_accounts/written.py`). [The recipe](../../recipes/causal_accounts/README.md) says how each question is
measured.
"""

NAMES = {"embedded": "the embedded GPT-2", "gemma3-270m": "Gemma 3 270M", "smollm2-135m": "SmolLM2-135M"}

LIMITS = """## What this does not show

- One model. All accounts of a task use the same inputs: seeds repeat the training, not the choice of inputs.
- Brackets after a mean over seeds give its range and are no interval. The 95 % intervals that verdicts use are over the
  inputs of one prompt; they are not corrected for the number of prompts, layers and heads.
- "By chance" (hypergeometric) takes all heads as equally likely. Heads that matter for every prompt overlap more often
  than that; this is why prompts of different tasks are compared as well.
"""


def findings_page(folder: Path) -> str:
    """Return the page of a results folder, as Markdown."""
    about = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    tables = {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}
    settings, finished, planned = about["settings"], about["finished"], about["planned"]
    head = HEAD.format(
        **settings | {"tasks": _listed(settings["tasks"])}, model=NAMES.get(folder.name, about["model"]),
        how="exact patching" if settings["exact"] else "attribution patching (a first-order estimate)",
        preset=folder.name, finished=finished, planned=planned, note=f" {about['note']}" if about.get("note") else "",
        cut="" if finished == planned else ": the rest was not run, so nothing here is general",
    )  # fmt: skip
    sections = [
        ("What the prompts gain", said_of_effects(tables["effects"])),
        ("Is a tuned prompt one direction?", said_of_directions(tables["directions"], len(tables["effects"]))),
        ("Do prompts act through the same heads?", said_of_heads(tables["overlaps"], tables["effects"])),
        ("Do prompts act through the heads that words use?", said_of_words(tables["words"])),
        ("Do keys route and values store?", said_of_swaps(tables["swaps"])),
    ]
    parts = [head]
    for title, (sentences, table) in sections:
        parts.append(f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences) + "\n")
        if table is not None:
            parts.append(markdown(table))
    return "\n".join([*parts, LIMITS])


Said = tuple[list[str], pd.DataFrame | None]


def said_of_effects(effects: pd.DataFrame) -> Said:
    """Say how many prompts favour the right answer, and how many do so more than random prompts of their norms."""
    said = []
    for kind, rows in effects.groupby("kind"):
        said.append(
            f"{kind}: {int((rows['effect_low'] > 0).sum())} of {len(rows)} prompts raise the log-probability of the "
            f"right answer (interval above zero), on average by {rows['effect'].mean():.1f} nats; "
            f"{int((rows['beyond_random_low'] > 0).sum())} of {len(rows)} give a higher one than random prompts of the "
            f"same norms, on average by {rows['beyond_random'].mean():.1f} nats."
        )
    return said, _by_task(effects, {"effect": "effect (nats)", "beyond_random": "more than random prompts (nats)",
                                    "heads_for_80": "heads that carry 80 %"})  # fmt: skip


def said_of_directions(directions: pd.DataFrame, n_all: int) -> Said:
    """Whether one direction recovers the effect on held-out inputs, against its three nulls."""
    said = []
    nulls = [name for name in ("random_prompt", "random_direction", "another_task's_prompt") if name in directions]
    for kind, rows in directions.groupby("kind") if len(directions) else []:
        mostly = int((rows["low"] >= 0.8).sum())
        beyond = int((rows["low"] > rows[nulls].max(axis=1)).sum())
        verdict = (
            "a tuned prompt is, for the most part, one direction" if mostly > len(rows) / 2
            else "one direction explains part of the effect, not all of it" if beyond > len(rows) / 2
            else "one direction does not recover clearly more than its nulls"
        )  # fmt: skip
        told = ", ".join(f"{name.replace('_', ' ')} {rows[name].mean():.0%}" for name in nulls)
        said.append(
            f"{kind}: one vector, at its best layer, recovers {rows['share'].mean():.0%} of the effect on average "
            f"({told}, each at its own best layer); at least 80 % (interval) in {mostly} of {len(rows)} prompts, more "
            f"than every null in {beyond} of {len(rows)}: {verdict}."
        )
    if len(directions) < n_all:
        said.append(f"In {n_all - len(directions)} of {n_all} prompts the effect is too small for shares.")
    columns = {"share": "one direction", "rank_8": "eight directions"} | {n: n.replace("_", " ") for n in nulls}
    return said, _by_task(directions, columns) if len(directions) else None


def said_of_heads(overlaps: pd.DataFrame, effects: pd.DataFrame) -> Said:
    """Overlap of top heads between seeds, between kinds, and whether the task matters for it."""
    if not len(overlaps):
        return ["There is one prompt only: nothing to compare."], None
    whole = effects.groupby(["kind", "seed"])["task"].nunique()
    whole = {f"{kind} {seed}" for (kind, seed), n in whole.items() if n == effects["task"].nunique()}
    pairs = overlaps.assign(
        group=overlaps["kind"] + " " + overlaps["seed"].astype(str),
        other_group=overlaps["other_kind"] + " " + overlaps["other_seed"].astype(str),
    )
    # Pairs of one seed and kind are left out: they share their start, and never share a task.
    pairs = pairs[
        pairs["group"].isin(whole) & pairs["other_group"].isin(whole) & (pairs["group"] != pairs["other_group"])
    ]
    said, rows = [], []
    for what, chosen in _groups(pairs).items():
        if not len(chosen):
            continue
        same = chosen[chosen["task"] == chosen["other_task"]]
        one, two, p = same_task_test(chosen)
        chance = float(chosen["expected"].mean())
        more = int((same["p_value"] < 0.05).sum())
        rows.append((what, len(same), one, two, chance, f"{p:.2g}" if np.isfinite(p) else "–"))
        first = "more in common than by chance" if more > len(same) / 2 else "no more in common than by chance"
        if not np.isfinite(p):
            second = "too few prompts to say whether that depends on the task"
        elif p < 0.05:
            second = f"more within a task than between tasks (p = {p:.3g}): the heads depend in part on the task"
        else:
            second = f"not clearly more within a task than between tasks (p = {p:.2g}): any prompt may use them"
        said.append(
            f"{what}: two prompts of one task have {one:.1f} of their top {int(chosen['top'].max())} heads in common, "
            f"two prompts of different tasks {two:.1f}; {chance:.1f} are expected by chance (p < 0.05 in {more} of "
            f"{len(same)} pairs of one task). {first[0].upper()}{first[1:]}, and {second}."
        )
    columns = ["pairs", "n", "in common, one task", "in common, two tasks", "by chance", "p (permuted tasks)"]
    return said, pd.DataFrame(rows, columns=columns)


def _groups(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        "both v1": pairs[(pairs["kind"] == "v1") & (pairs["other_kind"] == "v1")],
        "both v2": pairs[(pairs["kind"] == "v2") & (pairs["other_kind"] == "v2")],
        "one v1, one v2": pairs[pairs["kind"] != pairs["other_kind"]],
    }


def said_of_words(words: pd.DataFrame) -> Said:
    """Overlap with the heads of an instruction and of examples, and what their shift recovers."""
    said, rows = [], []
    if not len(words):
        return ["There were no words to compare with."], None
    for (name, kind), every in words.groupby(["words", "kind"], sort=False):
        clear = every[(every["words_low"] > 0) | (every["words_high"] < 0)]
        if not len(clear):
            said.append(f"{name}, {kind}: it has no clear effect of its own, so its heads say little.")
            continue
        more = int((clear["p_value"] < 0.05).sum())
        text = (
            f"{name}, {kind}: {clear['common'].mean():.1f} top heads in common with the prompt, "
            f"{clear['expected'].mean():.1f} expected by chance; more than by chance (p < 0.05) in {more} of "
            f"{len(clear)}"
        )
        there = clear.dropna(subset=["share"]) if "share" in clear else clear.iloc[:0]
        share = null = float("nan")
        if len(there):
            share, null = there["share"].mean(), there["random_prompt"].mean()
            beyond = int((there["low"] > there["random_prompt"].clip(lower=0)).sum())
            text += (
                f". Its mean shift of the residual stream, added instead of the prompt, recovers {share:.0%} of the "
                f"prompt's effect on average, the shift of a random prompt {null:.0%}; clearly more in {beyond} of "
                f"{len(there)}"
            )
        said.append(text + ".")
        rows.append((name, kind, len(clear), clear["common"].mean(), clear["expected"].mean(), share, null))
    columns = [
        "words",
        "kind",
        "n",
        "heads in common",
        "by chance",
        "effect recovered by its shift",
        "by a random prompt's",
    ]
    return said, pd.DataFrame(rows, columns=columns)


def said_of_swaps(swaps: pd.DataFrame) -> Said:
    """Whether more is lost with the untrained values than with the untrained keys."""
    if not len(swaps):
        return ["No deep prompt with a clear effect was measured."], None
    values = int((swaps["values_low"] > swaps["keys_high"]).sum())
    keys = int((swaps["keys_low"] > swaps["values_high"]).sum())
    n = len(swaps)
    verdict = (
        "here the values store it"
        if values > n / 2
        else "here the keys hold more of it"
        if keys > n / 2
        else "no rule follows"
    )
    said = (
        f"With the untrained prompt's keys (and the trained values) {swaps['keys'].mean():.0%} of the effect is lost "
        f"on average, with its values (and the trained keys) {swaps['values'].mean():.0%}. The loss without the "
        f"trained values is clearly larger (intervals apart) in {values} of {n} deep prompts, that without the "
        f"trained keys in {keys}: {verdict}."
    )
    return [said], _by_task(swaps, {"keys": "lost with untrained keys", "values": "lost with untrained values"})


def _by_task(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the mean over seeds, with their range, for each task and kind."""
    rows = []
    for (task, kind), group in table.groupby(["task", "kind"], sort=False):
        row: dict[str, Any] = {"task": task, "kind": kind, "seeds": len(group)}
        for name, title in columns.items():
            values = group[name].dropna() if name in group else group.iloc[:0, 0]
            row[title] = _range(values)
        rows.append(row)
    return pd.DataFrame(rows)


def _range(values: pd.Series) -> str:
    if not len(values):
        return "–"
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})".replace("-", "−")


def markdown(table: pd.DataFrame) -> str:
    """Write a table.

    >>> print(markdown(pd.DataFrame({"a": [1.0], "b": ["x"]})))
    | a | b |
    |---|---|
    | 1.00 | x |
    <BLANKLINE>
    """
    lines = [f"| {' | '.join(map(str, table.columns))} |", f"|{'---|' * len(table.columns)}"]
    for row in table.itertuples(index=False):
        lines.append(f"| {' | '.join(map(_cell, row))} |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "–"
    return str(value)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def main() -> None:
    """Write the page of a kept folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kept", type=Path, help="recipes/causal_accounts/results/PRESET")
    parser.add_argument("page", type=Path, help="docs/findings/NAME.md")
    arguments = parser.parse_args()
    write_text(arguments.page, findings_page(arguments.kept))


if __name__ == "__main__":
    main()
