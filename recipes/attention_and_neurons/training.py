"""The runs: v1 and v2 for every task and seed, and v2 in groups of layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import promptscope as ps
from recipes.attention_and_neurons.settings import KNOWN, Settings

Key = tuple[str, str, int]
"""(task, variant, seed), where the variant is v1, v2, or a group of layers."""


def make_prompt(variant: str, settings: Settings, seed: int, groups: Mapping[str, Sequence[int]]) -> ps.Prompt:
    """Return an untrained prompt: input-level (v1), in all layers (v2), or in the layers of a group.

    Deep prompts are tied, as in the paper: one vector for key and value.
    """
    init = ps.init.Uniform(-0.5, 0.5)
    if variant == "v1":
        return ps.SoftPrompt(settings.length, init, seed)
    layers = None if variant == "v2" else groups[variant]
    return ps.DeepPrompt(settings.length, tied=True, layers=layers, init=init, seed=seed)


def train_config(settings: Settings, task: str, variant: str, seed: int) -> ps.TrainConfig:
    """Return a run's settings: the paper's Table 6 for its own tasks, where the preset leaves them open.

    Raises:
        RunError: the preset leaves open what the paper does not say.
    """
    known = KNOWN.get(task)
    if known is None and not (settings.steps and settings.batch_size):
        raise ps.RunError(
            f"the paper has no hyper-parameters for task {task!r}: give both, --set steps=500 batch_size=16"
        )
    return ps.TrainConfig(
        steps=settings.steps or None,
        epochs=known.epochs if known and not settings.steps else None,
        batch_size=settings.batch_size or (known.batch_size if known else 1),
        learning_rate=settings.learning_rate if variant == "v1" else settings.deep_learning_rate,
        schedule="linear",
        max_grad_norm=1.0,
        seed=seed,
    )


def train(
    settings: Settings,
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    variants: Sequence[str],
    out: Path,
    rows: int,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> dict[Key, ps.Run]:
    """Train the *variants* of every task, task by task; read those that are finished, go on with interrupted ones."""
    runs: dict[Key, ps.Run] = {}
    for number, (name, task) in enumerate(tasks.items(), start=1):
        print(f"train {', '.join(variants)}: {name} (task {number} of {len(tasks)})", flush=True)
        keys = {
            "-".join((name, variant, *_layers(groups, variant), str(seed))): (name, variant, seed)
            for variant in variants
            for seed in settings.seeds
        }
        grid = {
            run: ps.GridRun(
                make_prompt(variant, settings, seed, groups or {}), task, train_config(settings, name, variant, seed)
            )
            for run, (_, variant, seed) in keys.items()
        }
        runs |= {keys[run]: done for run, done in ps.train_grid(model, grid, out, rows_per_pass=rows).items()}
    return runs


def _layers(groups: Mapping[str, Sequence[int]] | None, variant: str) -> tuple[str, ...]:
    """Return a group's layers for the run's name: measured again, a group may have other layers."""
    layers = (groups or {}).get(variant)
    return () if layers is None else (".".join(map(str, layers)),)
