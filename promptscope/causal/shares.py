"""Measured changes as labelled shares of the effect."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from promptscope.causal.effect import PromptEffect
from promptscope.probes import ProbeResult
from promptscope.statistics import effect_share, mean_interval


def as_shares(
    moved: Float[np.ndarray, "X *dims"],
    effect: PromptEffect,
    dims: Sequence[str],
    coords: Mapping[str, Sequence[Any]],
    name: str,
    title: str,
    direction: str,
    extra: Mapping[str, np.ndarray] | None = None,
    about: Mapping[str, Any] | None = None,
) -> ProbeResult:
    """Return changes as shares of the effect, a `ProbeResult` with the dimensions *dims*.

    *moved* (X, *dims): change of log p(gold) on each input, in nats. In the result, `values`, `low` and `high` are
    shares (NaN where the effect is too small to be divided by, see `ps.statistics.effect_share`), `nats`, `nats_low`
    and `nats_high` the mean changes in nats; `per_example` has the change on each input, in nats.
    """
    share, low, high = effect_share(moved, effect.gold)
    nats_low, nats_high = mean_interval(moved)
    cells = tuple(dims)
    data = {
        "values": (cells, share),
        "low": (cells, low),
        "high": (cells, high),
        "nats": (cells, moved.mean(axis=0, dtype=np.float64)),
        "nats_low": (cells, nats_low),
        "nats_high": (cells, nats_high),
        "nats_per_example": (("example", *cells), moved.astype(np.float32)),
        **{key: (cells, value) for key, value in (extra or {}).items()},
    }
    labels = {dim: list(coords.get(dim, range(size))) for dim, size in zip(dims, moved.shape[1:], strict=True)}
    return ProbeResult(
        name,
        xr.Dataset(data, coords=labels | {"example": effect.inputs.ids}),
        title=title,
        units="share of the effect",
        direction=direction,
        n_examples=len(moved),
        provenance=effect.provenance | dict(about or {}),
    )
