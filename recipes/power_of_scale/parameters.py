"""How many numbers each method trains, from formulas: the paper's comparison with other methods."""

from collections.abc import Callable

import pandas as pd

SIZES = {  # name: width d, feed-forward, layers (encoder and decoder together), key width, heads, all parameters
    "T5-small": (512, 12, 60.5e6),
    "T5-base": (768, 24, 222.9e6),
    "T5-large": (1024, 48, 737.7e6),
    "T5-XL": (2048, 48, 2.85e9),
    "T5-XXL": (4096, 48, 11.3e9),
    "BERT-large": (1024, 24, 335.1e6),
}
Formula = Callable[[int, int], int]

METHODS: dict[str, tuple[str, Formula]] = {
    "prompt tuning, k = 1": ("k d", lambda d, layers: d),
    "prompt tuning, k = 5": ("k d", lambda d, layers: 5 * d),
    "prompt tuning, k = 20": ("k d", lambda d, layers: 20 * d),
    "prompt tuning, k = 100": ("k d", lambda d, layers: 100 * d),
    "prefix tuning, k = 10, stored": ("2 k L d: keys and values of every layer", lambda d, layers: 20 * layers * d),
    "prefix tuning, k = 10, trained": (
        "k d + (d m + m) + (m 2 L d + 2 L d), m = 512: its two-layer network",
        lambda d, layers: 10 * d + (d * 512 + 512) + (512 * 2 * layers * d + 2 * layers * d),
    ),
    "WARP, k = 10, 2 classes": ("k d + c d: prompt and output layer", lambda d, layers: 12 * d),
    "P-tuning, k = 10": ("k d + 3 (d d + d); as it ran, the model too", lambda d, layers: 10 * d + 3 * (d * d + d)),
    "soft words, k = 10": (
        "k d + k L d: words and their changes in every layer",
        lambda d, layers: 10 * d * (1 + layers),
    ),
    "adapters, m = 64": (
        "2 L (2 d m + d + m), two in every layer",
        lambda d, layers: 2 * layers * (2 * d * 64 + d + 64),
    ),
    "adapters, m = 128": ("2 L (2 d m + d + m)", lambda d, layers: 2 * layers * (2 * d * 128 + d + 128)),
}


def parameter_table() -> pd.DataFrame:
    """Return one line for each method and model: formula, count, share of the model's parameters in per cent."""
    lines = [
        (method, model, formula, count(d, layers), 100 * count(d, layers) / total)
        for method, (formula, count) in METHODS.items()
        for model, (d, layers, total) in SIZES.items()
    ]
    return pd.DataFrame(lines, columns=["method", "model", "formula", "count", "per cent"])


def adapter_share(bottleneck: int) -> float:
    """Return what adapters add to BERT-large in per cent; the paper's overview says 2 to 4.

    >>> round(adapter_share(64), 1), round(adapter_share(128), 1)
    (1.9, 3.8)
    """
    d, layers, total = SIZES["BERT-large"]
    return 100 * 2 * layers * (2 * d * bottleneck + d + bottleneck) / total
