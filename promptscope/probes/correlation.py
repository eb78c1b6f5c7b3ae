"""Correlation of two results over the heads of groups of layers, such as attention KL with attention variability."""

import numpy as np
import xarray as xr

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.result import ProbeResult
from promptscope.statistics import grouped_pearson, layer_quarters


@checked()
def correlate(change: ProbeResult, property: ProbeResult, n_groups: int = 4) -> ProbeResult:
    """Return Pearson's r of two numbers of each head, such as attention KL and variability, in groups of layers.

    Groups divide the depth into *n_groups* equal parts (24 layers in 4 groups: 0-5, 6-11, 12-17, 18-23); r is over all
    heads of a group. `values` is r, in [-1, 1], with its 95 % interval `low`, `high` (Fisher's z) and the two-sided
    `p_value`; figures mark p < 0.05. Both treat heads as independent, which heads of one layer are not, so they
    overstate the evidence. NaN for groups of fewer than three heads.

    Args:
        change: a result over layers and heads, with or without prompts.
        property: a result over the same layers and heads, without prompts.

    Raises:
        ProbeError: results of different models, layers or heads, or *property* has prompts.

    Reference: *Toward the explainable soft prompts*, section 4.3 and Figure 6.

    >>> heads = np.random.default_rng(0).random((10, 8, 6))
    >>> change = ProbeResult.from_examples({"v2": 1 - heads}, name="attention_kl")
    >>> result = correlate(change, ProbeResult.from_examples(heads, name="attention_variability"))
    >>> result.values.round(6).sel(prompt="v2", layers=["0-1", "6-7"]).values.tolist()
    [-1.0, -1.0]
    """
    _check(change, property)
    layers = change.data["layer"].values
    groups = layer_quarters(len(layers), n_groups)
    base = property.values.transpose("layer", "head").values
    values = change.values if "prompt" in change.dims else change.values.expand_dims(prompt=[change.name])
    rows = [
        grouped_pearson(np.asarray(one, dtype=np.float64), base, groups)
        for one in values.transpose("prompt", "layer", "head").values
    ]
    names = ["-".join(dict.fromkeys((str(layers[group[0]]), str(layers[group[-1]])))) for group in groups]
    variables = {
        name: (("prompt", "layers"), np.stack(numbers))
        for name, numbers in zip(("values", "p_value", "low", "high"), zip(*rows, strict=True), strict=True)
    }
    return ProbeResult(
        name=f"{change.name}_and_{property.name}",
        data=xr.Dataset(variables, coords={"prompt": values["prompt"].values, "layers": names}),
        title=f"{change.title or change.name} and {property.title or property.name}: correlation over heads",
        units="Pearson's r",
        direction="positive = heads with more of the one have more of the other",
        range=(-1.0, 1.0),
        n_examples=change.n_examples,
        n_skipped=change.n_skipped,
        provenance=change.provenance | {"property": property.provenance},
    )


def _check(change: ProbeResult, property: ProbeResult) -> None:
    for result, dims in ((change, {"layer", "head", "prompt"}), (property, {"layer", "head"})):
        if not {"layer", "head"} <= set(result.dims) <= dims:
            raise ProbeError(
                "correlate(change, property) needs results over layer and head, the second without "
                f"prompts; {result.name!r} has the dimensions {', '.join(result.dims)}"
            )
    first, second = (result.provenance.get("model", {}).get("weights_hash") for result in (change, property))
    if first != second:
        raise ProbeError(
            f"{change.name!r} and {property.name!r} must be measured on the same model, and are not: probe one model"
        )
    for dim in ("layer", "head"):
        mine, theirs = (result.data[dim].values.tolist() for result in (change, property))
        if mine != theirs:
            raise ProbeError(f"{change.name!r} and {property.name!r} have different {dim}s: {mine} and {theirs}")
