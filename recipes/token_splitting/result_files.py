"""The authors' result CSVs.

Readers raise RunError, which names the file, where rows or cells are missing or a cell is no number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from recipes.token_splitting.csv_rows import CsvRows

N_MODELS = 25


@dataclass(frozen=True)
class MaskedLosses:
    """`*_token_drop_out_test.csv`: the loss of every model with each prompt token set to zero."""

    models: tuple[int, ...]
    """MultiBERT seeds, in the order of the rows."""
    losses: Float[np.ndarray, "M k"]


@dataclass(frozen=True)
class Evaluation:
    """`*_evaluation_with_k_7_test.csv`: stored votes, and the losses of whole, masked and shortened prompts."""

    models: tuple[int, ...]
    euclidean_vote: Int[np.ndarray, "k"]
    """MultiBERT seed that each token's 7 nearest neighbours vote for."""
    cosine_vote: Int[np.ndarray, "k"]
    whole_loss: Float[np.ndarray, "M"]
    """"One model loss": the loss of each model with the whole prompt."""
    masked_loss: Float[np.ndarray, "M"]
    """"Normal prompt length": the model's own tokens are left, the others zero."""
    shortened_loss: Float[np.ndarray, "M"]
    """"Shortened prompt length": the model's own tokens are left, the others removed."""


@dataclass(frozen=True)
class TransferLosses:
    """`val_losses_test.csv`: the loss of one prompt on all MultiBERTs, by seed."""

    initial: Float[np.ndarray, "M"]
    trained: Float[np.ndarray, "M"]


def read_masked_losses(path: Path) -> MaskedLosses:
    """Read masked losses; the models in the file's name have to be those of its rows."""
    file = CsvRows(path)
    n_tokens = len(file.row("seed"))
    names = [name for name in file.rows if name != "seed"]
    models = _models(file, names)
    return MaskedLosses(models, np.array([file.numbers(name, n_tokens) for name in names]))


def read_evaluation(path: Path) -> Evaluation:
    """Read votes and losses. The stored accuracies and averages are not used: they are computed from these."""
    file = CsvRows(path)
    n_tokens = len(file.row("token id"))
    models = _models(file, file.row("Prompt compression")[:-1])  # the last column is their average

    def seeds(name: str) -> Int[np.ndarray, "k"]:
        return np.array(file.numbers(name, n_tokens)).astype(np.int64)

    def losses(name: str) -> Float[np.ndarray, "M"]:
        return np.array(file.numbers(name, len(models) + 1)[:-1])

    return Evaluation(
        models,
        euclidean_vote=seeds("Euclidean assignment"),
        cosine_vote=seeds("Cosine assignment"),
        whole_loss=losses("One model loss"),
        masked_loss=losses("Normal prompt length"),
        shortened_loss=losses("Shortened prompt length"),
    )


def read_transfer_losses(path: Path) -> TransferLosses:
    """Read the losses on 25 models. The column `trained_on`, which says "No" in every row, is not used."""
    file = CsvRows(path)
    columns = []
    for name in ("initial_val_loss", "val_loss"):
        losses = file.column("seed", name)
        columns.append(_by_seed(file, dict(zip(_seeds(file, losses), losses.values(), strict=True))))
    return TransferLosses(*columns)


def read_one_losses(path: Path) -> Float[np.ndarray, "M"]:
    """Read the losses of 25 prompts, each trained on one model. The rows `mean` and `std` are not used."""
    file = CsvRows(path)
    losses = file.column("model_number", "val_loss")
    return _by_seed(file, {int(name): loss for name, loss in losses.items() if name.isdigit()})


def _by_seed(file: CsvRows, losses: dict[int, float]) -> Float[np.ndarray, "M"]:
    missing = [seed for seed in range(N_MODELS) if seed not in losses]
    if missing:
        raise file.error(f"expected the models 0 to {N_MODELS - 1}; missing: {missing}")
    return np.array([losses[seed] for seed in range(N_MODELS)])


def _models(file: CsvRows, names: Iterable[str]) -> tuple[int, ...]:
    """Return the seeds in *names*, which have to be those that the file is named after."""
    models = _seeds(file, names)
    stem = re.match(r"\d+(_\d+)*", file.path.name)
    expected = sorted(map(int, stem[0].split("_"))) if stem else []
    if sorted(models) != expected:
        missing = sorted(set(expected) - set(models))
        raise file.error(f"its name says models {expected}, its rows {sorted(models)}; missing: {missing}")
    return models


def _seeds(file: CsvRows, names: Iterable[str]) -> tuple[int, ...]:
    found = [(name, re.search(r"seed_(\d+)$", name)) for name in names]
    for name, seed in found:
        if not seed:
            raise file.error(f"expected a model's name like google/multiberts-seed_7, got {name!r}")
    return tuple(int(seed[1]) for _, seed in found if seed)
