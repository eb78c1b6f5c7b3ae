"""Shapley values of prompt tokens: how much each lowers the loss, averaged over all sets of other tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from promptscope.checks import checked
from promptscope.inference.batches import encode_split
from promptscope.inference.model_set import Models
from promptscope.interventions.importance import HOWS, check_request, fit
from promptscope.interventions.measuring import measure
from promptscope.models import Hook, HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import Prompt
from promptscope.statistics import MAX_EXACT, ShapleyValues, bootstrap_interval, exact_shapley, sampled_shapley
from promptscope.tasks import IGNORED, Encoded, Task


@checked(batch_size=1, variants_per_pass=1, limit=1, n_pairs=1, seed=0)
def shapley(
    models: Models,
    prompt: Prompt,
    task: Task,
    how: str = "zero",
    split: str = "test",
    limit: int | None = None,
    n_pairs: int = 100,
    seed: int = 0,
    batch_size: int = 16,
    variants_per_pass: int = 4,
    max_length: int | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> ProbeResult:
    """Return the Shapley value of each token of *prompt* for each model: its contribution to a low loss.

    `phi_i = sum over sets S without i of |S|! (k - |S| - 1)! / k! * (L(S) - L(S + i))` in nats per target token, where
    L(S) is the loss with the tokens of S only; the others are zeroed, replaced, removed or cut, as *how* says. Higher =
    the token lowers the loss more; below 0 = it raises it. The values of all tokens add up to
    `L(no token) - L(all tokens)`. Unlike in `ps.importance`, two tokens with the same effect share its value, where
    each alone looks unimportant.

    Up to 12 tokens all 2^k sets are run, and the values are exact. For longer prompts they are estimated from *n_pairs*
    random orders of the tokens and their reverses, with a standard error.

    Args:
        how, split, limit, batch_size, variants_per_pass, max_length, hooks: as in `ps.importance`.
        n_pairs: pairs of random orders, at least 1; *seed* draws them.

    Returns:
        Dimensions `model` and `token`, with 95 % intervals over examples; `data` also has `standard_error` (of
        sampling; 0 where exact) and, by model, `efficiency_residual`: the sum of the values minus what it must be, 0 up
        to rounding.

    Raises as `ps.importance` does; ArgumentError also for *n_pairs* below 1 or *seed* below 0.

    Reference: Shapley 1953; Castro et al. 2009.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.shapley(model, ps.SoftPrompt(3).bind(model), task, limit=4, progress=False)
    >>> result.data.efficiency_residual.values.round(6).item() == 0
    True
    """
    every = check_request(models, prompt, how, hooks)
    examples: Sequence[Encoded] = ()

    def of_model(model: HookedModel) -> tuple[ShapleyValues, np.ndarray]:
        nonlocal examples
        mine = fit(prompt, model, alone=len(every) == 1)
        examples = encode_split(model, mine, task, split, max_length=max_length, limit=limit)
        n_targets = np.array([sum(target != IGNORED for target in one.targets) for one in examples], dtype=float)

        def value(subsets: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, "n X1"]:
            """Return minus each example's summed loss, and as a last column minus the mean loss: (n, X + 1)."""
            measured = measure(model, mine, how, subsets, examples, batch_size, variants_per_pass, None, progress)
            mean = measured.losses.sum(axis=1, keepdims=True) / n_targets.sum()
            return -np.concatenate([measured.losses, mean], axis=1)

        k = prompt.length
        return exact_shapley(value, k) if k <= MAX_EXACT else sampled_shapley(value, k, n_pairs, seed), n_targets

    found = every.map(of_model)
    about = {"how": how, "task": task.name, "split": split, "data_hash": task.data_hash(split), "seed": seed}
    return _result(found, examples, HOWS[how], about | {"prompt": prompt.content_hash()})


def _result(
    found: Mapping[str, tuple[ShapleyValues, np.ndarray]], examples: Sequence[Encoded], gone: str, about: dict[str, Any]
) -> ProbeResult:
    shapley_values = [values for values, _ in found.values()]
    summed = np.stack([one.values[:, :-1].T for one in shapley_values], axis=1)  # (X, M, k)
    n_targets = np.stack([n for _, n in found.values()], axis=1)  # (X, M)

    def estimate(weights: np.ndarray) -> np.ndarray:
        """Weight examples after the fact: Shapley values are linear in the losses."""
        return np.tensordot(weights, summed, axes=1) / (weights @ n_targets)[..., None]

    low, high = bootstrap_interval(estimate, len(examples))
    cells = ("model", "token")
    data = xr.Dataset(
        {
            "values": (cells, np.stack([one.values[:, -1] for one in shapley_values])),
            "low": (cells, low),
            "high": (cells, high),
            "standard_error": (cells, np.stack([one.standard_error[:, -1] for one in shapley_values])),
            "efficiency_residual": (("model",), np.array([one.efficiency_residual[-1] for one in shapley_values])),
        },
        coords={"model": list(found), "token": list(range(summed.shape[2]))},
    )
    return ProbeResult(
        "shapley",
        data,
        title=f"Shapley values of prompt tokens; the other tokens {gone}",
        units="nats per target token",
        direction="higher = the token lowers the loss more",
        n_examples=len(examples),
        provenance=about | {"n_subsets": shapley_values[0].n_evaluated},
    )
