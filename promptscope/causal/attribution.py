"""Attribution patching: a first-order estimate of patching, for all components at once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.components import At, components
from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.patching import MEANING, Direction, arranged, layout
from promptscope.causal.running import Condition, in_turn, plain, run
from promptscope.causal.shares import as_shares
from promptscope.checks import checked
from promptscope.models import Hook, HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, Task


@checked(batch_size=1, limit=1)
@in_turn
def attribution_patch(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    at: At = "heads",
    direction: Direction = "restore",
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
) -> ProbeResult:
    """Estimate what `patch` would give, to first order, for all components at once: gradient times difference.

    For a component with output z_t at text position t, the change of `log p(gold)` in nats is estimated as

    - `restore`: `sum_t <grad log p(gold) w.r.t. z_t in the plain run, z_t(prompted) - z_t(plain)>`;
    - `destroy`: the same with the gradient taken in the prompted run, as a loss of `log p(gold)`.

    The plain run is the one without the prompt, the prompted run the one with it. The result has the dimensions, shares
    and nats of `patch`. It takes two forward passes and one backward pass, where `patch` runs once for each component.
    It can be far off where attention is saturated: the gradient is near zero there, although patching would change the
    answer. `ps.causal.patch_error` compares it with exact patching.

    Args and errors are those of `ps.causal.patch`.

    Reference: Nanda 2023, *Attribution patching*; Syed et al. 2023.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.attribution_patch(model, ps.DeepPrompt(2).bind(model), task, limit=4).data["nats"].shape
    (6, 5)
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return attribution_on(model, prompt, found, at, direction, batch_size)


def attribution_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    at: At = "heads",
    direction: Direction = "restore",
    batch_size: int = 16,
) -> ProbeResult:
    """The same as `attribution_patch`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    wanted = components(model, at)
    without, within = plain(model, prompt, effect.positions), Condition(prompt)
    base, other = (without, within) if direction == "restore" else (within, without)
    points = list(dict.fromkeys(one.point for one in wanted))
    streams = {one.point: one.stream for one in wanted}
    moved = np.empty((len(effect.inputs), len(wanted)))
    to, of = base.offsets(model), other.offsets(model)
    for chosen, batch in effect.inputs.batches(model, batch_size):
        _, theirs = run(model, batch, other, keep=points)
        mine, gradients = _gradients(model, batch, base, points)
        each: dict[str, Tensor] = {}
        for point in points:
            start, stream = to[streams[point]], streams[point]
            change = theirs[point][:, of[stream] :] - mine[point][:, start:]
            product = gradients[point][:, start:] * change  # (B, n, [head,] d)
            summed = product.sum(-1)
            real = _real(batch, stream)
            each[point] = (summed * real.reshape(*real.shape, *[1] * (summed.ndim - 2))).sum(1)
        for column, one in enumerate(wanted):
            value = each[one.point] if one.head is None else each[one.point][:, one.head]
            moved[chosen, column] = value.double().cpu().numpy()
    if direction == "destroy":
        moved = -moved
    dims, coords = layout(wanted)
    return as_shares(
        arranged(moved, wanted),
        effect,
        dims,
        coords,
        f"attribution_{at}_{direction}",
        f"First-order estimate of {direction} patching",
        MEANING[direction],
        about={"at": at, "direction": direction},
    )


@checked()
def patch_error(exact: ProbeResult, estimate: ProbeResult) -> dict[str, float]:
    """Return how far *estimate* is from *exact* patching of the same components, in nats.

    - `pearson`, `spearman`: correlations over components, in [-1, 1]; 1 = the same values up to scale, or the same
      order;
    - `mean_error`: mean absolute difference, >= 0, lower = better;
    - `largest`: the largest absolute value of exact patching, to compare the error with;
    - `top_agree`: share, in [0, 1], of the ten components with the largest exact values that are also among the ten
      with the largest estimates.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.SoftPrompt(2).bind(model)
    >>> estimate = ps.causal.attribution_patch(model, prompt, task, limit=2)
    >>> patch_error(estimate, estimate)["mean_error"]
    0.0
    """
    from scipy.stats import pearsonr, spearmanr

    a, b = (result.data["nats"].values.ravel() for result in (exact, estimate))
    there = np.isfinite(a) & np.isfinite(b)
    a, b = a[there], b[there]
    varied = len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
    top = min(10, len(a))
    both = set(np.argsort(-np.abs(a))[:top].tolist()) & set(np.argsort(-np.abs(b))[:top].tolist())
    return {
        "pearson": float(pearsonr(a, b).statistic) if varied else float("nan"),
        "spearman": float(spearmanr(a, b).statistic) if varied else float("nan"),
        "mean_error": float(np.abs(a - b).mean()),
        "largest": float(np.abs(a).max()),
        "top_agree": len(both) / top,
    }


def _gradients(
    model: HookedModel, batch: Batch, condition: Condition, points: list[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the activations at each point, and the gradient of the summed log p(gold) with respect to them."""
    kept: dict[str, Tensor] = {}

    def watch(name: str) -> Hook:
        def keep(x: Tensor, hook: object) -> Tensor:
            kept[name] = x if x.requires_grad else x.detach().requires_grad_()
            return kept[name]

        return name, keep

    logits, _ = run(model, batch, condition, [watch(name) for name in points], gradient=True)
    wanted = batch.targets[batch.targets != IGNORED]
    gold = logits.float().log_softmax(-1).gather(1, wanted[:, None]).sum()
    gradients = torch.autograd.grad(gold, [kept[name] for name in points], allow_unused=True)
    found = {name: torch.zeros_like(kept[name]) if g is None else g for name, g in zip(points, gradients, strict=True)}
    return {name: kept[name].detach() for name in points}, found


def _real(batch: Batch, stream: str) -> Float[Tensor, "B n"]:
    mask = batch.attention_mask if stream == "encoder" else batch.decoder_attention_mask
    assert mask is not None
    return mask.float()
