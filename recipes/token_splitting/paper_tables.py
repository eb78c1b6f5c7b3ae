"""The paper's tables from runs, published or trained: for every cell a way to compute it.

Means and spreads are over runs (of a run: the mean over its models or tokens), with ddof 0, in every table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from promptscope.statistics import assign_tokens, important_token_loss, prompt_similarities
from recipes.token_splitting.source import AbsentError, Source

Key = tuple[str, str]
Cells = dict[Key, Callable[[], float]]


def compute(cells: Cells) -> tuple[dict[Key, float], dict[Key, str]]:
    """Return the numbers that could be computed, and for the other cells what is missing."""
    computed, lacking = {}, {}
    for key, number in cells.items():
        try:
            computed[key] = number()
        except AbsentError as error:
            lacking[key] = str(error)
    return computed, lacking


def table_1(a: Source) -> Cells:
    """Loss by number of models; the row of one model is over 25 models, not over runs."""
    cells: Cells = {}
    for dataset in a.datasets:
        cells |= _spread("1", dataset, partial(a.one_losses, dataset))
        for n in a.counts:
            cells |= _spread(n, dataset, partial(run_means, a, dataset, n, whole_loss))
    return cells


def table_2(a: Source) -> Cells:
    """Six similarities between prompts trained on model 0, on model 1, and on both."""
    return _similarities(a, "IMDb", "") | _elsewhere(a, partial(_similarities, a))


def _similarities(a: Source, dataset: str, before: str) -> Cells:
    runs = {"0": f"{before}1_model_0", "1": f"{before}1_model_1", "0 & 1": f"{before}2_model_0"}
    names = {
        "Euclidean avg dist": "average_distance",
        "Cosine avg sim": "average_cosine",
        "Euclidean pairwise dist": "pairwise_distance",
        "Cosine pairwise sim": "pairwise_cosine",
        "Euclidean per token dist": "per_token_distance",
        "Cosine per token sim": "per_token_cosine",
    }

    def similarity(name: str, p: str, q: str) -> float:
        return float(getattr(prompt_similarities(a.prompt(runs[p]), a.prompt(runs[q])), names[name]))

    return {(f"{name}: {p}", q): partial(similarity, name, p, q) for name in names for p in runs for q in runs}


def table_3(a: Source) -> Cells:
    """Loss when an important token is masked, by number of models."""
    cells: Cells = {}
    for dataset in a.datasets:
        for n in a.counts:
            cells |= _spread(n, dataset, partial(run_means, a, dataset, n, important_loss))
    return cells


def table_4(a: Source) -> Cells:
    """Loss when a model's unimportant tokens are masked or removed."""
    cells: Cells = {}
    for dataset in a.datasets:
        for n in a.counts:
            cells |= _spread(n, f"{dataset} masked", partial(run_means, a, dataset, n, masked_loss))
            cells |= _spread(n, f"{dataset} shortened", partial(run_means, a, dataset, n, shortened_loss))
    return cells


def table_5(a: Source) -> Cells:
    """As Table 3 for five models: other models, other training seeds, other initialisations."""
    cells: Cells = {}
    for dataset in a.datasets:
        for row, kind in {"Models": "5", "Train seed": "train", "Init seed": "init"}.items():
            cells |= _spread(row, dataset, partial(run_means, a, dataset, kind, important_loss))
    return cells


def table_6(a: Source) -> Cells:
    """Loss, and loss when an important token is masked, by epochs of training on mnli."""
    return _durations(a, "mnli", "") | _elsewhere(a, partial(_durations, a))


def _durations(a: Source, dataset: str, before: str) -> Cells:
    cells: Cells = {}
    for row, kind in a.durations(dataset).items():
        cells |= _spread(row, "Normal loss", partial(run_means, a, dataset, kind, whole_loss))
        cells |= _spread(row, "Important token loss", partial(run_means, a, dataset, kind, important_loss))
    return cells


def table_8(a: Source) -> Cells:
    """Loss of 5_model_0 on all 25 models, before and after training."""
    return _transfer(a, "5_model_0", 25) | _elsewhere(a, partial(_transfer_of_first, a))


def _transfer(a: Source, run: str, n_models: int) -> Cells:
    def loss(seed: int, state: str) -> float:
        return _entry(run, getattr(a.transfer_losses(run), state), seed)

    states, seeds = ("initial", "trained"), range(n_models)
    return {(str(seed), f"{state} soft prompt"): partial(loss, seed, state) for seed in seeds for state in states}


def _transfer_of_first(a: Source, dataset: str, before: str) -> Cells:
    """Return the same for the first run of the largest class that leaves other models to transfer to, if any does."""
    sizes = {count: len(a.transfer_losses(f"{before}{count}_model_0").trained) for count in a.counts}
    fitting = [count for count, n in sizes.items() if int(count) < n] or list(sizes)
    run = f"{before}{fitting[-1]}_model_0"
    return {
        (f"{run}, {row}", column): number for (row, column), number in _transfer(a, run, sizes[fitting[-1]]).items()
    }


def masking_table(kind: str, unmasked: bool, a: Source) -> Cells:
    """Tables 10, 11 and 12: loss of each model with each token masked, and (11, 12) with no token masked."""
    run = "5_model_0" if kind == "5" else f"5_model_{kind}_1"
    return _masking(a, run, unmasked, 5, 16) | _elsewhere(a, partial(_masking_of, a, kind, unmasked))


