"""Figures 1 and 2: test accuracy and loss along training, computed once for each run and kept with it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common import Computed, decided_by, identity_of
from recipes.prompt_geometry.settings import Settings

MAX_NEW_TOKENS = 5  # section 2.4


def prompts_along(run: ps.Run) -> dict[int, ps.Prompt]:
    """Return the snapshots and the last prompt, by step."""
    return {**run.snapshots, int(run.result["steps"]): run.prompt}


def score_runs(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    runs: Mapping[tuple[str, str], ps.Run],
    settings: Settings,
    folder: Path,
) -> pd.DataFrame:
    """Return `task`, `word`, `step`, `accuracy` and `loss` (nats per label token) on the test split.

    Correct = the greedy continuation of at most five tokens starts with the label; step 0 is the untrained prompt. What
    *folder* holds already is not computed again.
    """
    rows, scores, identity = [], Computed(folder), identity_of(model)
    for (task, word), run in runs.items():
        along = prompts_along(run)

        def compute(task: str = task, along: Mapping[int, ps.Prompt] = along) -> dict[str, list[float]]:
            return {str(step): _score(model, tasks[task], prompt, settings) for step, prompt in along.items()}

        kept = scores.get(
            f"{task}-{word}",
            decided_by(
                identity,
                run.prompt,
                tasks[task],
                limit=settings.scored,
                snapshots=[[step, prompt.content_hash()] for step, prompt in along.items()],
                padding=[settings.padding, settings.batch_size] if settings.padding == "left" else [],
            ),
            compute,
        )
        rows += [(task, word, int(step), *values) for step, values in kept.items()]
    return pd.DataFrame(rows, columns=["task", "word", "step", "accuracy", "loss"])


def frozen_scores(model: ps.HookedModel, tasks: Mapping[str, ps.Task], settings: Settings) -> pd.DataFrame:
    """Return accuracy and loss of the model without a prompt."""
    rows = [(name, *_score(model, task, None, settings)) for name, task in tasks.items()]
    return pd.DataFrame(rows, columns=["task", "accuracy", "loss"])


def in_context_scores(model: ps.HookedModel, tasks: Mapping[str, ps.Task], settings: Settings) -> pd.DataFrame:
    """Return accuracy and loss of the model behind `settings.shots` training examples in place of a prompt.

    It says how much of a task the model knows: a prompt that scores no less has learned what there is to learn.
    """
    rows = []
    for name, task in tasks.items():
        train = task.split("train")
        shown = random.Random(settings.seed).sample(train, min(settings.shots, len(train)))
        behind = replace(task, template=behind_examples(task.template, shown), source=None)
        rows.append((name, *_score(model, behind, None, settings)))
    return pd.DataFrame(rows, columns=["task", "accuracy", "loss"])


def behind_examples(template: ps.Template, examples: Sequence[ps.tasks.Record]) -> ps.Template:
    """Return the template with examples in front of it, written as it writes them, with an empty line after each."""
    before = "".join(f"{_written(template, record)}\n\n" for record in examples)
    start = "{bos}" if template.source.startswith("{bos}") else ""
    return replace(template, source=start + before + template.source.removeprefix(start), name="in context")


def _written(template: ps.Template, record: ps.tasks.Record) -> str:
    """Return the record's text and label for a template's source; tokens that begin or end a text are left out."""
    text = ""
    for part in (*template.source_parts, *template.target_parts):
        if part.kind == "special":
            text += "" if part.text in ("bos", "eos") else f"{{{part.text}}}"
        else:
            words = record.text(part.text) if part.kind == "field" else part.text
            words = str(record.label) if part.kind == "label" else words
            text += words.replace("{", "{{").replace("}", "}}")
    return text


def _score(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None, settings: Settings) -> list[float]:
    scores = ps.evaluate(
        model,
        prompt,
        task,
        split="test",
        batch_size=settings.batch_size if settings.padding == "left" else 32,
        limit=settings.scored or None,
        max_new_tokens=MAX_NEW_TOKENS,
        padding=settings.padding,
        progress=False,
    )
    return [scores["starts_with"], scores["loss"]]
