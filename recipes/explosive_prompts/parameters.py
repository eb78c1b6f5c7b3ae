"""How many numbers each method trains, from its formula, and how the paper printed it (Tables 1 and 2)."""

import pandas as pd

import promptscope as ps

WIDTHS = {"T5-small": 512, "T5-base": 768, "T5-Large": 1024}
LENGTH, HIDDEN = 10, 400
PRINTED = {
    "PT": ("5.1K", "7.6K", "10K"),
    "EPT": ("1.5K", "2.3K", "3K"),
    "ResPrompt": ("416K", "624K", "832K"),
    "P-Tuning": ("793K", "1.7M", "3.1M"),
}
FORMULAS = {
    "PT": "k d, k = 10",
    "EPT": "d (the vector) + d h (down) + h d (up), h = 1, no bias",
    "ResPrompt": "k d + (d h + h) + (h d + d) + 2 d (layer norm), h = 400, shared",
    "P-Tuning": "k d + 3 (d d + d), three linear layers",
}


def counts(method: str) -> dict[str, int]:
    """Return the number of trained numbers by model."""
    networks = {
        "EPT": (ps.reparameterise.UnderParameterised(), 1),
        "ResPrompt": (ps.reparameterise.Residual(HIDDEN), LENGTH),
        "P-Tuning": (ps.reparameterise.Mlp(), LENGTH),
    }
    if method == "PT":
        return {name: LENGTH * width for name, width in WIDTHS.items()}
    network, length = networks[method]
    return {name: network.n_parameters(length, width) for name, width in WIDTHS.items()}


def as_printed(count: int, decimals: int, unit: str) -> str:
    """Return the count as the paper writes it: digits cut off, not rounded.

    >>> as_printed(1_779_456, 1, "M"), as_printed(7_680, 1, "K")
    ('1.7M', '7.6K')
    """
    size = {"K": 1_000, "M": 1_000_000}[unit]
    digits = count * 10**decimals // size
    return f"{digits / 10**decimals:.{decimals}f}{unit}"


def parameter_table() -> pd.DataFrame:
    """Return one line for each method and model: formula, count, how it reads printed, what was printed, remark."""
    lines = []
    for method, printed in PRINTED.items():
        for (model, count), text in zip(counts(method).items(), printed, strict=True):
            unit, decimals = text[-1], len(text[:-1].partition(".")[2])
            ours = as_printed(count, decimals, unit)
            rounded = f"{count / {'K': 1e3, 'M': 1e6}[unit]:.{decimals}f}{unit}"
            remark = "equal" if ours == text else "differs"
            remark += "" if rounded == ours else f"; rounded it would be {rounded}: the paper cuts digits off"
            lines.append((method, model, FORMULAS[method], count, ours, text, remark))
    return pd.DataFrame(lines, columns=["method", "model", "formula", "count", "computed", "published", "remark"])