def _masking(a: Source, run: str, unmasked: bool, n_models: int, n_tokens: int) -> Cells:
    def masked(model: int, token: int) -> float:
        return _entry(run, a.masked_losses(run).losses, model, token)

    def whole(model: int) -> float:
        return _entry(run, a.evaluation(run).whole_loss, model)

    models = range(n_models)
    cells: Cells = {(f"t_{i}", f"model {m}"): partial(masked, m, i) for i in range(n_tokens) for m in models}
    if unmasked:
        cells |= {("None", f"model {m}"): partial(whole, m) for m in models}
    return cells


def _masking_of(a: Source, kind: str, unmasked: bool, dataset: str, before: str) -> Cells:
    run = a.runs_of(dataset, a.counts[-1])[0] if kind == "5" else a.runs_of(dataset, kind)[1]
    return _masking(a, run, unmasked, *a.masked_losses(run).losses.shape)


def table_13(a: Source) -> Cells:
    """Alignment: share of tokens whose nearest neighbours vote for the model that needs them most."""
    cells: Cells = {(n, "random"): partial(lambda n: 1 / int(n), n) for n in a.counts}
    for dataset in a.datasets:
        for n in a.counts:
            for column, metric in {"cos": "cosine", "euc": "euclidean"}.items():
                cells |= _spread(
                    n, f"{dataset} {column}", partial(run_means, a, dataset, n, partial(agreement, metric))
                )
    return cells


def table_14(a: Source) -> Cells:
    """Loss of each model with only its own tokens; "model 0" is the first of the run's five, not MultiBERT 0."""
    cells = _elsewhere(a, lambda dataset, before: _shortened(a, a.runs_of(dataset, a.counts[-1])))
    return (_shortened(a, a.runs_of("IMDb", "5")) if "IMDb" in a.datasets else {}) | cells


def _shortened(a: Source, runs: Sequence[str]) -> Cells:
    def shortened(run: str, model: int) -> float:
        return _entry(run, a.evaluation(run).shortened_loss, model)

    return {(run, f"model {m}"): partial(shortened, run, m) for run in runs for m in range(_n_models(a, run))}


def text_numbers(a: Source) -> Cells:
    """Section 4.5: prompts of two tokens for one model each, and random masking, whose losses were not published."""

    def random_masking() -> np.ndarray:
        return a.random_masked_losses("IMDb", "10")

    short = partial(a.one_losses, "IMDb", "1_models_short_prompt")
    cells = _spread("IMDb, 1 model, length 2", "loss", short)
    return cells | _spread("IMDb, 10 models, 2 random tokens", "loss", random_masking)


TABLES: Mapping[str, Callable[[Source], Cells]] = {
    "1": table_1,
    "2": table_2,
    "3": table_3,
    "4": table_4,
    "5": table_5,
    "6": table_6,
    "8": table_8,
    "10": partial(masking_table, "5", False),
    "11": partial(masking_table, "init", True),
    "12": partial(masking_table, "train", True),
    "13": table_13,
    "14": table_14,
    "text": text_numbers,
}


def run_means(
    a: Source, dataset: str, kind: str, of_run: Callable[[Source, str], Iterable[float]]
) -> Float[np.ndarray, "R"]:
    """Return one number for each run of a class: the mean of what *of_run* returns."""
    return np.array([np.mean(np.asarray(of_run(a, run))) for run in a.runs_of(dataset, kind)])


def whole_loss(a: Source, run: str) -> Iterable[float]:
    """Return the loss of each model with the whole prompt."""
    return a.evaluation(run).whole_loss


def masked_loss(a: Source, run: str) -> Iterable[float]:
    """Return the loss of each model with only its own tokens, the others zero."""
    return a.evaluation(run).masked_loss


def shortened_loss(a: Source, run: str) -> Iterable[float]:
    """Return the loss of each model with only its own tokens, the others removed."""
    return a.evaluation(run).shortened_loss


def important_loss(a: Source, run: str) -> Iterable[float]:
    """Return the important-token loss."""
    return [important_token_loss(a.masked_losses(run).losses)]


def agreement(metric: str, a: Source, run: str) -> Iterable[float]:
    """Return for each token whether the stored vote is for the model with the largest masked loss."""
    masked = a.masked_losses(run)
    seeds = np.array(masked.models)[assign_tokens(masked.losses)]
    return seeds == getattr(a.evaluation(run), f"{metric}_vote")


def _n_models(a: Source, run: str) -> int:
    """Return how many models share a prompt; as many as its name says where its results are not there."""
    try:
        return len(a.evaluation(run).models)
    except AbsentError:
        return int(run.split("_model_")[0].split("_")[-1])


def _elsewhere(a: Source, cells_of: Callable[[str, str], Cells]) -> Cells:
    """Return the same cells for tasks that the paper does not have, the task first in the row."""
    cells: Cells = {}
    for dataset, before in a.others:
        try:
            mine = cells_of(dataset, before)
        except AbsentError:
            continue
        cells |= {(f"{dataset}: {row}", column): number for (row, column), number in mine.items()}
    return cells


def _spread(row: str, column: str, values: Callable[[], np.ndarray]) -> Cells:
    return {
        (row, f"{column} mean"): lambda: float(np.mean(values())),
        (row, f"{column} std"): lambda: float(np.std(values())),
    }


def _entry(run: str, losses: np.ndarray, *at: int) -> float:
    try:
        return float(losses[at])
    except IndexError:
        raise AbsentError(f"{run} has {losses.shape} models and tokens; the table has (5, 16)") from None
