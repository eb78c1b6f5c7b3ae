"""From a layer curve to the layers that a deep prompt is written to."""

from dataclasses import dataclass

import numpy as np

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.result import ProbeResult
from promptscope.statistics import peak_and_trough_groups, peaks_and_troughs


@dataclass(frozen=True)
class LayerGroups:
    """Peaks and troughs of a layer curve, and two groups of layers made from them for `ps.DeepPrompt(layers=...)`.

    `peaks` and `troughs` are the layers of local maxima and minima; `peak_group` and `trough_group` also have the first
    and the last layers.

    >>> import promptscope as ps
    >>> groups = LayerGroups(peaks=(3,), troughs=(2,), peak_group=(0, 3, 5), trough_group=(0, 2, 5))
    >>> ps.DeepPrompt(length=4, layers=groups.peak_group).layers
    (0, 3, 5)
    """

    peaks: tuple[int, ...]
    troughs: tuple[int, ...]
    peak_group: tuple[int, ...]
    trough_group: tuple[int, ...]


@checked()
def layer_groups(
    result: ProbeResult, first: int = 1, last: int = 4, tolerance: float = 0.0, **select: str
) -> LayerGroups:
    """Return the peaks and troughs of *result*'s layer curve, and two groups of layers for deep prompts.

    Both groups also have the *first* lowest layers and the *last* highest ones.

    Args:
        result: a result with a dimension `layer`; its mean over heads is used.
        tolerance: share of the curve's range, in [0, 1], up to which a step counts as flat.
        select: chooses one curve of several, such as `prompt="v2"`.

    Raises:
        ProbeError: several curves and none chosen, fewer than three layers, or two groups that are the same.

    Reference: *Toward the explainable soft prompts*, section 5; see `ps.statistics.peaks_and_troughs`.

    >>> curve = np.array([[0.1, 0.5, 0.2, 0.6, 0.3, 0.4]])
    >>> groups = layer_groups(ProbeResult.from_examples({"v2": curve}, dims=("layer",)), last=1, prompt="v2")
    >>> groups.peak_group, groups.trough_group
    ((0, 1, 3, 5), (0, 2, 4, 5))
    """
    values = result.layer_curve().values
    for dim, label in select.items():
        if dim not in values.dims or label not in values[dim].values.tolist():
            raise ProbeError(f"the layer curve of {result.name!r} has no {dim} {label!r}: {_choices(values)}")
        values = values.sel({dim: label})
    if values.dims != ("layer",):
        raise ProbeError(f"{result.name!r} has several layer curves, and one must be chosen: {_choices(values)}")
    layers, curve = values["layer"].values, np.asarray(values.values, dtype=np.float64)
    try:
        peaks, troughs = peaks_and_troughs(curve, tolerance)
        peak_group, trough_group = peak_and_trough_groups(curve, first, last, tolerance)
    except ValueError as error:
        raise ProbeError(f"the layer curve of {result.name!r} has no peaks and troughs: {error}") from error
    if peak_group == trough_group:
        raise ProbeError(
            f"the peak and the trough group of {result.name!r} are the same layers {list(peak_group)}: with "
            f"first={first} and last={last} of {len(layers)} layers nothing is left to choose. Use a smaller last"
        )
    named = (tuple(int(layers[i]) for i in group) for group in (peaks, troughs, peak_group, trough_group))
    return LayerGroups(*named)


def _choices(values: object) -> str:
    dims = {dim: values[dim].values.tolist() for dim in values.dims if dim != "layer"}  # type: ignore[attr-defined,index]
    return "; ".join(f"{dim}={labels}" for dim, labels in dims.items()) or "there is only one"
