"""The paper's section 5: deep prompts in the layers where attention changes most, and in those between them."""

from collections.abc import Mapping

import pandas as pd

import promptscope as ps
from promptscope.probes import layer_curves, layer_groups
from recipes.attention_and_neurons.probing import Measured
from recipes.attention_and_neurons.settings import PAPER_PEAKS, PAPER_TROUGHS, Settings

GROUPS = ("peak", "trough")
_PAPER_LAYERS = 24
_SOURCES = ("measured", "paper")


class NoTurnError(ps.ProbeError):
    """The curve has no peaks and troughs to choose layers by."""


def choose_groups(settings: Settings, measured: Measured) -> dict[str, tuple[int, ...]]:
    """Return the layers of the peak group and of the trough group.

    With `layers="measured"` they are the peaks and troughs of v2's KL curve, mean over all tasks. Both groups also have
    the first and last layers, the same share of the depth as in the paper (of 24 layers, the first and the last four).

    Raises:
        NoTurnError: the curve does not turn, or both groups are the same.
    """
    kl = measured.of("attention_kl")
    curve = layer_curves(kl, by=dict.fromkeys(kl, "all"))
    n = curve.values.sizes["layer"]
    if settings.layers == "paper":
        return {"peak": PAPER_PEAKS, "trough": PAPER_TROUGHS}
    try:
        found = layer_groups(curve, last=max(1, round(4 * n / _PAPER_LAYERS)), prompt="v2", group="all")
    except ps.ProbeError as error:
        raise NoTurnError(str(error)) from error
    return {"peak": found.peak_group, "trough": found.trough_group}


def check_layers(settings: Settings, n_layers: int) -> None:
    """Make sure, before anything is trained, that the model has the layers.

    Raises:
        ProbeError: an unknown source of layers, or the paper's for a model of another depth.
    """
    if settings.layers not in _SOURCES:
        raise ps.ProbeError(f"layers must be one of {', '.join(_SOURCES)}, got {settings.layers!r}")
    if settings.ablation and settings.layers == "paper" and n_layers != _PAPER_LAYERS:
        raise ps.ProbeError(
            f"layers='paper' needs a model of {_PAPER_LAYERS} layers, and this one has {n_layers}: "
            "use --set layers=measured"
        )


def ablation_table(means: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of `first_metric` by the layers that a deep prompt is in: none, troughs, peaks, all."""
    names = {"frozen": "none", "trough": "trough", "peak": "peak", "v2": "all"}
    return means.reindex(columns=list(names)).rename(columns=names).reset_index()


def describe(groups: Mapping[str, tuple[int, ...]]) -> str:
    """Return the groups in words.

    >>> describe({"peak": (0, 2), "trough": (0, 3)})
    'peak: 0, 2; trough: 0, 3'
    """
    return "; ".join(f"{name}: {', '.join(map(str, layers))}" for name, layers in groups.items())
