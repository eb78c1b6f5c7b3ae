"""What the trained prompts are like: norms along training, redundancy, repetition, transfer."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import nn

import promptscope as ps
from promptscope.readings import Nulls, read_nearest_tokens
from promptscope.statistics import distance_matrix, effective_rank, mantel_test
from recipes.common import Computed, decided_by, identity_of
from recipes.common.grids import Planned, best_prompt, score_of
from recipes.explosive_prompts.methods import METHODS
from recipes.explosive_prompts.plan import Tasks


def of_main(planned: Sequence[Planned], runs: Mapping[str, ps.Run], *variants: str) -> list[Planned]:
    """Return the finished runs of the main comparison, of some variants."""
    return [one for one in planned if one.group == "main" and one.variant in variants and one.name in runs]


def norm_table(planned: Sequence[Planned], runs: Mapping[str, ps.Run]) -> pd.DataFrame:
    """Return the mean L2 norm (eq. 4) at every step, and the validation score where it was taken (Figures 2, 11)."""
    parts = []
    for one in of_main(planned, runs, *METHODS):
        history = runs[one.name].history
        metric = next((name for name in history if name.startswith("validation_")), None)
        score = history[metric] if metric else np.nan
        part = pd.DataFrame({"step": history["step"], "norm": history["prompt_norm"], "validation": score})
        parts.append(part.assign(method=one.variant, task=one.task, seed=one.seed))
    columns = ["method", "task", "seed", "step", "norm", "validation"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def vectors_of(prompt: ps.Prompt) -> Float[np.ndarray, "k d"]:
    """Return the vectors that the model sees."""
    assert isinstance(prompt, ps.SoftPrompt)
    return prompt.vectors().detach().numpy(force=True).astype(np.float64)


def cosines(x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k k"]:
    """Return the cosine of every two vectors, in [-1, 1] (Figure 3)."""
    return 1.0 - distance_matrix(x, metric="cosine")


def redundancy_table(model: ps.HookedModel, planned: Sequence[Planned], runs: Mapping[str, ps.Run]) -> pd.DataFrame:
    """Return how alike the vectors of a prompt are, compared with random vectors of the same norms.

    `cosine`: mean over pairs of positions of |cosine|; `rank`: effective rank; `shared_neighbour`: share of positions
    whose nearest vocabulary token is that of another position too; `random_*`: the same of random vectors.
    """
    lines = []
    for one in of_main(planned, runs, "PT", "P-Tuning", "ResPrompt"):
        prompt = best_prompt(runs[one.name])
        numbers = []
        near = read_nearest_tokens(model, prompt, n=1, nulls=Nulls(random=1, seed=one.seed), n_reference=1).table
        for each, kind in ((prompt, "prompt"), (ps.random_like(prompt, seed=one.seed), "random")):
            x = vectors_of(each)
            off = ~np.eye(len(x), dtype=bool)
            nearest = near[near["kind"] == kind]["token"]
            numbers += [
                float(np.abs(cosines(x))[off].mean()),
                effective_rank(x),
                float(nearest.duplicated(False).mean()),
            ]
        lines.append((one.variant, one.task, one.seed, *numbers))
    names = ("cosine", "rank", "shared_neighbour")
    return pd.DataFrame(lines, columns=["method", "task", "seed", *names, *(f"random_{name}" for name in names)])


def repeated(prompt: ps.Prompt, position: int, times: int) -> ps.SoftPrompt:
    """Return a plain prompt that repeats one of the vectors *times* times."""
    plain = prompt.plain()
    assert isinstance(plain, ps.SoftPrompt)
    other = ps.SoftPrompt(times)
    other.embedding = nn.Parameter(plain.embedding.detach()[position].expand(times, -1).clone())
    other.provenance = {name: x for name, x in prompt.provenance.items() if name in ("model", "revision", "family")}
    return other


def repetition_table(
    model: ps.HookedModel,
    tasks: Tasks,
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    repeats: int,
    out: Path,
    limit: int | None,
) -> pd.DataFrame:
    """Return the score of one trained vector repeated 1..*repeats* times (Figure 4), and of the whole prompt (times 0).

    The paper does not say which vector it repeats; here, the longest vector of the first seed's prompt.
    """
    kept, identity = Computed(out), identity_of(model)
    lines = []
    for one in of_main(planned, runs, "PT", "P-Tuning", "ResPrompt"):
        if one.seed != min(o.seed for o in planned):
            continue
        whole = best_prompt(runs[one.name])
        longest = int(np.linalg.norm(vectors_of(whole), axis=1).argmax())
        for times in range(repeats + 1):
            prompt = whole if times == 0 else repeated(whole, longest, times)
            value = kept.get(
                f"{one.variant}-{one.task}-{times}",
                decided_by(identity, prompt, tasks[one.task], limit=limit),
                partial(score_of, model, tasks[one.task], prompt, limit),
            )
            lines.append((one.variant, one.task, times, value))
    return pd.DataFrame(lines, columns=["method", "task", "times", "score"])


def transfer_table(
    model: ps.HookedModel,
    tasks: Tasks,
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    out: Path,
    limit: int | None,
) -> pd.DataFrame:
    """Return, for every two tasks, the cosine of their EPT* vectors and the zero-shot transfer (Figure 10).

    `transfer`: score on *target* of the prompt of *source*, divided by that of the target's own prompt. First seed.
    """
    kept, identity = Computed(out), identity_of(model)
    mine = [one for one in of_main(planned, runs, "EPT*") if one.seed == min(o.seed for o in planned)]
    prompts = {one.task: best_prompt(runs[one.name]) for one in mine}
    first = {name: vectors_of(prompt)[0] for name, prompt in prompts.items()}
    scores = {}
    for source, prompt in prompts.items():
        for target in prompts:
            scores[source, target] = kept.get(
                f"{source}-{target}",
                decided_by(identity, prompt, tasks[target], limit=limit),
                partial(score_of, model, tasks[target], prompt, limit),
            )
    lines = [
        (source, target, float(cosines(np.stack([first[source], first[target]]))[0, 1]), scores[source, target],
         scores[source, target] / scores[target, target] if scores[target, target] else np.nan)
        for source in prompts for target in prompts
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["source", "target", "cosine", "score", "transfer"])


def transfer_correlation(transfers: pd.DataFrame, permutations: int, seed: int = 0) -> pd.DataFrame:
    """Return Pearson's r of cosine and transfer over pairs of tasks, with a permutation of tasks as null.

    Transfer is averaged over both directions. Fewer than four tasks give no r, because three tasks have only six
    permutations.
    """
    cosine, transfer = (transfers.pivot(index="source", columns="target", values=c) for c in ("cosine", "transfer"))
    transfer = transfer.loc[cosine.index, cosine.columns]
    columns = ["tasks", "pairs", "r", "p", "permutations"]
    both = (transfer.to_numpy() + transfer.to_numpy().T) / 2
    n = len(cosine)
    if n < 4 or not np.isfinite(both).all():
        return pd.DataFrame([(n, n * (n - 1) // 2, np.nan, np.nan, 0)], columns=columns)
    np.fill_diagonal(both, 1.0)
    x = 1.0 - cosine.to_numpy()
    x = (x + x.T) / 2
    np.fill_diagonal(x, 0.0)
    test = mantel_test(x, 1.0 - both, n_permutations=permutations, seed=seed)
    return pd.DataFrame([(n, test.n_distances, test.correlation, test.p_value, permutations)], columns=columns)
