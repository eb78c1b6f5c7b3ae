"""From losses of single examples to importances with intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from promptscope.interventions.result import Importance
from promptscope.probes import ProbeResult
from promptscope.statistics import bootstrap_interval

Estimate = Callable[[np.ndarray], np.ndarray]
"""A function from R rows of weights over examples, (R, X), to R values."""


def summarise(
    losses: Float[np.ndarray, "X M k1"],
    n_targets: Float[np.ndarray, "X M"],
    kl: Float[np.ndarray, "X M k"],
    coords: Mapping[str, Sequence[Any]],
    gone: str,
    provenance: dict[str, Any],
) -> Importance:
    """Return the importances of k tokens to M models.

    *losses* (X, M, k + 1) are summed over each example's target tokens, first those with the whole prompt, then those
    without each token. *gone* says what is done to that token ("zeroed", ...). *coords* names `model`, `token` and
    `example`.
    """

    def every_loss(weights: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, losses, axes=1) / (weights @ n_targets)[..., None]  # (R, M, 1 + k)

    def whole(weights: np.ndarray) -> np.ndarray:
        return every_loss(weights)[..., 0]

    def masked(weights: np.ndarray) -> np.ndarray:
        return every_loss(weights)[..., 1:]

    def difference(weights: np.ndarray) -> np.ndarray:
        every = every_loss(weights)
        return every[..., 1:] - every[..., :1]

    def ratio(weights: np.ndarray) -> np.ndarray:
        every = every_loss(weights)
        without, whole = every[..., 1:], every[..., :1]
        return np.divide(without, whole, out=np.full_like(without, np.nan), where=whole > 0)

    def divergence(weights: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, kl, axes=1)

    each = losses / n_targets[..., None]

    def result(
        name: str, estimate: Estimate, title: str, direction: str, per_example: np.ndarray | None = None, **more: Any
    ) -> ProbeResult:
        dims = ("model",) if name == "whole" else ("model", "token")
        data = _data(estimate, len(n_targets), dims, coords, per_example)
        more = {"units": "nats per target token", "range": (0.0, None)} | more
        about: dict[str, Any] = {"n_examples": len(n_targets), "provenance": provenance}
        return ProbeResult(name, data, title=title, direction=direction, **about, **more)

    more = "higher = more important"
    without = f"Loss with a token {gone}"
    unchanged = "loss of the whole prompt"
    return Importance(
        loss=result("loss", masked, without, more, each[..., 1:]),
        difference=result(
            "difference",
            difference,
            f"{without}, minus {unchanged}",
            f"{more}; below 0 = better without the token",
            range=(None, None),
        ),
        ratio=result(
            "ratio", ratio, f"{without}, over {unchanged}", f"{more}; 1 = the token does not matter", units="ratio"
        ),
        kl=result(
            "kl", divergence, f"KL of the output from that of the whole prompt, with a token {gone}", more, units="nats"
        ),
        whole=result("whole", whole, "Loss of the whole prompt", "lower = better", each[..., 0]),
    )


def _data(
    estimate: Estimate,
    n: int,
    dims: tuple[str, ...],
    coords: Mapping[str, Sequence[Any]],
    per_example: np.ndarray | None = None,
) -> xr.Dataset:
    """Return the estimate over all examples with its bootstrap interval, and the numbers of single examples."""
    low, high = bootstrap_interval(estimate, n)
    variables: dict[str, Any] = {"values": (dims, estimate(np.full((1, n), 1 / n))[0])}
    variables |= {"low": (dims, low), "high": (dims, high)}
    if per_example is not None:
        variables["per_example"] = ((*dims, "example"), np.moveaxis(per_example, 0, -1).astype(np.float32))
        dims = (*dims, "example")
    return xr.Dataset(variables, coords={dim: list(coords[dim]) for dim in dims})
