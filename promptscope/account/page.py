"""An account as a page, or several accounts on one page."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from promptscope.account.account import Account
from promptscope.account.compare import compare
from promptscope.account.figures import figures_of
from promptscope.account.part import Part
from promptscope.account.wording import p_words
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.report import Report

_LIMITS = (
    (
        "All numbers hold for these inputs, this model and this prompt: a prompt trained with another "
        "seed may act through other heads."
    ),
    (
        "Patching replaces a component's output by its output in the other run. Where two components do "
        "the same, either can be replaced without loss, so each looks unimportant; shares of several "
        "components do not add up."
    ),
    "The page shows which heads carry the effect, not what they compute from the prompt.",
    (
        "Directions are tested in one layer at a time, at the position that predicts the answer: a "
        "prompt may act as a direction at other positions, or in several layers at once."
    ),
    "Intervals are 95 %, over inputs, and not corrected for the number of heads, layers or tokens that are compared.",
)


@checked()
def account_page(accounts: Sequence[Account], title: str | None = None) -> Report:
    """Return the page of one account, or of several: first a table that compares them, then each account.

    *title* is the page's heading; by default it names the account, or says how many there are.

    Raises:
        ProbeError: *accounts* is empty.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> settings = ps.account.Settings(limit=4, few=4, n_random=1)
    >>> account = ps.explain(model, ps.SoftPrompt(2).bind(model), task, parts=["answers"], settings=settings)
    >>> account_page([account]).html().startswith("<!doctype html>")
    True
    """
    if not accounts:
        raise ProbeError("accounts must hold at least one account (of ps.explain), and is empty")
    first = accounts[0]
    page = Report(
        title
        or (f"What does this prompt do? {first.name}" if len(accounts) == 1 else f"{len(accounts)} prompts compared"),
        "A causal account of a soft prompt: how it changes the answers, and through which parts of "
        "the model. The effect is the log-probability of the right answer with the prompt minus that "
        "without it; the text has the same position numbers in both runs.",
    )
    if len(accounts) > 1:
        _side_by_side(page, accounts)
    for account in accounts:
        before = f"{account.name}: " if len(accounts) > 1 else ""
        if len(accounts) == 1:
            _headline(page, account)
        for number, part in enumerate(account.parts.values(), 1):
            page.section(f"{before}{number}. {part.title}")
            _part(page, part)
    page.section("What this page does not show").bullets(*_LIMITS)
    for account in accounts:
        page.table(account.seconds, f"How long each part took: {account.name}.", {"seconds": ".1f"})
        page.provenance({f"{account.name}: {group}": values for group, values in account.provenance.items()})
    return page


def _headline(page: Report, account: Account) -> None:
    """Show up to four key numbers at the top of the page."""
    shown = {
        "effect (nats)": ("effect on the log-probability of the right answer", "{:+.2f} nats", "{:+.2f}"),
        "tokens that keep 80 %": ("tokens keep 80 % of it", "{:.0f}", None),
        "heads that carry 80 %": ("heads carry 80 % of it", "{:.0f}", None),
        "best share of one direction": ("of it is recovered by adding one vector", "{:.0%}", "{:.0%}"),
    }
    numbers = account.numbers.set_index("number")
    for name, (label, spec, ends) in shown.items():
        if name not in numbers.index or numbers.loc[name, "value"] != numbers.loc[name, "value"]:
            continue
        row = numbers.loc[name]
        detail = f"95 % interval {ends.format(row['low'])} to {ends.format(row['high'])}" if ends else ""
        page.number(label, _spaced(spec.format(row["value"])), _spaced(detail))


def _spaced(text: str) -> str:
    return re.sub(r"(?<=\d)%", " %", text).replace("-", "−")


def _part(page: Report, part: Part) -> None:
    page.text(f"{part.question}")
    if part.sentences:
        page.bullets(*part.sentences)
    for figure, caption in figures_of(part):
        page.figure(figure, caption)
    for name, caption in _SHOWN.items():
        key, table = name.split("-", 1)
        if key == part.key and table in part.tables:
            page.table(_rounded(part.tables[table]), caption)
    if part.omitted:
        page.text(*(f"Left out: {reason}" for reason in part.omitted))


_SHOWN = {
    "answers-scores": (
        "Means over inputs with 95 % intervals. Prompt gains: log-probability of the "
        "right answer with the prompt minus that in this row (nats), with the p-value "
        "of a paired permutation test."
    ),
    "answers-prompt": "The prompt and its training.",
    "answers-norms": (
        "Mean L2 norm of the prompt's vectors, and of a prompt of the same shape made of token embeddings."
    ),
    "routes-estimate_error": (
        "How far attribution patching (a first-order estimate) is from exact patching, over all heads, in nats."
    ),
    "words-heads": (
        "How many of the top heads are the same, how many are expected by chance, and the hypergeometric p-value."
    ),
    "readings-faithfulness": (
        "Decoded texts used as hard prompts. share: of the prompt's effect; kl: KL "
        "divergence of the output from that with the prompt, in nats (0 = the same "
        "output)."
    ),
    "readings-patchscope": (
        "What the model writes about the prompt's tokens. source: the layer after "
        "which their residual stream is read; target: the layer after which it is "
        "written over the placeholders."
    ),
    "neurons-disturbed": (
        "Answers when noise is added to neurons (standard deviation: the neuron's "
        "own). lost: by how much the log-probability of the right answer falls, in "
        "nats."
    ),
}
"""The tables that the page shows (the folder has all of them), and their captions."""


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Write numbers for people: two decimals, intervals in brackets, very small p-values as `< 0.001`."""
    merged = table.copy()
    for name in table.columns:
        if name not in merged:
            continue  # an end of an interval that is shown already
        low, high = f"{name}_low", f"{name}_high"
        if low in merged and high in merged:
            merged[name] = [
                f"{_number(v)} ({_number(a)} to {_number(b)})"
                for v, a, b in zip(merged[name], merged[low], merged[high], strict=True)
            ]
            merged = merged.drop(columns=[low, high])
        elif name == "p_value":
            merged[name] = [p_words(p).removeprefix("p ").removeprefix("= ") if p == p else "" for p in merged[name]]
        elif pd.api.types.is_float_dtype(merged[name]):
            merged[name] = [_number(value) if value == value else "" for value in merged[name]]
    return merged.rename(columns={name: str(name).replace("_", " ") for name in merged.columns})


def _number(value: float) -> str:
    return (f"{value:.1g}" if 0 < abs(value) < 0.01 else f"{value:.2f}").replace("-", "−")


def _side_by_side(page: Report, accounts: Sequence[Account]) -> None:
    found = compare(accounts)
    page.section("All accounts")
    if found.sentences:
        page.bullets(*found.sentences)
    page.table(
        found.numbers,
        "The numbers of each account, with 95 % intervals over inputs; with three or more accounts "
        "also their mean, with an interval over accounts.",
    )
    if found.heads is not None:
        page.table(
            _rounded(found.heads),
            "For each pair: how many of the ten top heads are the same, how many are "
            "expected by chance, and the hypergeometric p-value.",
        )
