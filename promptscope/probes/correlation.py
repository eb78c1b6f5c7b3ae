"""Do the heads that depend on content change most? Correlation of two results over the heads of layer groups."""

import numpy as np
import xarray as xr

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.result import ProbeResult
from promptscope.statistics import grouped_pearson, layer_quarters


@checked()
def correlate(change: ProbeResult, property: ProbeResult, n_groups: int = 4) -> ProbeResult:
    """Return Pearson's r between two numbers of each head, such as attention KL and variability, in groups of layers.

    Groups are quarters of the depth (24 layers: 0-5, 6-11, 12-17, 18-23); r is over all heads of a group. *change* may
    have prompts, *property* is of the plain model. Besides `values` (r, in [-1, 1]) with the 95 % interval `low`,
    `high` there is the two-sided `p_value`; a figure marks p < 0.05. Heads are taken as independent, which heads of one
    layer are not quite: read p-values as an upper bound of the evidence. NaN for fewer than three heads in a group.

    Raises:
        ProbeError: results of different models, layers or heads, or a *property* with prompts.

    Reference: *attention and neurons* (S0), section 4.3 and Figure 6.

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
                f"correlate(change, property) needs numbers of heads, the second without prompts; {result.name!r} has "
                f"{', '.join(result.dims)}"
            )
    first, second = (result.provenance.get("model", {}).get("weights_hash") for result in (change, property))
    if first != second:
        raise ProbeError(f"{change.name!r} and {property.name!r} were measured on different models: probe one model")
    for dim in ("layer", "head"):
        mine, theirs = (result.data[dim].values.tolist() for result in (change, property))
        if mine != theirs:
            raise ProbeError(f"{change.name!r} and {property.name!r} have different {dim}s: {mine} and {theirs}")
