"""Divide a result into facets or lines: one for each combination of the dimensions that are not drawn."""

from itertools import product

import xarray as xr

from promptscope.errors import ProbeError
from promptscope.probes import ProbeResult


def facets(result: ProbeResult, drawn: tuple[str, ...]) -> list[tuple[str, xr.Dataset]]:
    """Return (label, data over the *drawn* dimensions) for each prompt, task, ... of *result*.

    Raises:
        ProbeError: the result lacks one of the dimensions to draw.
    """
    missing = [dim for dim in drawn if dim not in result.dims]
    if missing:
        raise ProbeError(
            f"this figure needs the dimensions {' and '.join(drawn)}, and {result.name!r} has "
            f"{', '.join(result.dims)}: use ps.plots.plot, which chooses a figure, or "
            "result.to_dataframe()"
        )
    others = [dim for dim in result.dims if dim not in drawn]
    choices = product(*(result.data[dim].values.tolist() for dim in others))
    same_shape = [name for name, array in result.data.data_vars.items() if array.dims == result.dims]
    return [
        (", ".join(map(str, choice)), result.data[same_shape].sel(dict(zip(others, choice, strict=True))))
        for choice in choices
    ]
