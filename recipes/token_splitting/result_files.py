"""The authors' result CSVs.

Readers raise RunError, which names the file, where rows or cells are missing or a cell is no number.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from recipes.token_splitting.csv_rows import CsvRows
from recipes.token_splitting.source import Evaluation, MaskedLosses, TransferLosses

N_MODELS = 25


def read_masked_losses(path: Path) -> MaskedLosses:
    """Read `*_token_drop_out_test.csv`; the models in the file's name have to be those of its rows."""
    file = CsvRows(path)
    n_tokens = len(file.row("seed"))
    names = [name for name in file.rows if name != "seed"]
    models = _models(file, names)
    return MaskedLosses(models, np.array([file.numbers(name, n_tokens) for name in names]))


def read_evaluation(path: Path) -> Evaluation:
    """Read `*_evaluation_with_k_7_test.csv`: votes (MultiBERT seeds) and losses.

    Whole: "One model loss"; masked: "Normal prompt length"; shortened: "Shortened prompt length". The stored accuracies
    and averages are not used: they are computed from these.
    """
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
    """Read `val_losses_test.csv`, the losses on 25 models. The column `trained_on`, always "No", is not used."""
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
