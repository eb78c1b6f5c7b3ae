"""Does a prompt act as a direction? Its mean shift of the residual stream, added to the run without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import Inputs, make_inputs, target_rows
from promptscope.causal.running import Condition, Start, can_start_anywhere, entry_point, in_turn, plain, run
from promptscope.causal.shares import as_shares
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import Hook, HookedModel
from promptscope.probes import ProbeResult, Saved
from promptscope.prompts import Prompt, random_like
from promptscope.tasks import Batch, Task


@dataclass(frozen=True, eq=False)
class Shifts(Saved):
    """By how much a prompt shifts the residual stream after each layer, at the position that predicts the answer.

    - `layers`: the layers, L of them;
    - `mean` (L, d): mean shift over the inputs on which it was fitted;
    - `directions` (L, r, d): principal directions of the differences between single inputs' shifts and the mean; unit
      vectors, largest variance first.

    >>> import torch
    >>> shifts = Shifts(layers=(3, 5), mean=torch.zeros(2, 160), directions=torch.zeros(2, 4, 160))
    >>> shifts.layers.index(5)
    1
    """

    layers: tuple[int, ...]
    mean: Float[Tensor, "layer d"]
    directions: Float[Tensor, "layer r d"]
    about: Mapping[str, object] = field(default_factory=dict)


@checked(batch_size=1, limit=1)
@in_turn
def shift(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    layers: Sequence[int] | None = None,
    ranks: Sequence[int] = (1, 2, 4, 8),
    others: Mapping[str, Prompt] | None = None,
    fit: str = "train",
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
    seed: int = 0,
) -> ProbeResult:
    """Add the prompt's mean shift of the residual stream to the run without it: how much of the effect comes back?

    The shift after layer l is `v_l = mean_x(h_l(x; prompt) - h_l(x))`, a vector of d numbers, with h_l the residual
    stream at the position that predicts the answer, and x from the split *fit*. On inputs of *split*, the run without
    the prompt gets `h_l + v_l` there. The share is `mean_x(m - a) / mean_x(b - a)`, with a, b and m the `log p(gold)`
    in nats without the prompt, with it, and with the shift. 1 = adding one vector has the whole effect of the prompt, 0
    = none.

    The entries of the dimension `shift`: `rank 1` is v_l. `rank r` may also differ between inputs, in the r - 1
    principal directions of the shifts on *fit*; its coefficients are taken from the run with the prompt, so that it is
    an upper bound of what r directions can do. The nulls are the mean shift of a `random prompt` with the same norms, a
    `random direction` as long as v_l, and the mean shifts of *others*.

    In encoder-decoders the decoder's residual stream is shifted.

    Args:
        layers: the layers after which shifts are added, one at a time; by default all.
        ranks: numbers of directions, 1 or more each.
        others: name -> prompt, such as one of another task, or an instruction as a prompt.
        fit, split: the split that shifts are fitted on, and the one on which they are tested; *limit* records of each.
        positions, batch_size: as in `ps.causal.effect`; *seed* draws the random prompt and direction.

    Raises:
        ProbeError: a rank below 1, or a layer that the model does not have. Other errors as in `ps.causal.effect`.

    Reference: Turner et al. 2023 (activation addition); Rimsky et al. 2024 (contrastive activation addition).

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.causal.shift(model, ps.DeepPrompt(2).bind(model), task, layers=[5], ranks=(1,), limit=4)
    >>> result.values["shift"].values.tolist()
    ['rank 1', 'random prompt', 'random direction']
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return shift_on(
        model, prompt, found, make_inputs(model, prompt, task, fit, limit), layers, ranks, others, batch_size, seed
    )


def shift_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    fitted: Inputs,
    layers: Sequence[int] | None = None,
    ranks: Sequence[int] = (1, 2, 4, 8),
    others: Mapping[str, Prompt] | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> ProbeResult:
    """The same as `shift`, for an effect that is measured already; *fitted*: the inputs to fit shifts on."""
    stack = model.family.stacks[-1]
    wanted = list(range(model.layers[stack]) if layers is None else layers)
    wrong = [layer for layer in wanted if not 0 <= layer < model.layers[stack]]
    if wrong or not wanted or not ranks or min(ranks) < 1:
        raise ProbeError(
            f"layers must be in 0..{model.layers[stack] - 1} and ranks at least 1, got layers "
            f"{wrong or wanted}, ranks {tuple(ranks)}"
        )
    before = plain(model, prompt, effect.positions)
    mine = fit_shifts(model, fitted, before, Condition(prompt), wanted, max(ranks), batch_size)
    random = random_like(prompt, seed).bind(model, strict=False)
    theirs = fit_shifts(model, fitted, before, Condition(random), wanted, 1, batch_size)
    noise = torch.randn(mine.mean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(
        mine.mean
    )
    noise *= mine.mean.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    vectors = {"random prompt": theirs.mean, "random direction": noise}
    for name, other in (others or {}).items():
        theirs = fit_shifts(
            model, fitted, plain(model, other, effect.positions), Condition(other), wanted, 1, batch_size
        )
        vectors[name] = theirs.mean
    return add_shifts(model, effect, before, Condition(prompt), wanted, mine, ranks, vectors, batch_size)


@torch.no_grad()
def fit_shifts(
    model: HookedModel,
    inputs: Inputs,
    before: Condition,
    after: Condition,
    layers: Sequence[int],
    rank: int = 1,
    batch_size: int = 16,
) -> Shifts:
    """Return the mean difference of the residual stream between two conditions, after each of *layers*."""
    parts = [_states(model, batch, after, layers) - _states(model, batch, before, layers)
             for _, batch in inputs.batches(model, batch_size)]  # fmt: skip
    every = torch.cat(parts, dim=1)  # (layer, reading positions, d)
    mean = every.mean(1)
    centred = every - mean[:, None]
    kept = min(rank - 1, *centred.shape[1:])
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:, :kept] if kept else centred[:, :0]
    return Shifts(tuple(layers), mean, directions)


