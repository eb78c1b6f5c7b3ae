"""An account as a page; several accounts on one page, side by side."""

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
    "All numbers are for these inputs, this model and this prompt: another seed of the prompt may act through "
    "other heads.",
    "Patching replaces a component's output by what it is in the other run; components that stand in for each "
    "other can "
    "each look unimportant, and shares of several do not add up.",
    "A head that carries the effect is not thereby explained: what it computes from the prompt is not on this page.",
    "A direction is added where the answer is read, in one layer; a prompt may be a direction elsewhere, or at several "
    "places at once.",
    "Intervals are over inputs, 95 %, not corrected for the number of heads, layers or tokens that are looked at.",
)


@checked()
def account_page(accounts: Sequence[Account], title: str | None = None) -> Report:
    """Return the page of one account, or of several: first side by side, then each.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> settings = ps.account.Settings(limit=4, few=4, n_random=1)
    >>> account = ps.explain(model, ps.SoftPrompt(2).bind(model), task, parts=["answers"], settings=settings)
    >>> account_page([account]).html().startswith("<!doctype html>")
    True
    """
    if not accounts:
        raise ProbeError("there is nothing to show: give at least one account")
    first = accounts[0]
    page = Report(
        title
        or (
            f"What does this prompt do? {first.name}" if len(accounts) == 1 else f"{len(accounts)} prompts side by side"
        ),
        "A causal account of a soft prompt: what it does to the answers, and what inside the model the effect "
        "goes through. "
        "The effect is the log-probability of the right answer with the prompt less that without; text keeps its "
        "positions.",
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
    """Up to four numbers on top."""
    shown = {
        "effect (nats)": ("effect on the log-probability of the right answer", "{:+.2f} nats", "{:+.2f}"),
        "tokens that keep 80 %": ("tokens keep 80 % of it", "{:.0f}", None),
        "heads that carry 80 %": ("heads carry 80 % of it", "{:.0f}", None),
        "best share of one direction": ("of it comes with one direction", "{:.0%}", "{:.0%}"),
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
    "answers-scores": "Means over inputs with 95 % intervals; prompt gains: how far the prompt is ahead "
    "(nats), with the "
    "p-value of a paired permutation test.",
    "answers-prompt": "What it is.",
    "answers-norms": "Mean L2 norm of its vectors, and of as many vocabulary entries in their place.",
    "routes-estimate_error": "Attribution patching against exact patching, over all heads.",
    "words-heads": "Top heads in common, with the hypergeometric null.",
    "readings-faithfulness": "Readings used as hard prompts; kl is that of the output from the prompt's, in nats.",
    "readings-patchscope": "What the model writes about the prompt's tokens (layers: where they are taken and put).",
    "neurons-disturbed": "Answers with neurons disturbed by noise of their own size.",
}
"""Tables that are on the page, not in the folder alone, and their captions."""


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Write numbers for people: two decimals, intervals in brackets, p-values no finer than they are."""
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
    page.section("Side by side")
    if found.sentences:
        page.bullets(*found.sentences)
    page.table(
        found.numbers,
        "The numbers of each, with 95 % intervals over inputs; of three runs or more their mean, over runs.",
    )
    if found.heads is not None:
        page.table(_rounded(found.heads), "Top ten heads in common, for each pair, with the hypergeometric null.")
