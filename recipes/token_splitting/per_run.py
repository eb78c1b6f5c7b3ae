"""One line per run: how far its models split its tokens, and whether tokens are near the models that need them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from promptscope.statistics import (
    alignment_test,
    assign_tokens,
    concentration_test,
    important_to,
    important_token_loss,
    transfer_summary,
)
from recipes.token_splitting.measuring import Measured

THRESHOLD = 1.1
"""A token matters to a model whose loss rises by more than a tenth without it."""


def run_table(measured: Mapping[str, Measured], permutations: int) -> pd.DataFrame:
    """Return one line for each prompt that several models share; importance is measured by zeroing tokens.

    - `loss`, `accuracy`: of its models, mean; `important_token_loss`: Table 3's; `important_token_rise`: the same less
      the largest loss of a model with the whole prompt.
    - `concentration`: share of all importance (difference) that falls to each token's main model; `null`, `p_value`:
      with each model's importances shuffled among the tokens; `excess`: above the null.
    - `matter`: share of the tokens with a ratio above 1.1 for some model; `to_one`: of these, to one model only.
    - `one_only`: share of all tokens that matter to one model only; `one_only_null`: with the tokens that matter to a
      model drawn at random.
    - `kept`: share of the tokens that have the same model by ratio as by loss.
    - `agree_loss`, `agree_ratio`: alignment by cosine; `kappa_...`: above chance, as a share of what is possible.
    - `transferred`: gain of the other models as a share of that of its own; NaN where all are its own.
    """
    rows = []
    for name, one in measured.items():
        if len(one.names) < 2:
            continue
        zero, plan = one.importances["zero"], one.plan
        losses = zero.loss.values.values
        difference, ratio = zero.difference.values.values, zero.ratio.values.values
        split = concentration_test(difference[None], permutations)
        counts = important_to(ratio, THRESHOLD)
        matters = counts > 0
        by = {"loss": assign_tokens(losses), "ratio": assign_tokens(ratio)}
        vote = np.array([one.places.votes["cosine"]])
        lies = {choice: alignment_test(at[None], vote, len(one.names)) for choice, at in by.items()}
        own = one.scores[one.scores["own"] & (one.scores["variant"] == "whole")]
        rows.append(
            {
                "task": plan.task,
                "run": name,
                "kind": plan.kind,
                "models": len(one.names),
                "seed": plan.init_seed,
                "loss": own["loss"].mean(),
                "accuracy": own["accuracy"].mean(),
                "important_token_loss": important_token_loss(losses),
                "important_token_rise": important_token_loss(losses) - own["loss"].max(),
                "concentration": split.observed,
                "null": split.null_mean,
                "excess": split.observed - split.null_mean,
                "p_value": split.p_value,
                "matter": matters.mean(),
                "to_one": (counts[matters] == 1).mean() if matters.any() else np.nan,
                "one_only": (counts == 1).mean(),
                "one_only_null": _one_only_by_chance(ratio > THRESHOLD, permutations),
                "kept": (by["loss"] == by["ratio"]).mean(),
                **{f"agree_{choice}": test.observed for choice, test in lies.items()},
                **{f"kappa_{choice}": test.kappa for choice, test in lies.items()},
                "transferred": _transferred(one),
            }
        )
    return pd.DataFrame(rows)


def main_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the classes by number of models, without runs with other seeds or durations."""
    return table[table["kind"].str.isdigit()]


def _one_only_by_chance(matters: Bool[np.ndarray, "M k"], permutations: int) -> float:
    """Return the mean share of tokens that matter to one model only if each needs as many, but at random."""
    generator = np.random.default_rng(0)
    shuffled = (generator.permuted(matters, axis=1) for _ in range(permutations))
    return float(np.mean([np.count_nonzero(one, axis=0) == 1 for one in shuffled]))


def _transferred(one: Measured) -> float:
    losses = {v: one.scores[one.scores["variant"] == v].set_index("model") for v in ("whole", "initial")}
    own = losses["whole"]["own"].to_numpy(dtype=bool)
    trained, initial = (_losses(losses[v]) for v in ("whole", "initial"))
    return float(transfer_summary(trained[None], initial[None], own[None]).transferred[0])


def _losses(scores: pd.DataFrame) -> Float[np.ndarray, "M"]:
    return scores["loss"].to_numpy(dtype=np.float64)
