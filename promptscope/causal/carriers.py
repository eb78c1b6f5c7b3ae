"""The smallest set of heads that carries most of the effect, compared with random sets of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from promptscope.causal.components import Component, components
from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.patching import Direction, patched_nats
from promptscope.causal.running import in_turn
from promptscope.causal.variants import Variant
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes import ProbeResult, Saved
from promptscope.prompts import Prompt
from promptscope.statistics import effect_share
from promptscope.tasks import Task


@dataclass(frozen=True, eq=False)
class Carriers(Saved):
    """What `ps.causal.carriers` found: how much of the effect sets of heads carry when they are patched together.

    - `table`: one row for each `size` that was tried (the first `size` heads in the order of their own shares): `share`
      of the effect with its 95 % interval `low`, `high` over inputs; and `random`, `random_low`, `random_high`: mean,
      smallest and largest share of random sets of as many heads.
    - `heads`: the heads of the smallest set that was tried with `share >= wanted`; None if there is none, or if shares
      are undefined.
    - `n_heads`: number of heads of the model; `n_random`: number of random sets of each size.

    >>> table = pd.DataFrame({"size": [1, 2], "share": [0.4, 0.85], "random": [0.1, 0.2]})
    >>> found = Carriers(table, heads=None, wanted=0.8, n_heads=30, n_random=5)
    >>> int(found.table.query("share >= @found.wanted")["size"].min())
    2
    """

    table: pd.DataFrame
    heads: tuple[Component, ...] | None
    wanted: float
    n_heads: int
    n_random: int


@checked(batch_size=1, limit=1, n_random=0, seed=0)
@in_turn
def carriers(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    order: ProbeResult,
    wanted: float = 0.8,
    direction: Direction = "restore",
    n_random: int = 5,
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
    seed: int = 0,
) -> Carriers:
    """Return how few heads carry the share *wanted* of the effect when they are patched together.

    Heads are added in the order of their values in *order*, largest first. The smallest size is searched by doubling
    the size and then bisecting; the shares of growing sets need not grow, so a size that was not tried may suffice as
    well. Random sets of the same sizes are the null: where the chosen heads carry clearly more than they do, the choice
    of heads matters.

    Args:
        order: result of `ps.causal.patch` or `ps.causal.attribution_patch` over single heads.
        wanted: share of the effect to reach, in (0, 1].
        direction: `restore` or `destroy`, see `ps.causal.patch`.
        n_random: random sets for each size.

    Raises:
        ProbeError: *order* is not over the heads of this model, or *wanted* is not in (0, 1]. Other errors as in
            `ps.causal.effect`.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.DeepPrompt(2).bind(model)
    >>> single = ps.causal.attribution_patch(model, prompt, task, limit=8)
    >>> found = ps.causal.carriers(model, prompt, task, single, limit=8, n_random=1)
    >>> found.table["size"].iloc[0]
    np.int64(1)
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return carriers_on(model, prompt, found, order, wanted, direction, n_random, batch_size, seed)


def carriers_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    order: ProbeResult,
    wanted: float = 0.8,
    direction: Direction = "restore",
    n_random: int = 5,
    batch_size: int = 16,
    seed: int = 0,
) -> Carriers:
    """The same as `carriers`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    if not 0 < wanted <= 1:
        raise ProbeError(f"wanted is a share of the effect and must be in (0, 1], got {wanted}")
    ranked = ranked_heads(model, order, effect)
    shares: dict[int, tuple[float, float, float]] = {}

    def shares_of(sets: Sequence[Sequence[Component]]) -> list[tuple[float, float, float]]:
        variants = [Variant(tuple(heads)) for heads in sets]
        moved = patched_nats(model, prompt, effect, variants, direction, batch_size=batch_size)
        measured = (effect_share(one, effect.gold) for one in moved)
        return [(float(value), float(low), float(high)) for value, low, high in measured]

    def reaches(size: int) -> bool:
        if size not in shares:
            shares[size] = shares_of([ranked[:size]])[0]
        return shares[size][0] >= wanted

    n, below, size = len(ranked), 0, 0
    if effect.size.is_clear:
        doubling = sorted({min(2**i, n) for i in range(n.bit_length() + 1)})
        # All at once: the two runs that they are patched between are made once for each call.
        tried = dict(zip(doubling, shares_of([ranked[:size] for size in doubling]), strict=True))
        for size in doubling:
            shares[size] = tried[size]
            if reaches(size):
                break
            below = size
        above = size if reaches(size) else None
        while above is not None and above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if reaches(middle) else (middle, above)
    else:
        above = None
    generator = np.random.default_rng(seed)
    # All random sets at once, too.
    drawn = {size: [generator.permutation(n)[:size] for _ in range(n_random)] for size in sorted(shares) if size < n}
    sets = [[ranked[i] for i in one] for several in drawn.values() for one in several]
    of_drawn = iter(shares_of(sets) if sets else [])
    rows = []
    for size in sorted(shares):
        random = [next(of_drawn)[0] for _ in drawn.get(size, ())]
        null = (float(np.mean(random)), min(random), max(random)) if random else (np.nan,) * 3
        rows.append((size, *shares[size], *null))
    columns = ["size", "share", "low", "high", "random", "random_low", "random_high"]
    chosen = None if above is None else tuple(ranked[:above])
    return Carriers(pd.DataFrame(rows, columns=columns), chosen, wanted, n, n_random)


def ranked_heads(model: HookedModel, order: ProbeResult, effect: PromptEffect) -> list[Component]:
    """Return all heads, those that carry most of the effect first.

    Raises:
        ProbeError: *order* is over other components than this model's heads.
    """
    every = components(model, "heads")
    if "head" not in order.dims:
        raise ProbeError(
            "order must be a result over heads, from ps.causal.patch(at='heads') or "
            f"attribution_patch(at='heads'), and this one is over {', '.join(order.dims)}"
        )
    nats = order.data["nats"] * np.sign(effect.size.mean)

    def value(one: Component) -> float:
        where = {dim: getattr(one, dim) for dim in order.dims}
        return float(nats.sel(where))

    try:
        return sorted(every, key=value, reverse=True)
    except KeyError as error:
        raise ProbeError(
            f"order must have a value for every head of {model.name!r}, and one is "
            f"missing ({error}): do not restrict the layers when you patch"
        ) from error
