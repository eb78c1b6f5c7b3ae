"""Skill neurons: FFN neurons whose activation predicts the label, and how the answers change when they get noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.effect import answers
from promptscope.causal.inputs import Inputs, make_inputs, target_rows
from promptscope.causal.running import Condition, in_turn, run
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import Hook, HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.statistics import mean_interval, paired_permutation_test
from promptscope.tasks import Task


@dataclass(frozen=True, eq=False)
class SkillNeurons(Saved):
    """What `ps.causal.skill_neurons` found.

    - `accuracy` (layer, neuron): how often a threshold on the neuron's activation predicts the label of a held-out
      input, in [0.5, 1]; higher = better;
    - `top`: (layer, neuron) of the best neurons, chosen on the training inputs;
    - `table`: one row for the answers as they are (`none`), with noise on the top neurons (`top`), and with noise on as
      many random ones (`random`): `accuracy`, `gold` (log p of the right answer, nats), and `lost`, by how much `gold`
      is below that of `none`, with its 95 % interval and p-value;
    - `chance`: the accuracy that the best of as many neurons reaches with shuffled labels, the null of
      `accuracy.max()`;
    - `labels`: the two labels.

    >>> table = pd.DataFrame({"disturbed": ["none", "top", "random"], "accuracy": [0.9, 0.6, 0.9]})
    >>> accuracy = np.array([[0.5, 0.9], [0.6, 0.7]])  # two layers of two neurons
    >>> found = SkillNeurons(accuracy, top=((0, 1),), table=table, chance=0.75, labels=("Asia", "Europe"))
    >>> [neuron for neuron in found.top if found.accuracy[neuron] > found.chance]
    [(0, 1)]
    """

    accuracy: Float[np.ndarray, "layer neuron"]
    top: tuple[tuple[int, int], ...]
    table: pd.DataFrame
    chance: float
    labels: tuple[str, str]


@checked(batch_size=1, limit=1, seed=0)
@in_turn
@torch.no_grad()
def skill_neurons(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    share: float = 0.01,
    fit: str = "train",
    split: str = "test",
    limit: int | None = 64,
    n_random: int = 3,
    batch_size: int = 16,
    seed: int = 0,
) -> SkillNeurons:
    """Find the FFN neurons that predict the label with the prompt, and test whether the answers depend on them.

    A neuron's threshold is its mean activation a over the split *fit* (`mlp.hook_post` at the position that predicts
    the answer). Its accuracy on *split* is that of `a > threshold` as a predictor of the label, in either direction:
    `max(acc, 1 - acc)`. Then the best neurons on *fit* get Gaussian noise with their own standard deviation at every
    text position, and the loss of log p(gold) is compared with that for as many random neurons. With more than two
    labels, the two most frequent ones in *fit* are used.

    Args:
        share: share of all neurons that count as the best, in (0, 1].
        fit, split: the split on which thresholds are fitted, and the one on which they are tested; *limit* records of
            each.
        n_random: draws of random neurons.

    Raises:
        ProbeError: a task without labels, fewer than two labels among the inputs, or a model whose FFN neurons have no
            hook point.

    Reference: Wang et al. 2022 (arXiv 2211.07349). They read the neurons at prompt positions of an encoder and average
    over prompts; here they are read at the position that predicts the answer, which every family has.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.skill_neurons(model, ps.SoftPrompt(2).bind(model), task, limit=16, n_random=1).accuracy.shape
    (6, 480)
    """
    if task.verbalizer is None:
        raise ProbeError(f"skill neurons need a task with labels, and {task.name!r} has none: give it a verbalizer")
    fitted, held = make_inputs(model, prompt, task, fit, limit), make_inputs(model, prompt, task, split, limit)
    of = {record.id: record.label or "" for name in {fit, split} for record in task.split(name)}
    found = pd.Series([of[i] for i in fitted.ids]).value_counts()
    if len(found) < 2:
        raise ProbeError(
            f"skill neurons need inputs of at least two labels, and the first {len(fitted)} inputs of "
            f"{fit!r} have {len(found)}: raise limit"
        )
    labels = (str(found.index[0]), str(found.index[1]))
    condition = Condition(prompt)
    a_fit, y_fit = _of_labels(model, fitted, condition, of, labels, batch_size)
    a_held, y_held = _of_labels(model, held, condition, of, labels, batch_size)
    if not len(y_held) or len(set(y_held.tolist())) < 2:
        raise ProbeError(
            f"the inputs of {split!r} must include both labels {labels[0]!r} and {labels[1]!r}, and do not: raise limit"
        )
    threshold = a_fit.mean(0)
    accuracy = told(a_held > threshold, y_held)
    on_fit = told(a_fit > threshold, y_fit)
    n_top = max(1, round(share * on_fit.size))
    best = np.argsort(-on_fit.ravel(), kind="stable")[:n_top]
    top = tuple((int(i // on_fit.shape[1]), int(i % on_fit.shape[1])) for i in best)
    generator = np.random.default_rng(seed)
    chance = float(np.mean([told(a_held > threshold, generator.permutation(y_held)).max() for _ in range(20)]))
    deviation = a_fit.std(0)
    before = answers(model, held, condition, batch_size)
    rows = [("none", 0, before.correct.mean(), before.gold.mean(), 0.0, np.nan, np.nan, np.nan)]

    def disturbed(name: str, sets: list[np.ndarray]) -> None:
        said = [
            answers(
                model, held, Condition(prompt, 0, tuple(_noise(model, prompt, chosen, deviation, seed + i))), batch_size
            )
            for i, chosen in enumerate(sets)
        ]
        gold = np.mean([one.gold for one in said], axis=0)
        low, high = mean_interval(before.gold - gold)
        lost, p = paired_permutation_test(before.gold, gold)
        correct = float(np.mean([one.correct.mean() for one in said]))
        rows.append((name, n_top, correct, gold.mean(), float(lost), float(low), float(high), float(p)))

    disturbed("top", [best])
    disturbed("random", [generator.permutation(on_fit.size)[:n_top] for _ in range(n_random)])
    columns = ["disturbed", "neurons", "accuracy", "gold", "lost", "low", "high", "p_value"]
    return SkillNeurons(accuracy, top, pd.DataFrame(rows, columns=columns), chance, labels)


def told(fires: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "layer neuron"]:
    """Return how often `fires` and the label agree, in the better of the two directions: at least 0.5."""
    agree = (fires == y.astype(bool).reshape(-1, *[1] * (fires.ndim - 1))).mean(0)
    return np.maximum(agree, 1 - agree)


def _points(model: HookedModel) -> list[str]:
    stack = model.family.stacks[-1]
    known = set(model.hook_points()["name"])
    names = [f"{stack}.{layer}.mlp.hook_post" for layer in range(model.layers[stack])]
    if not set(names) <= known:
        raise ProbeError(
            f"skill neurons are read at the hook point {names[0]}, which {model.family.name} models do not have"
        )
    return names


def _of_labels(
    model: HookedModel,
    inputs: Inputs,
    condition: Condition,
    of: dict[str, str],
    labels: tuple[str, str],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return activations (X, layer, neuron) at the first answer position, and labels, of inputs with either label."""
    points, rows = _points(model), []
    stream = "decoder" if model.family.kind == "seq2seq" else "encoder"
    for chosen, batch in inputs.batches(model, batch_size):
        _, kept = run(model, batch, condition, keep=points)
        which, positions = target_rows(batch, condition.offsets(model)[stream])
        first = np.unique(which.cpu().numpy(), return_index=True)[1]
        at = torch.stack([kept[name][which[first], positions[first]] for name in points], 1).float().cpu().numpy()
        rows += [(inputs.ids[i], values) for i, values in zip(chosen, at, strict=True)]
    rows = [(name, values) for name, values in rows if of[name] in labels]
    y = np.array([labels.index(of[name]) for name, _ in rows])
    return np.stack([values for _, values in rows]) if rows else np.zeros((0, len(points), 1)), y


def _noise(model: HookedModel, prompt: Prompt, chosen: np.ndarray, deviation: np.ndarray, seed: int) -> list[Hook]:
    per_layer = deviation.shape[1]
    hooks: list[Hook] = []
    for layer, point in enumerate(_points(model)):
        mine = [int(i % per_layer) for i in chosen if i // per_layer == layer]
        if mine:
            hooks.append((point, _disturb(mine, torch.tensor(deviation[layer, mine]), prompt.length, seed + layer)))
    return hooks


def _disturb(neurons: list[int], deviation: Tensor, k: int, seed: int):
    def disturb(x: Tensor, hook: object) -> Tensor:
        # The same noise at each pass: what is compared differs by the neurons alone.
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((*x.shape[:2], len(neurons)), generator=generator, dtype=torch.float32)
        x = x.clone()
        x[..., neurons] += (noise * deviation).to(x)
        return x

    return disturb
