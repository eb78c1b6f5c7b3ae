"""Cutting a result into pictures: one facet or line for each combination of the dimensions that are not drawn."""

from itertools import product

import xarray as xr

from promptscope.errors import ProbeError
from promptscope.probes import ProbeResult


def facets(result: ProbeResult, drawn: tuple[str, ...]) -> list[tuple[str, xr.Dataset]]:
    """Return (label, data over the *drawn* dimensions) for every prompt, task, ... of *result*.

    Raises:
        ProbeError: the result lacks a dimension that is drawn.
    """
    missing = [dim for dim in drawn if dim not in result.dims]
    if missing:
        raise ProbeError(
            f"cannot draw {result.name!r} over {' and '.join(drawn)}: its dimensions are {', '.join(result.dims)}. "
            "Select or average first, or use result.to_dataframe()"
        )
    others = [dim for dim in result.dims if dim not in drawn]
    choices = product(*(result.data[dim].values.tolist() for dim in others))
    same_shape = [name for name, array in result.data.data_vars.items() if array.dims == result.dims]
    return [
        (", ".join(map(str, choice)), result.data[same_shape].sel(dict(zip(others, choice, strict=True))))
        for choice in choices
    ]
