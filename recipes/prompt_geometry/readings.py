"""What the prompts say in language, beside what their nulls say."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.readings import (
    DescribePrompt,
    Nulls,
    class_rate,
    read_logit_lens,
    read_nearest_tokens,
    read_patchscope,
)
from promptscope.statistics import matching_test
from recipes.prompt_geometry.settings import Settings

LEVEL = 0.05
MOST_LABELS = 100
SUBJECTS = {
    "country_capital": ("country", "capital", "city"),
    "landmark_country": ("landmark", "country", "place"),
    "present_past": ("past", "tense", "verb"),
    "past_en": ("past", "tense", "verb"),
    "singular_plural": ("plural", "noun", "many"),
    "plural_en": ("plural", "noun", "many"),
    "capitalize_first_letter": ("capital", "letter", "uppercase"),
    "lowercase_first_letter": ("letter", "lowercase", "small"),
}
"""Words that a description of a task would use; a task that is not here is described by its name."""


def subject(task: str) -> tuple[str, ...]:
    """Return the words that a description of *task* would use."""
    return SUBJECTS.get(task, tuple(task.split("_")))


def read_prompts(
    model: ps.HookedModel, tasks: Mapping[str, ps.Task], runs: Mapping[tuple[str, str], ps.Run], settings: Settings
) -> dict[str, pd.DataFrame]:
    """Read the prompts of the first words; return tables by name.

    - `readings`: each reading of each prompt with its interval and its nulls (`ps.readings.compare_with_nulls`);
    - `descriptions`: the Patchscopes texts of the prompts, the cell with the highest score of the task's words first;
    - `description_match`: do descriptions name their own task's words more than those of other tasks?
    """
    words = [word.strip() for word in settings.words[: settings.readings]]
    chosen = {key: run for key, run in runs.items() if key[1] in words}
    rows, texts = [], []
    for (task, word), run in chosen.items():
        prompt, untrained = run.prompt, run.snapshots[0]
        assert isinstance(untrained, ps.SoftPrompt)
        nulls = Nulls(random=settings.null_draws, untrained=untrained, seed=settings.seed)
        labels = _labels(tasks[task])
        parts = {"nearest tokens": read_nearest_tokens(prompt, model, label_words=labels, nulls=nulls).against_null()}
        lens = read_logit_lens(prompt, model, label_words=labels, nulls=nulls)
        parts["logit lens"] = lens.against_null()
        patched = _describe(prompt, model, [name for name, _ in chosen], settings, nulls)
        own = patched.against_null()
        parts["patchscope"] = own[own["quantity"].str.startswith(f"{task},")]
        rows += [part.assign(task=task, word=word, reading=name) for name, part in parts.items()]
        own_texts = patched.to_dataframe().query("kind == 'prompt'").assign(task=task, word=word)
        texts.append(own_texts.sort_values(task, ascending=False, kind="stable"))
    tables = {"readings": _in_front(pd.concat(rows, ignore_index=True))}
    if texts:
        said = pd.concat(texts, ignore_index=True)
        tables["descriptions"] = said[["task", "word", "source", "target", "text"]]
        tables["description_match"] = _matches(said, list(dict.fromkeys(task for task, _ in chosen)), settings)
    return tables


def reading_summary(readings: pd.DataFrame) -> pd.DataFrame:
    """Return for each reading and quantity: how many prompts were read, how many beat their null, and the means.

    `n_beat` of `n` have p <= .05, the least that 19 random prompts can give. Layers count apart: a logit lens has one
    line for each prompt and layer.
    """
    grouped = readings.assign(
        beats=readings["p_value"] <= LEVEL, quantity=readings["quantity"].str.replace(r"^.*, ", "", regex=True)
    ).groupby(["reading", "quantity"], sort=False)
    means = grouped[["value", "random", "untrained"]].mean()
    return means.assign(n=grouped.size(), n_beat=grouped["beats"].sum()).reset_index()


def _describe(
    prompt: ps.Prompt, model: ps.HookedModel, tasks: Sequence[str], settings: Settings, nulls: Nulls
) -> ps.readings.Patchscope:
    last = model.shape.n_layers - 1

    def evenly(first: int, end: int) -> list[int]:
        return sorted(set(np.linspace(first, end, settings.patch_layers).round().astype(int).tolist()))

    return read_patchscope(
        prompt,
        model,
        scores={name: class_rate(subject(name)) for name in tasks},
        describe=DescribePrompt(placeholder=settings.placeholder),
        source_layers=evenly(-1, last),
        target_layers=evenly(-1, last - 1),
        nulls=nulls,
    )


def _matches(said: pd.DataFrame, tasks: list[str], settings: Settings) -> pd.DataFrame:
    if len(tasks) < 2:
        return pd.DataFrame(columns=["matched", "mismatched", "p_value"])
    scores = said.groupby("task")[tasks].mean().loc[tasks, tasks].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        [matching_test(scores, settings.permutations, settings.seed)], columns=["matched", "mismatched", "p_value"]
    )


def _labels(task: ps.Task) -> list[str]:
    return list(dict.fromkeys(record.label or "" for record in task.split("train")))[:MOST_LABELS]


def _in_front(table: pd.DataFrame) -> pd.DataFrame:
    first = ["reading", "task", "word", "quantity"]
    return table[[*first, *(name for name in table.columns if name not in first)]]
