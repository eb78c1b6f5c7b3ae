"""The settings of a training run, apart from model, prompt and task."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from promptscope.checks import checked
from promptscope.errors import RunError

_MOST_EPOCHS = 1_000_000


@checked(error=RunError)
@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run.

    Args:
        steps: number of optimiser steps; give either steps or epochs.
        epochs: number of passes over the training split, rounded to whole steps.
        batch_size: records per forward pass.
        accumulation: forward passes per optimiser step; the loss is the mean over all their target tokens, so that
            (batch_size=4, accumulation=2) trains exactly as (8, 1).
        learning_rate: learning rate; with a warm-up or a schedule, its largest value.
        optimizer: `adamw` (weight decay is not part of the gradient) or `adam`.
        weight_decay: factor of the weight decay of the prompt's parameters, at least 0.
        betas: decay rates of Adam's running means of the gradient and of its square, in [0, 1).
        schedule: `constant`, or `linear` or `cosine` decay to zero after the warm-up.
        warmup_steps: number of first steps in which the learning rate grows linearly.
        max_grad_norm: clip the gradient of the whole prompt to this L2 norm; None: no clipping.
        padding: side of the padding in a batch. `right` has no effect on results. `left` (causal models) numbers
            positions from the first padding token, so that a gap of as many positions as there are padding tokens is
            between prompt and text; it depends on the longest text of the batch.
        max_length: truncate text so that a record has at most this many tokens; the model's context is a limit too.
        evaluate_every: steps between evaluations on the split `validation`, with one at the end; None: no evaluation.
        evaluate_limit: evaluate on this many first validation records only; None: on all.
        patience: stop after this many evaluations in a row without improvement; None: no early stopping.
        gradient_checkpointing: keep only each layer's input and run layers again in the backward pass, which needs
            less memory and a third more time; results are the same.
        snapshot_every: steps between snapshots of the prompt, the first at step 0; None: no snapshots.
        checkpoint_every: steps between checkpoints, from which an interrupted run continues; one is written at the
            start.
        seed: seed of the order of the records; the prompt has its own seed.

    Raises:
        RunError: a value is out of its range, or both or neither of steps and epochs are given.

    >>> TrainConfig(steps=100, learning_rate=0.01).schedule
    'constant'
    """

    steps: int | None = None
    epochs: int | float | None = None
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: int | float = 1e-2
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: int | float = 0.0
    betas: tuple[int | float, int | float] = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    max_grad_norm: int | float | None = None
    padding: Literal["right", "left"] = "right"
    max_length: int | None = None
    evaluate_every: int | None = None
    evaluate_limit: int | None = None
    patience: int | None = None
    gradient_checkpointing: bool = False
    snapshot_every: int | None = None
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise RunError(f"give either steps or epochs, got steps={self.steps}, epochs={self.epochs}")
        for name in (
            "steps",
            "epochs",
            "batch_size",
            "accumulation",
            "learning_rate",
            "max_grad_norm",
            "max_length",
            "evaluate_every",
            "evaluate_limit",
            "patience",
            "snapshot_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise RunError(f"{name} must be a finite number above 0, got {value}")
            if value is not None and name not in ("epochs", "learning_rate", "max_grad_norm") and value != int(value):
                raise RunError(f"{name} must be a whole number, got {value}")
        if self.epochs is not None and self.epochs > _MOST_EPOCHS:
            raise RunError(f"epochs must be at most {_MOST_EPOCHS}, got {self.epochs}")
        if self.patience is not None and self.evaluate_every is None:
            raise RunError(
                f"patience={self.patience} counts evaluations and needs evaluate_every, got None: give evaluate_every "
                "too"
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise RunError(f"weight_decay must be a finite number of at least 0, got {self.weight_decay}")
        if self.warmup_steps < 0 or self.warmup_steps != int(self.warmup_steps):
            raise RunError(f"warmup_steps must be a whole number of at least 0, got {self.warmup_steps}")
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise RunError(f"betas must be two numbers in [0, 1), got {self.betas}")
        if not 0 <= self.seed < 2**32:
            raise RunError(f"seed must lie in 0..2**32 - 1, got {self.seed}")
        choices = {
            "optimizer": ("adamw", "adam"),
            "schedule": ("constant", "linear", "cosine"),
            "padding": ("right", "left"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise RunError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def n_steps(self, n_records: int) -> int:
        """Return the number of steps of a run that trains on *n_records* records.

        >>> TrainConfig(epochs=2, batch_size=4, accumulation=2).n_steps(20)  # 3 batches an epoch
        6
        """
        batches = math.ceil(n_records / (self.batch_size * self.accumulation))
        return self.steps or max(1, round((self.epochs or 0) * batches))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as values that JSON can hold."""
        values = asdict(self) | {"betas": list(self.betas)}
        if self.padding == "right":
            del values["padding"]  # runs that were described before there was another stay what they were
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrainConfig":
        """Return the settings from the values that `to_json` returned."""
        return cls(**{**values, "betas": tuple(values["betas"])})
