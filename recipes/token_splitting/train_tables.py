"""The tables of `train` that the paper does not print in this form: one line per run, model, token or pair."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

import promptscope as ps
from promptscope.interventions import MEASURES
from promptscope.statistics import concentration_test, prompt_similarities
from recipes.token_splitting.measuring import Measured

Prompts = Mapping[str, tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]]
"""Run -> its prompt after and before training."""


def accuracy_table(measured: Mapping[str, Measured], frozen: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return loss and accuracy of each model with each shared prompt, with its own single prompt and three nulls.

    `single`: a prompt for this model alone; `initial`: the prompt before training; `random`: random prompts of the
    trained one's norms, mean over draws; `frozen`: no prompt.
    """
    single = {(one.plan.task, one.names[0]): one for one in measured.values() if one.plan.kind == "1"}
    rows = []
    for name, one in measured.items():
        without = frozen[one.plan.task].set_index("model")
        for model in one.names:
            row: dict[str, object] = {"task": one.plan.task, "run": name, "kind": one.plan.kind}
            row |= {"models": len(one.names), "model": model}
            alone = single[one.plan.task, model]
            for measure in ("accuracy", "loss"):
                row[measure] = _mean(one, model, "whole", measure)
                row[f"single_{measure}"] = _mean(alone, model, "whole", measure)
                row[f"initial_{measure}"] = _mean(one, model, "initial", measure)
                row[f"random_{measure}"] = _mean(one, model, "random_prompt", measure)
                row[f"frozen_{measure}"] = float(without.loc[model, measure])
            rows.append(row)
    return pd.DataFrame(rows)


