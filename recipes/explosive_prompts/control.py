"""Is the norm the cause? Plain prompts that start with EPT's norm, and trained prompts with exchanged norms."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import promptscope as ps
from recipes.common import Computed, decided_by, identity_of
from recipes.common.grids import Planned, best_prompt, score_of
from recipes.explosive_prompts.methods import PLAIN
from recipes.explosive_prompts.plan import Tasks, train_config
from recipes.explosive_prompts.settings import Settings

STARTED = "one plain token, started at EPT's norm"
SWAPS = ("plain direction, EPT's norm", "EPT's direction, plain norm", "random direction, EPT's norm")


def started_at_the_norm(settings: Settings, planned: Sequence[Planned], runs: Mapping[str, ps.Run]) -> list[Planned]:
    """Return runs of plain one-token prompts whose random start has the norm of the trained EPT prompt of their seed.

    Each is trained at the common rate, at which a long vector can hardly change its direction, and at a rate scaled
    with the norm, so that a step is the same share of the norm as for a plain prompt.
    """
    made = []
    for one in planned:
        if (one.group, one.variant) != ("main", "EPT") or one.name not in runs:
            continue
        ept = best_prompt(runs[one.name]).plain()
        plain = next(o for o in planned if _same(o, one, PLAIN) and o.name in runs)
        ratio = _norm(ept) / _norm(best_prompt(runs[plain.name]).plain())
        start = ps.init.FromPrompt(ps.random_like(ept, seed=one.seed))
        for rate in (one.rate, float(f"{one.rate * max(ratio, 1.0):.2g}")):
            config = train_config(settings, rate, one.seed)
            prompt = ps.SoftPrompt(1, start, one.seed)
            # Named after the prompt that gives the norm: if that is trained again, this is another run.
            of = ept.content_hash()[:8]
            made.append(replace(one, group="control", variant=STARTED, rate=rate, prompt=prompt, config=config, of=of))
    return list({one.name: one for one in made}.values())  # where the norms are equal, both rates are the same run


def by_kind_of_rate(control: pd.DataFrame, common: float) -> pd.DataFrame:
    """Return the scores of `started_at_the_norm` with two rates: *common*, and infinity for all scaled ones.

    The scaled rate differs between seeds, so choosing among the rates as they are would mean choosing among seeds. A
    seed whose scaled rate equals the common one has its scores under both.
    """
    scaled = control["rate"] != common
    key = ["variant", "task", "seed"]
    has = control[scaled].set_index(key).index
    alone = control[~scaled & ~control.set_index(key).index.isin(has)]
    return pd.concat([control[~scaled], control[scaled].assign(rate=np.inf), alone.assign(rate=np.inf)])


def swap_table(
    model: ps.HookedModel,
    tasks: Tasks,
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    out: Path,
    limit: int | None,
) -> pd.DataFrame:
    """Return the test scores of trained one-token prompts with their norms exchanged, without further training.

    Columns `variant` (`EPT`, the plain prompt, and `SWAPS`), `task`, `seed`, `norm`, `score`.
    """
    kept, identity = Computed(out), identity_of(model)
    lines = []
    for one in planned:
        if (one.group, one.variant) != ("main", "EPT") or one.name not in runs:
            continue
        other = next((o for o in planned if _same(o, one, PLAIN) and o.name in runs), None)
        if other is None:
            continue
        ept, plain = (best_prompt(runs[o.name]).plain() for o in (one, other))
        prompts = {
            "EPT": ept,
            PLAIN: plain,
            SWAPS[0]: rescaled(plain, _norm(ept)),
            SWAPS[1]: rescaled(ept, _norm(plain)),
            SWAPS[2]: ps.random_like(ept, seed=one.seed + 1),
        }
        for variant, prompt in prompts.items():
            score = kept.get(
                f"{one.task}-{one.seed}-{variant}",
                decided_by(identity, prompt, tasks[one.task], limit=limit),
                partial(score_of, model, tasks[one.task], prompt, limit),
            )
            lines.append((variant, one.task, one.seed, _norm(prompt), score))
    return pd.DataFrame(lines, columns=["variant", "task", "seed", "norm", "score"])


def rescaled(prompt: ps.SoftPrompt, norm: float) -> ps.SoftPrompt:
    """Return a plain prompt of one vector with the same direction and another norm."""
    other = prompt.copy()
    with torch.no_grad():
        other.embedding.mul_(norm / _norm(prompt))
    return other


def _norm(prompt: ps.Prompt) -> float:
    assert isinstance(prompt, ps.SoftPrompt)
    return float(np.linalg.norm(prompt.vectors().detach().numpy(force=True)[0]))


def _same(other: Planned, one: Planned, variant: str) -> bool:
    return (other.group, other.variant, other.task, other.seed) == ("main", variant, one.task, one.seed)
