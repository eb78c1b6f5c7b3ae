"""How far one optimiser step moves a prompt: predicted from the two linear maps, and measured."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

import promptscope as ps
from promptscope.inference import batches, encode_split
from promptscope.training import accumulate_gradients
from recipes.common.grids import Planned
from recipes.explosive_prompts.plan import Tasks

_RATE = 1e-5  # small enough that the step is linear in it


def predicted_step(p: Float[np.ndarray, "d"], down: Float[np.ndarray, "d"], up: Float[np.ndarray, "d"]) -> float:
    """Return how far `v = u (d . p)` moves in a step of Adam's size, divided by how far a plain vector moves.

    Adam's first step adds `rate sign(g)` to every number. A plain vector moves `rate sqrt(d)`; u moves the same, times
    `s = d . p`; s moves `rate (|p|_1 + |d|_1)`, times u:
    `(|s| sqrt(d) + |u| (|p|_1 + |d|_1)) / sqrt(d)`, an upper bound that is reached where both changes have the same
    direction. It grows with the norm `|u| |s|` of what it moves.

    >>> round(predicted_step(np.ones(4), np.ones(4), np.ones(4)), 1)  # |s| = 4, |u| (4 + 4) / 2 = 8
    12.0
    """
    s, root = abs(float(down @ p)), np.sqrt(len(p))
    return float((s * root + np.linalg.norm(up) * (np.abs(p).sum() + np.abs(down).sum())) / root)


def step_table(
    model: ps.HookedModel, tasks: Tasks, planned: Sequence[Planned], runs: Mapping[str, ps.Run]
) -> pd.DataFrame:
    """Return, for each snapshot of EPT, the norm and how far a step moves the vector: predicted, measured.

    Both in units of the step of a plain prompt (rate x sqrt(d)); measured: parameters moved by `rate sign(gradient)` of
    one batch.
    """
    lines = []
    for one in planned:
        if (one.group, one.variant) != ("main", "EPT") or one.name not in runs:
            continue
        examples = encode_split(model, one.prompt, tasks[one.task], "train", max_length=one.config.max_length)
        batch = next(batches(model, examples[: one.config.batch_size], one.config.batch_size))
        for step, prompt in runs[one.name].snapshots.items():
            assert isinstance(prompt, ps.SoftPrompt)
            numbers = {name: x.detach().numpy(force=True) for name, x in prompt.named_parameters()}
            down, up = (numbers[f"network.{i}.weight"] for i in (0, 1))
            predicted = predicted_step(numbers["embedding"][0], down[0], up[:, 0])
            before = prompt.vectors().detach().clone()
            prompt.bind(model)
            accumulate_gradients(model, [prompt], [[(0, batch)]], False)
            with torch.no_grad():
                for number in prompt.parameters():
                    if number.grad is not None:
                        number -= _RATE * number.grad.sign()
                moved = float((prompt.vectors() - before).norm())
            measured = moved / (_RATE * np.sqrt(len(down[0])))
            lines.append((one.task, one.seed, step, float(before.norm()), predicted, measured))
    return pd.DataFrame(lines, columns=["task", "seed", "step", "norm", "predicted", "measured"])
