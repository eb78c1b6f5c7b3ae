"""Part 2: which of the prompt's tokens matter."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from promptscope.account.part import Findings, names
from promptscope.account.subject import Subject
from promptscope.account.wording import percent, signed
from promptscope.causal.tokens import attribution_of_tokens, gold_of_subsets, keep_tokens_on, redundancy
from promptscope.errors import PromptscopeError
from promptscope.interventions import importance, shapley
from promptscope.prompts import DeepPrompt, SoftPrompt
from promptscope.statistics import MAX_EXACT


def tokens_part(subject: Subject) -> Findings:
    """Measure the importance of each token in four ways, and how few tokens keep the effect."""
    found, s, small = Findings(), subject.settings, subject.small
    model, prompt, task = subject.model, subject.prompt, subject.task
    if not isinstance(prompt, SoftPrompt | DeepPrompt):
        found.omit(
            "Importance of tokens: single tokens can be changed in a SoftPrompt or a DeepPrompt, and "
            f"this is a {type(prompt).__name__}."
        )
        return found
    n = len(small.inputs)
    exact = importance(model, prompt, task, how="zero", split=s.split, limit=n, progress=False)
    gradient = attribution_of_tokens(model, prompt, small.inputs, s.batch_size)
    table = pd.DataFrame({"token": range(prompt.length)})
    for name in ("loss", "difference", "ratio", "kl"):
        data = exact.measure(name).data
        table[name] = data["values"].values[0]
        if name == "difference":
            table["difference_low"], table["difference_high"] = data["low"].values[0], data["high"].values[0]
    table["gradient"] = gradient
    if 8 < prompt.length <= MAX_EXACT:
        found.omit(f"Shapley values: they would need {2**prompt.length} subsets of tokens; ps.shapley computes them.")
    elif prompt.length > 1:
        try:
            # All 2^k subsets up to 8 tokens; above, two orders of them: a glance, whose error is in the table.
            few = min(n, 16 if prompt.length <= 8 else 8)
            values = shapley(model, prompt, task, "cut", s.split, few, n_pairs=1, progress=False)
            table["shapley"] = values.data["values"].values[0]
            table["shapley_error"] = values.data["standard_error"].values[0]
        except PromptscopeError as error:
            found.omit(f"Shapley values: {error}")
    found.tables["tokens"] = table
    difference = table["difference"].to_numpy()
    if prompt.length > 2 and np.ptp(difference) > 0 and np.ptp(gradient) > 0:
        agreement = float(spearmanr(difference, gradient).statistic)
        found.about["gradient_agreement"] = agreement
        good = "agrees with" if agreement > 0.7 else "agrees in part with" if agreement > 0.3 else "does not agree with"
        found.say(f"The gradient's estimate {good} exact zeroing (rank correlation {signed(agreement)}).")
        found.number("rank correlation, gradient and exact importance", agreement)
    matter = [int(i) for i in np.flatnonzero(table["difference_low"] > 0)]
    ranked = np.argsort(-difference)
    if matter:
        top = [int(i) for i in ranked[:3] if int(i) in matter]
        found.sentences.insert(
            0,
            f"{len(matter)} of {prompt.length} tokens matter by themselves: zeroing one of them alone "
            f"raises the loss (interval above zero); most of all {names([f'token {i}' for i in top])}.",
        )
    else:
        found.sentences.insert(
            0, "No single token clearly matters: zeroing any one of them alone does not clearly raise the loss."
        )
    if prompt.length < 2:
        return found
    singles = gold_of_subsets(model, prompt, small, np.eye(prompt.length, dtype=bool), s.batch_size)
    kept = keep_tokens_on(
        model, prompt, small, difference.tolist(), n_random=s.n_random, greedy=2, batch_size=s.batch_size,
        singles=singles,
    )  # fmt: skip
    found.tables["kept"] = kept
    if not small.size.is_clear:
        found.omit("How few tokens keep the effect is undefined: the effect is too small to be divided by.")
        return found
    _how_few(found, kept, prompt.length, s.wanted)
    sums = redundancy(model, prompt, small, s.batch_size, singles)
    found.about |= {"share_alone": sums["alone"], "share_missing": sums["missing"]}
    if sums["missing"] < 0.5 < sums["alone"]:
        verdict = "several tokens do the same"
    elif sums["alone"] < 0.5 < sums["missing"]:
        verdict = "tokens act only together"
    elif sums["alone"] < 0.5 and sums["missing"] < 0.5:
        verdict = "the effect is in combinations of tokens, and no single token is necessary"
    else:
        verdict = "each token has its effect by itself"
    found.say(
        "Each token alone, with all others cut, keeps a share of the effect: these shares add up to "
        f"{percent(sums['alone'])}. Cutting one token alone loses a share: these add up to "
        f"{percent(sums['missing'])}. So {verdict}."
    )
    return found


def _how_few(found: Findings, kept: pd.DataFrame, k: int, wanted: float) -> None:
    of = {way: rows.sort_values("size") for way, rows in kept.groupby("way")}
    enough = of["importance"][of["importance"]["share"] >= wanted]
    if enough.empty:
        most = of["importance"].loc[of["importance"]["share"].idxmax()]
        found.say(
            f"None of the smaller sets of tokens that were tried keeps {percent(wanted)} of the "
            f"effect: the {int(most['size'])} most important keep {percent(most['share'])}."
        )
        found.number("tokens that keep 80 %", k)
        return
    first = enough.iloc[0]
    random = of["random"].set_index("size").loc[first["size"]]
    found.say(
        f"The {int(first['size'])} most important of {k} tokens keep {percent(first['share'])} of the effect; as "
        "many at "
        f"random keep {percent(random['share'])} ({percent(random['low'])} to {percent(random['high'])})."
        if first["size"] > 1 else
        f"The most important token alone keeps {percent(first['share'])} of the effect; one at random keeps "
        f"{percent(random['share'])} ({percent(random['low'])} to {percent(random['high'])})."
    )  # fmt: skip
    found.number("tokens that keep 80 %", first["size"])
