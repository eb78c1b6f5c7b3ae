"""What the tables need to know about runs, whoever trained them: the authors' published folder, or `train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from promptscope.errors import PromptscopeError


class AbsentError(PromptscopeError):
    """A run or file that a cell needs is not there, or was refused."""


@dataclass(frozen=True)
class MaskedLosses:
    """The loss of every model with each prompt token set to zero."""

    models: tuple[int, ...]
    """MultiBERT seeds (places in the list of models, where others were trained on), in the order of the rows."""
    losses: Float[np.ndarray, "M k"]


@dataclass(frozen=True)
class Evaluation:
    """Votes, and the losses of whole, masked and shortened prompts."""

    models: tuple[int, ...]
    euclidean_vote: Int[np.ndarray, "k"]
    """The model (as in `models`) that each token's nearest neighbours vote for."""
    cosine_vote: Int[np.ndarray, "k"]
    whole_loss: Float[np.ndarray, "M"]
    """The loss of each model with the whole prompt."""
    masked_loss: Float[np.ndarray, "M"]
    """The model's own tokens are left, the others zero."""
    shortened_loss: Float[np.ndarray, "M"]
    """The model's own tokens are left, the others removed."""
    largest_masked_loss: Float[np.ndarray, "k"] | None = None
    """The loss without each token of the model that needs it most, where the same file says it."""
    needed_by: Int[np.ndarray, "k"] | None = None
    """That model (as in `models`), where the same file says it."""


@dataclass(frozen=True)
class TransferLosses:
    """The loss of one prompt on all models."""

    initial: Float[np.ndarray, "M"]
    trained: Float[np.ndarray, "M"]


class Source(Protocol):
    """Runs by class and name. Whatever is not there raises AbsentError."""

    @property
    def datasets(self) -> Sequence[str]:
        """Names of the tasks, as tables print them."""

    @property
    def counts(self) -> Sequence[str]:
        """Numbers of models that share a prompt, above one: the main classes of runs."""

    @property
    def others(self) -> Sequence[tuple[str, str]]:
        """Tasks that the paper does not have, each with the beginning of its runs' names."""

    def runs(self) -> list[str]:
        """Return the names of all runs."""

    def runs_of(self, dataset: str, kind: str) -> Sequence[str]:
        """Return the runs of a class: *kind* is a count, `init`, `train` (seeds) or `e...` (duration)."""

    def durations(self, dataset: str) -> dict[str, str]:
        """Return the rows of Table 6, shortest first, and the class of each."""

    def prompt(self, run: str, name: str = "soft_prompt") -> Float[np.ndarray, "k d"]:
        """Return a run's trained prompt, or its `init_soft_prompt`."""

    def masked_losses(self, run: str) -> MaskedLosses:
        """Return the test losses of a run with each token masked."""

    def evaluation(self, run: str) -> Evaluation:
        """Return a run's votes and test losses."""

    def transfer_losses(self, run: str) -> TransferLosses:
        """Return the test losses on all models."""

    def one_losses(self, dataset: str, folder: str = "1_models") -> Float[np.ndarray, "M"]:
        """Return the test losses of prompts that were each trained on one model."""

    def random_masked_losses(self, dataset: str, count: str) -> Float[np.ndarray, "n"]:
        """Return the test losses of all models of a class's runs; each keeps an equal, random share of the tokens."""