@torch.no_grad()
def add_shifts(
    model: HookedModel,
    effect: PromptEffect,
    before: Condition,
    after: Condition,
    layers: Sequence[int],
    fitted: Shifts,
    ranks: Sequence[int],
    others: Mapping[str, Float[Tensor, "layer d"]],
    batch_size: int = 16,
) -> ProbeResult:
    """Add shifts to the run *before*; return shares of the effect. *others*: further constant vectors, by name."""
    names = [f"rank {rank}" for rank in ranks] + list(others)
    gold = np.empty((len(effect.inputs), len(names), len(layers)))
    skipping = can_start_anywhere(model)
    stack = model.family.stacks[-1]
    needs_own = max(ranks, default=1) > 1
    # What is added after layer l enters layer l + 1: from there on it is run. After the last one nothing is.
    last = model.layers[stack] - 1
    enters = {layer: min(layer + 1, last) for layer in layers if skipping and last > 0}
    for chosen, batch in effect.inputs.batches(model, batch_size):
        entries = [entry_point(model, layer) for layer in enters.values()]
        _, left = run(model, batch, before, keep=entries)
        plain_states = _states(model, batch, before, layers) if needs_own else None
        own = _states(model, batch, after, layers) - plain_states if plain_states is not None else None
        for column, layer in enumerate(layers):
            added = []
            for rank in ranks:
                vector = fitted.mean[column].expand(_n_reading(model, batch), -1)
                if rank > 1 and own is not None:
                    basis = fitted.directions[column][: rank - 1]
                    vector = vector + (own[column] - fitted.mean[column]) @ basis.T @ basis
                added.append(vector)
            added += [vector[column].expand(_n_reading(model, batch), -1) for vector in others.values()]
            start, point = None, f"{stack}.{layer}.hook_resid_post"
            if layer in enters:
                entry = entry_point(model, enters[layer])
                start = Start(enters[layer], left[entry])
                point = point if layer == last else entry
            hook = _add(model, batch, before, point, torch.cat(added), len(added))
            logits, _ = run(model, batch, before, [hook], copies=len(added), start=start)
            gold[chosen, :, column] = effect.inputs.read(batch, logits)[0].reshape(len(added), len(chosen)).T
    return as_shares(
        gold - effect.plain.gold[:, None, None],
        effect,
        ("shift", "layer"),
        {"shift": names, "layer": list(layers)},
        "shift",
        "Share of the effect that a shift of the residual stream recovers",
        "higher = the shift does what the prompt does; 1 = all of it",
    )


def _states(
    model: HookedModel, batch: Batch, condition: Condition, layers: Sequence[int]
) -> Float[Tensor, "layer R d"]:
    """Return the residual stream after each layer, at the positions that predict the answer's tokens."""
    stack = model.family.stacks[-1]
    names = [f"{stack}.{layer}.hook_resid_post" for layer in layers]
    _, kept = run(model, batch, condition, keep=names)
    rows, positions = _reading(model, batch, condition)
    return torch.stack([kept[name][rows, positions] for name in names])


def _reading(model: HookedModel, batch: Batch, condition: Condition, copies: int = 1) -> tuple[Tensor, Tensor]:
    stream = "decoder" if model.family.kind == "seq2seq" else "encoder"
    return target_rows(batch, condition.offsets(model)[stream], copies)


def _n_reading(model: HookedModel, batch: Batch) -> int:
    return len(target_rows(batch, 0)[0])


def _add(model: HookedModel, batch: Batch, condition: Condition, point: str, vectors: Tensor, copies: int) -> Hook:
    rows, positions = _reading(model, batch, condition, copies)

    def add(x: Float[Tensor, "B T d"], hook: object) -> Tensor:
        x = x.clone()
        x[rows, positions] += vectors.to(x)
        return x

    return point, add
