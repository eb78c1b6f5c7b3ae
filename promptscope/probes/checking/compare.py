"""Comparison of two results that should be equal."""

from __future__ import annotations

import numpy as np

from promptscope.probes.result import ProbeResult


def difference(
    first: ProbeResult, second: ProbeResult, tolerance: float = 1e-4, everything: bool = False
) -> str | None:
    """Return in words how two results differ; None if they agree.

    The values and the numbers of single inputs (matched by the inputs' ids) are compared; *tolerance* is relative to
    the largest value. With *everything*, also all other numbers of the result are: intervals, p-values and what a probe
    adds.
    """
    if first.dims != second.dims:
        return f"dimensions {first.dims} and {second.dims}"
    names = ["values", "per_example"]
    if everything:
        names += [str(name) for name in first.data.data_vars if name not in names]
    for name in names:
        if name not in first.data or name not in second.data or first.data[name].dtype.kind not in "biuf":
            continue
        a, b = first.data[name], second.data[name]
        if dict(a.sizes) != dict(b.sizes):
            return f"{name} of shapes {dict(a.sizes)} and {dict(b.sizes)}"
        if "example" in a.dims:
            if set(a["example"].values.tolist()) != set(b["example"].values.tolist()):
                return f"{name} of different inputs"
            b = b.sel(example=a["example"])
        x, y = (np.asarray(array.values, dtype=np.float64) for array in (a, b))
        if np.isnan(x).any() != np.isnan(y).any():
            return f"{name} with NaN in one of them only"
        scale = max(np.nanmax(np.abs(x), initial=0.0), np.nanmax(np.abs(y), initial=0.0))
        apart = np.abs(x - y)
        if np.nanmax(apart, initial=0.0) > tolerance * scale + 1e-7:
            where = np.unravel_index(int(np.nanargmax(apart)), apart.shape)
            place = ", ".join(f"{dim} {a[dim].values[i]}" for dim, i in zip(a.dims, where, strict=True))
            return f"{name} at {place}: {x[where]:.6g} and {y[where]:.6g}"
    return None


def loss_in_saving(before: ProbeResult, after: ProbeResult) -> str | None:
    """Return in words what a result lost when it was saved and loaded; None for nothing."""
    if type(after) is not type(before):
        return f"it was a {type(before).__name__} and came back as a {type(after).__name__}"
    for field in ("name", "title", "units", "direction", "range", "n_examples", "n_skipped"):
        if getattr(before, field) != getattr(after, field):
            return f"{field} was {getattr(before, field)!r} and came back as {getattr(after, field)!r}"
    if before.provenance.keys() != after.provenance.keys():
        return f"provenance lost {sorted(before.provenance.keys() ^ after.provenance.keys())}"
    for key, value in before.provenance.items():
        if _listed(value) != after.provenance[key]:
            return f"provenance {key!r} was {value!r} and came back as {after.provenance[key]!r}"
    if _listed(before.data.attrs) != after.data.attrs:
        return f"the attributes of its data were {before.data.attrs} and came back as {after.data.attrs}"
    if set(before.data.variables) != set(after.data.variables):
        return f"variables {sorted(map(str, set(before.data.variables) ^ set(after.data.variables)))} are not in both"
    for name in before.data.variables:
        a, b = before.data[name], after.data[name]
        same = a.dims == b.dims and a.shape == b.shape and _listed(a.attrs) == b.attrs
        same = same and (a.dtype.kind == b.dtype.kind or not {a.dtype.kind, b.dtype.kind} & set("biufcM"))
        numbers = same and a.dtype.kind in "fc"
        if not same or not np.array_equal(a.values, b.values, equal_nan=bool(numbers)):
            return (
                f"{name!r} was {a.dtype} {a.dims} with the attributes {a.attrs}, and came back as {b.dtype} {b.dims} "
                f"with {b.attrs}, or with other values"
            )
    return None


def _listed(value: Any) -> Any:
    """Return *value* with lists for tuples: JSON does not distinguish them."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
