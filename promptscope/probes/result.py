"""The result of a probe: labelled numbers with units, direction, intervals and provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from promptscope.cards import card
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.averages import average

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, repr=False)
class ProbeResult:
    """Labelled numbers, with units, direction, intervals and provenance.

    `data` is an `xarray.Dataset` with these variables:

    - `values`, `low`, `high`: the number and the ends of its 95 % interval over inputs (bootstrap, unless the probe
      says otherwise), with dimensions such as `prompt`, `layer`, `head`;
    - `per_example` (optional): the number for each input, with a dimension `example` after `prompt`;
    - `curve`, `curve_low`, `curve_high` (optional): the mean over heads, for `layer_curve()`;
    - anything else that a probe adds.

    `units` and `direction` say what the numbers are and which direction is more; `range` is the closed interval that
    they must lie in (None: unbounded). `n_examples` inputs were used; `n_skipped` were left out, because the number is
    undefined for them. `provenance` names model, task, prompts and versions.

    Raises:
        ProbeError: variables or dimensions do not fit together, or values are outside `range`.

    >>> result = ProbeResult.from_examples({"v1": np.ones((5, 2, 3)), "v2": np.zeros((5, 2, 3))}, name="demo")
    >>> result.dims, result.n_examples
    (('prompt', 'layer', 'head'), 5)
    >>> result.to_dataframe().columns.tolist()
    ['prompt', 'layer', 'head', 'value', 'low', 'high']
    """

    name: str
    data: xr.Dataset
    title: str = ""
    units: str = ""
    direction: str = ""
    range: tuple[float | None, float | None] = (None, None)
    n_examples: int = 0
    n_skipped: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "values" not in self.data:
            raise ProbeError(f"result {self.name!r} needs a variable 'values', got {sorted(map(str, self.data))}")
        for dim in self.dims:
            if dim not in self.data.coords:
                raise ProbeError(
                    f"dimension {dim!r} of result {self.name!r} must have a coordinate that names "
                    "its entries, and has none"
                )
        for name in ("low", "high"):
            if name in self.data and self.data[name].dims != self.data["values"].dims:
                raise ProbeError(
                    f"{name!r} of result {self.name!r} must have the dimensions of 'values', "
                    f"{self.dims}, and has {self.data[name].dims}"
                )
        values = self.values.values
        low = -np.inf if self.range[0] is None else self.range[0]
        high = np.inf if self.range[1] is None else self.range[1]
        if np.any(values < low - 1e-9) or np.any(values > high + 1e-9):
            raise ProbeError(
                f"the values of result {self.name!r} are in [{np.nanmin(values):g}, "
                f"{np.nanmax(values):g}], outside its range [{low:g}, {high:g}]: the probe's formula "
                "or its declared range is wrong"
            )

    @classmethod
    def from_examples(
        cls,
        per_example: Mapping[str, np.ndarray] | np.ndarray,
        dims: Sequence[str] = ("layer", "head"),
        coords: Mapping[str, Sequence[Any]] | None = None,
        name: str = "result",
        n_skipped: int = 0,
        **about: Any,
    ) -> ProbeResult:
        """Make a result from numbers `(X, *dims)` of X inputs: their mean, with a bootstrap 95 % interval.

        Args:
            per_example: an array `(X, *dims)`, or prompt -> array, which gives a dimension `prompt`. An input with a
                NaN for any prompt is left out for all of them, and counted in `n_skipped`.
            dims: names of the dimensions after the first.
            coords: dimension -> names of its entries (by default 0, 1, ...), also of `example`.
            about: the other fields of the result: `title`, `units`, `direction`, `range`, `provenance`.

        Raises:
            ProbeError: no input is left, or the arrays of prompts have different shapes.
        """
        data, left_out = average(per_example, dims, coords or {}, name)
        return cls(name, data, n_examples=data.sizes["example"], n_skipped=n_skipped + left_out, **about)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of the values."""
        return tuple(map(str, self.data["values"].dims))

    @property
    def values(self) -> xr.DataArray:
        """The numbers, as a labelled array: `result.values.sel(prompt="v2", layer=3)`."""
        return self.data["values"]

    def layer_curve(self) -> ProbeResult:
        """Return the mean over heads for each layer, with its own interval over inputs.

        Raises:
            ProbeError: the result has no layers, or has no means over heads.
        """
        if "layer" not in self.dims:
            raise ProbeError(f"result {self.name!r} has no layers: its dimensions are {', '.join(self.dims)}")
        if "curve" not in self.data:
            if not set(self.dims) & set(_AVERAGED):  # a figure draws one line for each entry of the others
                return self
            raise ProbeError(f"result {self.name!r} has no layer curve (means over heads): use result.values.mean(...)")
        averaged = next((plural for dim, plural in _AVERAGED.items() if dim in self.dims), "all else")
        names = {"curve": "values", "curve_low": "low", "curve_high": "high"}
        return replace(self, data=self.data[list(names)].rename(names), title=f"{self.title}, mean over {averaged}")

    def compare(self, first: str, second: str) -> ProbeResult:
        """Return `first - second` of two prompts over the same inputs, with its 95 % interval and `p_value`.

        The p-value is two-sided, of the paired permutation test over inputs, and not corrected for the number of heads.
        With a random prompt of the same norms as *second*, this compares a prompt with its null.

        Raises:
            ProbeError: an unknown prompt, prompts of different lengths, or a result without numbers for each input.
        """
        from promptscope.probes.comparison import compare_prompts

        return compare_prompts(self, first, second)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row for each number: its coordinates, `value`, `low`, `high` and the like."""
        columns = [name for name, array in self.data.data_vars.items() if array.dims == self.values.dims]
        table = self.data[columns].to_dataframe(dim_order=list(self.dims)).reset_index()
        return table[[*self.dims, *columns]].rename(columns={"values": "value"})

    def to_xarray(self) -> xr.Dataset:
        """Return a copy of `data` that has units, direction and the other fields as attributes."""
        about = {
            name: getattr(self, name) for name in ("name", "title", "units", "direction", "n_examples", "n_skipped")
        }
        return self.data.copy(deep=True).assign_attrs(about | {"provenance": json.dumps(self.provenance, default=str)})

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_dataframe` as CSV."""
        from promptscope.files import write_text

        write_text(Path(path), self.to_dataframe().to_csv(index=False))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_dataframe` as Parquet, with units and provenance in its metadata.

        Raises:
            ProbeError: pyarrow is not installed.
        """
        from promptscope.files import replace_atomically

        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ProbeError("Parquet needs pyarrow: pip install pyarrow, or use result.to_csv(path)") from error
        table = pyarrow.Table.from_pandas(self.to_dataframe(), preserve_index=False)
        about = {"promptscope": json.dumps(self.to_xarray().attrs, default=str)}
        described = table.replace_schema_metadata({**(table.schema.metadata or {}), **about})
        with replace_atomically(path) as temporary:
            pyarrow.parquet.write_table(described, temporary)

    def plot(self) -> go.Figure:
        """Draw the figure that fits the result's dimensions, such as a heat map of layers by heads: `ps.plots.plot`."""
        from promptscope.plots import plot  # plots imports probes; this is the user's shortcut to them

        return plot(self)

    @checked()
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `result.safetensors` and `result.json` to *folder*; `ps.load_result(folder)` reads them back."""
        from promptscope.probes.saving import save_result

        save_result(self, folder)

    def __repr__(self) -> str:
        shape = ", ".join(f"{dim} {size}" for dim, size in self.values.sizes.items())
        skipped = f" ({self.n_skipped} skipped)" if self.n_skipped else ""
        meaning = ", ".join(text for text in (self.units, self.direction) if text)
        lines = [
            f"ProbeResult {self.name!r}: {self.title or self.name} [{shape}]",
            f"  {meaning}; over {self.n_examples} inputs{skipped}",
        ]
        per_prompt = self.values if "prompt" in self.dims else self.values.expand_dims(prompt=[""])
        for prompt, values in zip(per_prompt["prompt"].values, per_prompt.transpose("prompt", ...), strict=True):
            lines.append(f"  {f'{prompt}: ' if prompt else ''}mean {float(values.mean()):.4g}{_largest(values)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first, *lines = repr(self).splitlines()
        facts = {"": lines[0].strip()}
        for line in lines[1:]:
            prompt, _, numbers = line.strip().rpartition(": ")
            facts[prompt or "all"] = numbers
        return card(first, facts)


_AVERAGED = {"head": "heads", "other": "pairs of tasks", "neuron": "neurons"}


def _largest(values: xr.DataArray) -> str:
    if values.ndim == 0 or values.isnull().all():
        return ""
    size = abs(values)
    top = values.where(size == size.max(), drop=True)
    place = ", ".join(f"{dim} {top[dim].values[0]}" for dim in values.dims)
    return f", largest {float(values.sel({dim: top[dim].values[0] for dim in values.dims})):.4g} at {place}"
