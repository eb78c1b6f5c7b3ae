"""The runs: one prompt for the models of each plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import promptscope as ps
from promptscope.inference import ModelSource
from recipes.token_splitting.plans import Plan
from recipes.token_splitting.settings import KNOWN, Settings


def train(
    settings: Settings,
    models: Mapping[str, ModelSource],
    tasks: Mapping[str, ps.Task],
    plans: Sequence[Plan],
    out: Path,
) -> dict[str, ps.Run]:
    """Train what is missing, go on with what was interrupted, read what is finished; runs by name."""
    runs, names = {}, list(models)
    for number, plan in enumerate(plans, start=1):
        finished = (out / plan.name / "result.json").is_file()
        if not finished:
            print(f"train {plan.name} (prompt {number} of {len(plans)})", flush=True)
        chosen = {names[m]: models[names[m]] for m in plan.models}
        config = train_config(settings, plan)
        runs[plan.name] = ps.train_across(
            chosen, fresh_prompt(settings, plan), tasks[plan.task], config, out / plan.name, progress=not finished
        )
    return runs


def fresh_prompt(settings: Settings, plan: Plan) -> ps.SoftPrompt:
    """Return the prompt with which a plan starts: the same numbers for all models."""
    init = ps.init.Uniform(-settings.init_range, settings.init_range)
    return ps.SoftPrompt(plan.length, init, plan.init_seed)


def train_config(settings: Settings, plan: Plan) -> ps.TrainConfig:
    """Return a run's settings: the paper's Table 7 for its own tasks, where the preset leaves them open.

    Raises:
        RunError: the preset leaves open what the paper does not say.
    """
    known = KNOWN.get(plan.task)
    if known is None and not (settings.steps and settings.batch_size and settings.learning_rate):
        raise ps.RunError(
            f"the paper has no hyper-parameters for task {plan.task!r}: give all three, "
            "--set steps=100 batch_size=16 learning_rate=0.05"
        )
    batch_size = settings.batch_size or (known.batch_size if known else 1)
    most = min(settings.micro_batch or batch_size, batch_size)
    micro = next(n for n in range(most, 0, -1) if batch_size % n == 0)
    return ps.TrainConfig(
        steps=max(1, round(settings.steps * plan.duration)) if settings.steps else None,
        epochs=known.epochs * plan.duration if known and not settings.steps else None,
        batch_size=micro,
        accumulation=batch_size // micro,
        learning_rate=settings.learning_rate or (known.learning_rate if known else 0.0),
        weight_decay=settings.weight_decay,
        betas=settings.betas,
        schedule="cosine",
        max_grad_norm=1.0,
        seed=plan.train_seed,
    )
