"""From one number per input to means with intervals, as labelled arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from promptscope.errors import ProbeError
from promptscope.statistics import mean_interval


def average(
    per_example: Mapping[str, np.ndarray] | np.ndarray,
    dims: Sequence[str],
    coords: Mapping[str, Sequence[Any]],
    name: str,
) -> tuple[xr.Dataset, int]:
    """Average arrays `(X, *dims)` over X inputs; a dict prompt -> array gives a dimension `prompt`.

    Returns the variables of a `ProbeResult`, and how many inputs were left out. An input with a NaN for any prompt is
    left out for all of them.

    Raises:
        ProbeError: arrays of different shapes, or no input left.
    """
    arrays = list(per_example.values()) if isinstance(per_example, Mapping) else [per_example]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1 or arrays[0].ndim != len(dims) + 1:
        raise ProbeError(f"{name}: expected arrays of one shape (inputs, {', '.join(dims)}), got {shapes}")
    stack = np.stack(arrays, axis=1).astype(np.float64)  # (X, prompt, *dims)
    defined = np.asarray(~np.isnan(stack.reshape(len(stack), -1)).any(axis=1))
    if not defined.any():
        raise ProbeError(
            f"{name} is undefined (NaN) for each of the {len(stack)} inputs: are they long enough, "
            "and is there text between their special tokens?"
        )
    labels = {dim: list(coords.get(dim, range(size))) for dim, size in zip(dims, stack.shape[2:], strict=True)}
    all_examples = coords.get("example", range(len(stack)))
    labels["example"] = [example for example, kept in zip(all_examples, defined, strict=True) if kept]
    stack = stack[defined]
    lead: tuple[str, ...] = ()
    if isinstance(per_example, Mapping):
        lead, labels["prompt"] = ("prompt",), list(per_example)
    else:
        stack = stack[:, 0]
    kept_dims = (*lead, *dims)
    variables = _mean("values", "low", "high", stack, kept_dims)
    examples = np.moveaxis(stack, 0, len(lead)).astype(np.float32)
    variables["per_example"] = ((*lead, "example", *dims), examples)
    others = tuple(1 + i for i, dim in enumerate(kept_dims) if dim not in ("prompt", "layer"))
    if "layer" in dims and others:
        curve_dims = tuple(dim for dim in kept_dims if dim in ("prompt", "layer"))
        variables |= _mean("curve", "curve_low", "curve_high", stack.mean(axis=others), curve_dims)
    return xr.Dataset(variables, coords=labels), int((~defined).sum())


def _mean(value: str, low: str, high: str, stack: np.ndarray, dims: tuple[str, ...]) -> dict[str, Any]:
    interval = mean_interval(stack)
    return {value: (dims, stack.mean(axis=0)), low: (dims, interval[0]), high: (dims, interval[1])}
