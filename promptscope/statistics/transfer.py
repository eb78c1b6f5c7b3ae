"""How well prompts work on models that they were not trained on.

There are P prompts and M models. `trained[p, m]` is the loss of prompt p on model m after training, `initial[p, m]`
before it; `trained_on[p, m]` is True if prompt p was trained on model m.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import checked


@dataclass(frozen=True)
class Transfer:
    """Means for each prompt, (P,), in units of the loss (NaN where there is no model), and a share without unit.

    >>> losses = transfer_summary(np.array([[1.0, 9.0]]), np.array([[9.0, 10.0]]), np.array([[True, False]]))
    >>> losses.own_loss.tolist(), losses.other_loss.tolist()
    ([1.0], [9.0])
    """

    own_loss: Float[np.ndarray, "P"]
    """Mean loss on the models that the prompt was trained on."""
    other_loss: Float[np.ndarray, "P"]
    """Mean loss on all other models."""
    own_gain: Float[np.ndarray, "P"]
    """Mean of `initial - trained` on the prompt's own models; higher = training helped more."""
    other_gain: Float[np.ndarray, "P"]
    """The same on all other models; around 0 = nothing is transferred."""
    transferred: Float[np.ndarray, "P"]
    """`other_gain / own_gain`: 1 = other models gain as much as the prompt's own; NaN if its own gain nothing."""


@checked()
def transfer_summary(
    trained: Float[np.ndarray, "P M"], initial: Float[np.ndarray, "P M"], trained_on: Bool[np.ndarray, "P M"]
) -> Transfer:
    """Summarise the losses (P, M) of P prompts on M models, as in Table 8 of Reimann & Sadrieh 2024.

    >>> losses = transfer_summary(np.array([[1.0, 9.0]]), np.array([[9.0, 10.0]]), np.array([[True, False]]))
    >>> losses.own_gain.tolist(), losses.other_gain.tolist(), losses.transferred.tolist()
    ([8.0], [1.0], [0.125])
    """
    gain = initial.astype(np.float64) - trained.astype(np.float64)
    own_gain, other_gain = _mean(gain, trained_on), _mean(gain, ~trained_on)
    helped = own_gain > 0
    share = np.where(helped, other_gain / np.where(helped, own_gain, 1.0), np.nan)
    return Transfer(_mean(trained, trained_on), _mean(trained, ~trained_on), own_gain, other_gain, share)


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    n = where.sum(axis=1)
    total = np.where(where, values.astype(np.float64), 0.0).sum(axis=1)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))
