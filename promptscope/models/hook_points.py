"""The hook-point table of a loaded model, and site names, which mean one hook point in each layer."""

import re

import pandas as pd

from promptscope.errors import ModelError, nearest
from promptscope.models.families import Family


def hook_point_table(family: Family, layers: dict[str, int]) -> pd.DataFrame:
    """Return a table with one row for each hook point that promptscope has tested on this model.

    Columns: `name` (as `model.hooks` takes it), `layer` (-1 for a point outside the layers), `shape` (names of the
    dimensions), `meaning`, and `acts` (whether a value written there has its full effect).
    """
    rows = []
    for point in family.points:
        for layer in range(layers[point.stack]) if point.stack else [-1]:
            name = point.site.replace("{i}", str(layer))
            rows.append((name, layer, point.shape, point.meaning, point.acts))
    return pd.DataFrame(rows, columns=["name", "layer", "shape", "meaning", "acts"])


def expand_site(site: str, family: Family, layers: dict[str, int]) -> list[str]:
    """Return the names of the hook points of a site, one for each layer.

    `"attn.hook_pattern"` means every layer of the main list (`blocks`, T5: `encoder_blocks`);
    `"decoder_blocks.{i}.cross_attn.hook_pattern"` means every layer of the list that it names; the full name of a hook
    point means this one.

    Raises:
        ModelError: the model has no such hook point.
    """
    names = {point.site for point in family.points}
    spelled = site if site in names else f"{family.stacks[0]}.{{i}}.{site}"
    if spelled in names:
        stack, separator, rest = spelled.partition(".{i}.")
        return [f"{stack}.{i}.{rest}" for i in range(layers[stack])] if separator else [spelled]
    every = set(hook_point_table(family, layers)["name"])
    if site in every:
        return [site]
    for lost, why in family.missing.items():
        if site in (lost, lost.partition(".{i}.")[2]) or re.sub(r"\.\d+\.", ".{i}.", site, count=1) == lost:
            raise ModelError(f"there is no hook point {site!r} on a {family.name} model: {lost} {why}")
    short = {name.partition(".{i}.")[2] or name for name in names}
    raise ModelError(
        f"no hook point {site!r} on a {family.name} model.{nearest(site, [*short, *names, *every])} "
        "model.hook_points() lists all of them."
    )
