"""The authors' result CSVs.

Readers raise RunError, which names the file, where rows or cells are missing or a cell is no number.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from recipes.token_splitting.csv_rows import CsvRows
from recipes.token_splitting.source import Evaluation, MaskedLosses, TransferLosses

N_MODELS = 25
LARGEST = 1e6


def read_masked_losses(path: Path) -> MaskedLosses:
    """Read `*_token_drop_out_test.csv`; the models in the file's name have to be those of its rows."""
    file = CsvRows(path)
    n_tokens = _n_tokens(file, "seed")
    names = [name for name in file.rows if name != "seed"]
    models = _models(file, names)
    return MaskedLosses(models, np.array([_losses(file, name, n_tokens) for name in names]))


def read_evaluation(path: Path) -> Evaluation:
    """Read `*_evaluation_with_k_7_test.csv`: votes (MultiBERT seeds) and losses.

    Whole: "One model loss"; masked: "Normal prompt length"; shortened: "Shortened prompt length". What is stored twice
    has to agree: an average with its row, accuracies (where they are there) with the votes.
    """
    file = CsvRows(path)
    n_tokens = _n_tokens(file, "token id")
    *names, average = file.row("Prompt compression")
    if average != "average":
        raise file.error(f"the last column of 'Prompt compression' is {average!r}, expected 'average'")
    models = _models(file, names)

    def seeds(name: str) -> Int[np.ndarray, "k"]:
        votes = np.array(file.numbers(name, n_tokens))
        unknown = sorted({vote for vote in votes.tolist() if vote not in models})
        if unknown:
            raise file.error(f"the row {name!r} votes for {unknown}, expected models among {list(models)}")
        return votes.astype(np.int64)

    assignment = seeds("Loss assignment") if "Loss assignment" in file.rows else None
    for metric in ("Euclidean", "Cosine") if assignment is not None else ():
        _check_accuracies(file, metric, seeds(f"{metric} assignment") == assignment)
    alike = float((seeds("Euclidean assignment") == seeds("Cosine assignment")).mean())
    _check_share(file, "Euclidean to cosine accuracy", alike)

    def losses(name: str) -> Float[np.ndarray, "M"]:
        *of_models, mean = _losses(file, name, len(models) + 1)
        if not np.isclose(np.mean(of_models), mean, rtol=1e-3):
            raise file.error(
                f"the average of the row {name!r} is {mean:.4f}, that of its numbers {np.mean(of_models):.4f}"
            )
        return np.array(of_models)

    return Evaluation(
        models,
        euclidean_vote=seeds("Euclidean assignment"),
        cosine_vote=seeds("Cosine assignment"),
        whole_loss=losses("One model loss"),
        masked_loss=losses("Normal prompt length"),
        shortened_loss=losses("Shortened prompt length"),
        largest_masked_loss=np.array(_losses(file, "Loss", n_tokens)),
        needed_by=assignment,
    )


def read_transfer_losses(path: Path) -> TransferLosses:
    """Read `val_losses_test.csv`, the losses on 25 models. The column `trained_on`, always "No", is not used."""
    file = CsvRows(path)
    columns = []
    for name in ("initial_val_loss", "val_loss"):
        losses = file.column("seed", name)
        _check_losses(file, name, losses.values())
        columns.append(_by_seed(file, _seeds(file, losses), list(losses.values())))
    return TransferLosses(*columns)


def read_one_losses(path: Path) -> Float[np.ndarray, "M"]:
    """Read the losses of 25 prompts, each trained on one model; the rows `mean` and `std` have to be of these."""
    file = CsvRows(path)
    losses = file.column("model_number", "val_loss")
    _check_losses(file, "val_loss", losses.values())
    numbered = {name: loss for name, loss in losses.items() if name not in ("mean", "std")}
    wrong = [name for name in numbered if not re.fullmatch(r"\d+", name, re.ASCII)]
    if wrong:
        raise file.error(f"expected the models' numbers, mean and std as first cells, got {', '.join(wrong)}")
    found = _by_seed(file, [int(name) for name in numbered], list(numbered.values()))
    for name, number in (("mean", found.mean()), ("std", found.std())):
        if not np.isclose(losses.get(name, number), number, rtol=1e-3):
            raise file.error(f"the row {name!r} says {losses[name]:.4f}, and the losses have {number:.4f}")
    return found


def _n_tokens(file: CsvRows, header: str) -> int:
    """Return how many tokens have a column; the columns have to be 0, 1, 2, ... in order."""
    names = file.row(header)
    if names != [str(token) for token in range(len(names))]:
        raise file.error(f"expected the tokens 0, 1, ... in order as the columns of {header!r}, got {', '.join(names)}")
    return len(names)


def _losses(file: CsvRows, name: str, n: int) -> list[float]:
    numbers = file.numbers(name, n)
    _check_losses(file, name, numbers)
    return numbers


def _check_losses(file: CsvRows, name: str, losses: Iterable[float]) -> None:
    for loss in losses:
        if loss < 0:
            raise file.error(f"{name!r} holds a loss below zero: {loss}")
        if loss > LARGEST:
            raise file.error(f"{name!r} holds {loss}, expected losses in nats, which are not above {LARGEST:g}")


def _by_seed(file: CsvRows, seeds: Sequence[int], losses: Sequence[float]) -> Float[np.ndarray, "M"]:
    missing = [seed for seed in range(N_MODELS) if seed not in seeds]
    others = sorted(seed for seed in seeds if seed >= N_MODELS or seeds.count(seed) > 1)
    if missing or others:
        raise file.error(
            f"expected the models 0 to {N_MODELS - 1}, each once; missing: {missing}, twice or unknown: {others}"
        )
    return np.array([losses[seeds.index(seed)] for seed in range(N_MODELS)])


def _check_accuracies(file: CsvRows, metric: str, agree: Bool[np.ndarray, "k"]) -> None:
    """Refuse votes whose agreement with the losses is not the accuracy that the same file gives."""
    expected = {f"{metric} accuracy": float(agree.mean())}
    certainty = f"{metric} certanty"  # as the authors spell it
    if certainty in file.rows:
        weights = np.array(file.numbers(certainty, len(agree)))
        if not ((weights > 0) & (weights <= 1)).all():
            raise file.error(f"the row {certainty!r} holds {weights.tolist()}, expected shares of the neighbours")
        expected[f"{metric} weighted accuracy"] = float((weights * agree).sum() / weights.sum())
    for name, share in expected.items():
        _check_share(file, name, share)


def _check_share(file: CsvRows, name: str, share: float) -> None:
    if name in file.rows and not np.isclose(file.numbers(name, 1)[0], share, atol=1e-4):
        raise file.error(
            f"the row {name!r} says {file.numbers(name, 1)[0]:.4f}, and the votes of the file have {share:.4f}: one of "
            "them was changed"
        )


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
