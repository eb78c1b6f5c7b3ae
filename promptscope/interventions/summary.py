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

    def ratio(weights: np.ndarray) -> np.ndarray:
        whole, without = np.split(every_loss(weights), [1], axis=-1)
        return np.divide(without, whole, out=np.full_like(without, np.nan), where=whole > 0)

    estimates: dict[str, Estimate] = {
        "loss": lambda weights: every_loss(weights)[..., 1:],
        "difference": lambda weights: (every := every_loss(weights))[..., 1:] - every[..., :1],
        "ratio": ratio,
        "kl": lambda weights: np.tensordot(weights, kl, axes=1),
        "whole": lambda weights: every_loss(weights)[..., 0],
    }
    each = losses / n_targets[..., None]
    per_example = {"loss": each[..., 1:], "whole": each[..., 0]}

    def result(name: str, title: str, direction: str, **more: Any) -> ProbeResult:
        dims = ("model",) if name == "whole" else ("model", "token")
        data = _data(estimates[name], len(n_targets), dims, coords, per_example.get(name))
        more = {"units": "nats per target token", "range": (0.0, None)} | more
        about: dict[str, Any] = {"n_examples": len(n_targets), "provenance": provenance}
        return ProbeResult(name, data, title=title, direction=direction, **about, **more)

    more = "higher = more important"
    without = f"Loss with a token {gone}"
    unchanged = "loss of the whole prompt"
    return Importance(
        loss=result("loss", without, more),
        difference=result(
            "difference",
            f"{without}, minus {unchanged}",
            f"{more}; below 0 = better without the token",
            range=(None, None),
        ),
        ratio=result("ratio", f"{without}, over {unchanged}", f"{more}; 1 = the token does not matter", units="ratio"),
        kl=result("kl", f"KL of the output from that of the whole prompt, with a token {gone}", more, units="nats"),
        whole=result("whole", "Loss of the whole prompt", "lower = better"),
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
