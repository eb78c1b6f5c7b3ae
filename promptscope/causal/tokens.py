"""Which prompt tokens matter: gradient attribution, and how few tokens keep the effect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from promptscope.causal.effect import PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.running import Condition, in_turn, run
from promptscope.checks import checked
from promptscope.interventions.measuring import measure
from promptscope.interventions.tokens import kept_tokens
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.statistics import effect_share
from promptscope.tasks import IGNORED, Task


@checked(batch_size=1, limit=1)
@in_turn
def token_attribution(
    model: HookedModel, prompt: Prompt, task: Task, split: str = "test", limit: int | None = 64, batch_size: int = 16
) -> Float[np.ndarray, k]:
    """Return each prompt token's importance to first order, `-<dL/dp_i, p_i>` in nats, from one backward pass: (k,).

    L is the mean over inputs of `-log p(gold)`, p_i the vector of token i, <., .> the inner product. The number
    estimates by how much L rises when p_i becomes zero, which `ps.importance(how="zero").difference` measures exactly
    (there per answer token). Of deep prompts, it is summed over layers, keys and values. Higher = more important; below
    0 = the estimate is that L falls without the token.

    Raises as `ps.causal.effect` does.

    Reference: gradient times input (Shrikumar et al. 2017), applied to prompt vectors.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.token_attribution(model, ps.SoftPrompt(3).bind(model), task, limit=4).shape
    (3,)
    """
    return attribution_of_tokens(model, prompt, make_inputs(model, prompt, task, split, limit), batch_size)


def attribution_of_tokens(model: HookedModel, prompt: Prompt, inputs, batch_size: int = 16) -> np.ndarray:
    """The same as `token_attribution`, for inputs that are encoded already."""
    kept_tokens(prompt, [])
    mine = prompt.plain().bind(model)  # the gradient of the vectors, whatever makes them
    mine.requires_grad_(True)
    for _, batch in inputs.batches(model, batch_size):
        logits, _ = run(model, batch, Condition(mine), gradient=True)
        wanted = batch.targets[batch.targets != IGNORED]
        gold = logits.float().log_softmax(-1).gather(1, wanted[:, None]).sum()
        (-gold / len(inputs)).backward()
    found = np.zeros(prompt.length)
    for number in mine.parameters():
        if number.grad is not None:
            product = -(number.grad * number.detach()).sum(-1)  # (k,) or (layer, k)
            found += product.reshape(-1, prompt.length).sum(0).double().cpu().numpy()
    return found


def gold_of_subsets(
    model: HookedModel, prompt: Prompt, effect: PromptEffect, kept: Bool[np.ndarray, "G k"], batch_size: int = 16
) -> Float[np.ndarray, "G X"]:
    """Return log p(gold) (G, X) with only the *kept* tokens visible; no position attends to the others."""
    measured = measure(model, prompt, "cut", kept, effect.inputs.examples, batch_size, 4, progress=False)
    return -measured.losses


@checked(batch_size=1, limit=1, n_random=1, greedy=0, seed=0)
@in_turn
def keep_tokens(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    order: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 3,
    greedy: int = 3,
    split: str = "test",
    limit: int | None = 64,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the share of the effect that is kept by a few prompt tokens, when no position attends to the others.

    `share = mean_x(m - a) / mean_x(b - a)`, with a, b and m the `log p(gold)` in nats without the prompt, with it, and
    with these tokens only; positions stay as they are. 1 = the whole effect.

    One row for each `way` of choosing tokens and each `size` (how many); columns `share`, `low`, `high`, `tokens`:

    - `importance`: the tokens with the largest values in *order*; by default, in what each token keeps alone;
    - `greedy`: starting from none, always the token that adds most, up to *greedy* tokens;
    - `random`: mean of *n_random* random choices; `low` and `high` are the smallest and the largest of them. In the
      other rows they are a 95 % interval over inputs.

    Args:
        order: importance of each token (k numbers).
        sizes: numbers of tokens to keep; by default up to six powers of two below k.

    Raises as `ps.causal.effect` does.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> table = ps.causal.keep_tokens(model, ps.SoftPrompt(3).bind(model), task, limit=4, n_random=1, greedy=1)
    >>> sorted(set(table["way"]))
    ['greedy', 'importance', 'random']
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), "shared", batch_size)
    return keep_tokens_on(model, prompt, found, order, sizes, n_random, greedy, batch_size, seed)


def keep_tokens_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    order: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 3,
    greedy: int = 3,
    batch_size: int = 16,
    seed: int = 0,
    singles: Float[np.ndarray, "k X"] | None = None,
) -> pd.DataFrame:
    """The same as `keep_tokens`, for an effect that is measured already.

    *singles* (k, X): log p(gold) with each token alone, if known.
    """
    k, generator = prompt.length, np.random.default_rng(seed)
    wanted = _sizes(k) if sizes is None else [size for size in sizes if 1 <= size <= k]
    if singles is None:
        singles = gold_of_subsets(model, prompt, effect, np.eye(k, dtype=bool), batch_size)
    sign = np.sign(effect.size.mean) or 1.0
    scores = sign * singles.mean(1) if order is None else np.asarray(order, dtype=float)
    ranked = np.argsort(-scores, kind="stable")
    drawn = [[generator.permutation(k)[:size] for _ in range(n_random)] for size in wanted]
    choices = [ranked[:size] for size in wanted] + [one for every in drawn for one in every]
    gold = gold_of_subsets(model, prompt, effect, np.array([_mask(k, chosen) for chosen in choices]), batch_size)
    rows = [("importance", size, *_share(gold[i], effect), _named(choices[i])) for i, size in enumerate(wanted)]
    for number, size in enumerate(wanted):
        first = len(wanted) + number * n_random
        shares = [_share(gold[first + i], effect)[0] for i in range(n_random)]
        rows.append(("random", size, float(np.mean(shares)), min(shares), max(shares), ""))
    chosen: list[int] = []
    candidates_gold = singles
    for step in range(min(greedy, k)):
        candidates = [i for i in range(k) if i not in chosen]
        if step:
            kept = np.array([_mask(k, [*chosen, i]) for i in candidates])
            candidates_gold = gold_of_subsets(model, prompt, effect, kept, batch_size)
        best = int(np.argmax(sign * candidates_gold.mean(1)))
        chosen.append(candidates[best])
        rows.append(("greedy", step + 1, *_share(candidates_gold[best], effect), _named(chosen)))
    return pd.DataFrame(rows, columns=["way", "size", "share", "low", "high", "tokens"])


def redundancy(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    batch_size: int = 16,
    singles: Float[np.ndarray, "k X"] | None = None,
) -> dict[str, float]:
    """Return two sums of shares of the effect over single tokens, which say whether tokens can replace each other.

    - `alone`: sum over tokens of the share that is kept with this token alone;
    - `missing`: sum over tokens of the share that is lost without this token.

    Both near 1: the effects of the tokens add up. `alone` above 1 and `missing` below 1: several tokens have the same
    effect. `alone` below 1 and `missing` above 1: tokens act only together. NaN where the effect is not clear.
    *singles* (k, X): log p(gold) with each token alone, if known.
    """
    if singles is None:
        singles = gold_of_subsets(model, prompt, effect, np.eye(prompt.length, dtype=bool), batch_size)
    without = gold_of_subsets(model, prompt, effect, ~np.eye(prompt.length, dtype=bool), batch_size)
    alone = (singles - effect.plain.gold).T
    missing = (effect.prompted.gold - without).T
    return {
        "alone": float(effect_share(alone, effect.gold)[0].sum()),
        "missing": float(effect_share(missing, effect.gold)[0].sum()),
    }


def _sizes(k: int) -> list[int]:
    return sorted({size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size < k})[:6] or [1]


def _mask(k: int, chosen: Sequence[int] | np.ndarray) -> np.ndarray:
    mask = np.zeros(k, dtype=bool)
    mask[list(chosen)] = True
    return mask


def _share(gold: np.ndarray, effect: PromptEffect) -> tuple[float, float, float]:
    value, low, high = effect_share(gold - effect.plain.gold, effect.gold)
    return float(value), float(low), float(high)


def _named(chosen: Sequence[int] | np.ndarray) -> str:
    return " ".join(str(int(i)) for i in chosen)