def importance_rows(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return importance M x k by all measures with intervals over examples, for every run and intervention."""
    tables = []
    for name, one in measured.items():
        for how, importance in one.importances.items():
            table = importance.to_dataframe()
            table.insert(0, "how", how)
            table.insert(0, "run", name)
            table.insert(0, "task", one.plan.task)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def token_table(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return one line per token of every shared prompt: the model it is assigned to, and the model it lies near."""
    rows = []
    for name, one in _shared(measured):
        zero = one.importances["zero"]
        assigned = {choice: zero.assignment(choice) for choice in MEASURES}
        for token in range(one.plan.length):
            row: dict[str, object] = {"task": one.plan.task, "run": name, "models": len(one.names), "token": token}
            row |= {f"by_{choice}": one.names[int(at[token])] for choice, at in assigned.items()}
            for metric, votes in one.places.votes.items():
                row[f"vote_{metric}"] = one.names[votes[token]]
                row[f"vote_{metric}_share"] = one.places.shares[metric][token]
            rows.append(row)
    return pd.DataFrame(rows)


def intervention_table(measured: Mapping[str, Measured], permutations: int) -> pd.DataFrame:
    """Return how concentrated importance is by each intervention, measured by difference and by KL, with its null."""
    rows = []
    for name, one in _shared(measured):
        for how, importance in one.importances.items():
            for choice in ("difference", "kl"):
                test = concentration_test(importance.measure(choice).values.values[None], permutations)
                row = {"task": one.plan.task, "run": name, "models": len(one.names), "how": how, "measure": choice}
                same = importance.assignment(choice) == one.importances["zero"].assignment(choice)
                rows.append(row | asdict(test) | {"assigned_as_by_zero": float(same.mean())})
    return pd.DataFrame(rows)


def compression_table(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return loss and accuracy of each model with only its own tokens left, compared with random choices of as many."""
    rows = []
    for name, one in _shared(measured):
        for model in one.names:
            row: dict[str, object] = {"task": one.plan.task, "run": name, "models": len(one.names), "model": model}
            mine = one.scores[one.scores["model"] == model]
            row["own_tokens"] = int(mine[mine["variant"] == "masked"]["n_kept"].iloc[0])
            row["own_tokens_by_ratio"] = int(mine[mine["variant"] == "masked_by_ratio"]["n_kept"].iloc[0])
            for measure in ("loss", "accuracy"):
                for variant in ("whole", "masked", "shortened", "random_masked", "random_shortened",
                                "masked_by_ratio", "shortened_by_ratio"):  # fmt: skip
                    row[f"{variant}_{measure}"] = _mean(one, model, variant, measure)
            rows.append(row)
    return pd.DataFrame(rows)


def transfer_rows(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return loss and accuracy of every prompt on every model, before and after training (Table 8 for all runs)."""
    tables = []
    for name, one in measured.items():
        wide = one.scores[one.scores["variant"].isin(["whole", "initial"])].pivot_table(
            index=["model", "own"], columns="variant", values=["loss", "accuracy"], sort=False
        )
        wide.columns = [measure if variant == "whole" else f"initial_{measure}" for measure, variant in wide.columns]
        tables.append(wide.reset_index().assign(task=one.plan.task, run=name, models=len(one.names)))
    columns = ["task", "run", "models", "model", "own", "initial_loss", "loss", "initial_accuracy", "accuracy"]
    return pd.concat(tables, ignore_index=True)[columns]


def word_table(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return the back translation (Table 9): nearest word of every token in every model it was trained on."""
    rows = [(one.plan.task, name, *line) for name, one in measured.items() for line in one.places.words]
    return pd.DataFrame(
        rows, columns=["task", "run", "model", "token", "metric", "word", "distance", "random_distance"]
    )


def similarity_table(measured: Mapping[str, Measured], prompts: Prompts) -> pd.DataFrame:
    """Return the six similarities, as means over pairs of prompts that have something in common, by task.

    The last line of a task is the null: the first prompt of each pair of singles against random vectors of the
    other's norms.
    """
    rows = []
    for task in dict.fromkeys(one.plan.task for one in measured.values()):
        mine = {name: one for name, one in measured.items() if one.plan.task == task}
        for relation, pairs in _pairs(mine, prompts).items():
            found = [asdict(prompt_similarities(p, q)) for p, q in pairs]
            if found:
                rows.append({"task": task, "pair": relation, "n": len(found)} | pd.DataFrame(found).mean().to_dict())
    return pd.DataFrame(rows)


def shapley_table(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """Return Shapley values with intervals and efficiency residual, and the difference that zeroing makes."""
    tables = []
    for name, one in measured.items():
        if one.shapley is not None:
            data = one.shapley.data
            table = data[["values", "low", "high", "standard_error"]].to_dataframe().reset_index()
            table["efficiency_residual"] = table["model"].map(data["efficiency_residual"].to_series())
            table["difference"] = one.importances["zero"].difference.values.values.ravel()
            table.insert(0, "run", name)
            table.insert(0, "task", one.plan.task)
            tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def training_table(measured: Mapping[str, Measured], runs: Mapping[str, ps.Run]) -> pd.DataFrame:
    """Return one line per run: models, seeds, steps, final loss, seconds of training and of measuring."""
    rows = []
    for name, one in measured.items():
        plan, result = one.plan, runs[name].result
        row: dict[str, object] = {"task": plan.task, "run": name, "models": " ".join(one.names), "length": plan.length}
        row |= {"init_seed": plan.init_seed, "train_seed": plan.train_seed, "steps": result["steps"]}
        row |= {"final_loss": result["final_loss"], "seconds": result["seconds"], "measure_seconds": one.seconds}
        rows.append(row)
    return pd.DataFrame(rows)


def _shared(measured: Mapping[str, Measured]) -> Iterator[tuple[str, Measured]]:
    return ((name, one) for name, one in measured.items() if len(one.names) > 1)


def _mean(one: Measured, model: str, variant: str, measure: str) -> float:
    chosen = one.scores[(one.scores["model"] == model) & (one.scores["variant"] == variant)]
    return float(chosen[measure].mean()) if len(chosen) else np.nan


def _pairs(mine: Mapping[str, Measured], prompts: Prompts) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    singles = [name for name, one in mine.items() if one.plan.kind == "1"]
    joints = {name: one for name, one in mine.items() if one.plan.kind.isdigit() and len(one.names) > 1}
    alone = {mine[name].names[0]: name for name in singles}

    def trained(pairs: Sequence[tuple[str, str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(prompts[a][0], prompts[b][0]) for a, b in pairs]

    def within(kind: str) -> list[tuple[str, str]]:
        varied = [name for name, one in mine.items() if one.plan.kind == kind]
        base = [name for name, one in joints.items() if varied and one.names == mine[varied[0]].names]
        return list(combinations([*base[:1], *varied], 2))

    both = list(combinations(singles, 2))
    owned = [(alone[model], name) for name, one in joints.items() for model in one.names]
    foreign = [(run, name) for name, one in joints.items() for model, run in alone.items() if model not in one.names]
    return {
        "a prompt and itself": trained([(name, name) for name in singles]),
        "two single models": trained(both),
        "a single model and a group with it": trained(owned),
        "a single model and a group without it": trained(foreign),
        "one group, other starts": trained(within("init")),
        "one group, other orders of the records": trained(within("train")),
        "before and after training": [prompts[name] for name in singles],
        "random vectors of the norms of two single models": [
            (prompts[a][0], _random_like(prompts[b][0], i)) for i, (a, b) in enumerate(both)
        ],
    }


def _random_like(prompt: Float[np.ndarray, "k d"], seed: int) -> Float[np.ndarray, "k d"]:
    directions = np.random.default_rng(seed).normal(size=prompt.shape)
    lengths = np.linalg.norm(prompt, axis=1, keepdims=True) / np.linalg.norm(directions, axis=1, keepdims=True)
    return (directions * lengths).astype(prompt.dtype)
