"""Skill neurons: FFN neurons whose activation tells the label, and what happens to the answers without them."""

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
    """Neurons whose activation predicts the label, and what answers lose when the best of them get noise.

    `accuracy` (layer, neuron): how well each neuron's threshold predicts the label on held-out inputs, in [0.5, 1].

    `table`: a row for the answers as they are (`none`), with the top neurons disturbed (`top`), and with as many random
    ones (`random`): `accuracy` and `gold` (nats), with the loss of gold against `none`, its interval and p-value.
    `chance` is what the best of as many neurons reaches with shuffled labels: the null of a maximum.

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
    """Find the neurons that tell the label with the prompt, and disturb the best ones.

    A neuron's threshold is its mean activation over *fit* (`mlp.hook_post` where the answer is predicted), and its
    accuracy over *split* is that of `1[a > threshold]` for the label, whichever way round:
    `max(acc, 1 - acc)`. The top *share* of all neurons, chosen on *fit*, get Gaussian noise (their own standard
    deviation) at every text position; as many random neurons are the null. Two labels: those that occur most in *fit*.

    Raises:
        ProbeError: a task without labels, fewer than two labels among the inputs, or no FFN hook point.

    Reference: Wang et al. 2022 (2211.07349), who read prompt positions of an encoder and average over prompts; here the
    reading position, which every family has.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.skill_neurons(model, ps.SoftPrompt(2).bind(model), task, limit=16, n_random=1).accuracy.shape
    (6, 480)
    """
    if task.verbalizer is None:
        raise ProbeError(f"skill neurons tell labels apart, and task {task.name!r} has no labels: give it a verbalizer")
    fitted, held = make_inputs(model, prompt, task, fit, limit), make_inputs(model, prompt, task, split, limit)
    of = {record.id: record.label or "" for name in {fit, split} for record in task.split(name)}
    found = pd.Series([of[i] for i in fitted.ids]).value_counts()
    if len(found) < 2:
        raise ProbeError(
            f"skill neurons need two labels, and the first {len(fitted)} inputs of {fit!r} have {len(found)}"
        )
    labels = (str(found.index[0]), str(found.index[1]))
    condition = Condition(prompt)
    a_fit, y_fit = _of_labels(model, fitted, condition, of, labels, batch_size)
    a_held, y_held = _of_labels(model, held, condition, of, labels, batch_size)
    if not len(y_held) or len(set(y_held.tolist())) < 2:
        raise ProbeError(f"the inputs of {split!r} do not hold both {labels[0]!r} and {labels[1]!r}: raise limit")
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
    """Return how often "fires" and the label agree, whichever way round: at least one half."""
    agree = (fires == y.astype(bool).reshape(-1, *[1] * (fires.ndim - 1))).mean(0)
    return np.maximum(agree, 1 - agree)


def _points(model: HookedModel) -> list[str]:
    stack = model.family.stacks[-1]
    known = set(model.hook_points()["name"])
    names = [f"{stack}.{layer}.mlp.hook_post" for layer in range(model.layers[stack])]
    if not set(names) <= known:
        raise ProbeError(f"the {model.family.name} family has no hook point {names[0]} to read neurons at")
    return names


def _of_labels(
    model: HookedModel,
    inputs: Inputs,
    condition: Condition,
    of: dict[str, str],
    labels: tuple[str, str],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return activations (X, layer, neuron) at the first reading position and labels, of inputs with either label."""
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
