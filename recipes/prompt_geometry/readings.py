"""What the prompts say in language, beside what their nulls say."""

from collections.abc import Mapping

import pandas as pd

import promptscope as ps
from promptscope.readings import Nulls, read_logit_lens, read_nearest_tokens
from recipes.prompt_geometry.descriptions import description_match, read_descriptions, task_labels
from recipes.prompt_geometry.settings import Settings

LEVEL = 0.05


def read_prompts(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    runs: Mapping[tuple[str, str], ps.Run],
    wayward: Mapping[tuple[str, str], ps.Run],
    settings: Settings,
) -> dict[str, pd.DataFrame]:
    """Read the prompts of the first words, beside the *wayward* ones of their tasks; return tables by name.

    - `readings`: each reading of each prompt with its interval and its nulls (`ps.readings.compare_with_nulls`);
    - `descriptions`: the Patchscopes texts of the prompts and of some nulls, the cell that names most of the task
      first; `best_descriptions`: only that cell, with `n_same`, the cells of the grid that say the same;
    - `description_match`: do descriptions name their own task more than those of other tasks?
    """
    words = [word.strip() for word in settings.words[: settings.readings]]
    chosen = {key: run for key, run in runs.items() if key[1] in words}
    elsewhere = {task: _input_level(run.prompt) for (task, _), run in wayward.items()}
    labels = {task: task_labels(tasks[task]) for task, _ in chosen}
    rows, texts = [], []
    for (task, word), run in chosen.items():
        prompt, untrained = run.prompt, _input_level(run.snapshots[0])
        nulls = Nulls(settings.null_draws, untrained, elsewhere.get(task), settings.seed)
        found = {
            "nearest tokens": read_nearest_tokens(prompt, model, label_words=labels[task], nulls=nulls).against_null(),
            "logit lens": read_logit_lens(prompt, model, label_words=labels[task], nulls=nulls).against_null(),
        }
        found["patchscope"], said = read_descriptions(prompt, model, task, labels, settings, nulls)
        rows += [table.assign(task=task, word=word, reading=name) for name, table in found.items()]
        texts.append(said.assign(task=task, word=word))
    tables = {"readings": _in_front(pd.concat(rows, ignore_index=True))}
    if texts:
        said = pd.concat(texts, ignore_index=True)
        every = tables["descriptions"] = said[["task", "word", "kind", "source", "target", "text"]]
        n_same = every.groupby(["task", "word", "kind", "text"])["text"].transform("size")
        best = every.assign(n_same=n_same).drop_duplicates(["task", "word", "kind"])
        tables["best_descriptions"] = best
        tables["description_match"] = description_match(said[said["kind"] == "prompt"], list(labels), settings)
    return tables


def reading_summary(readings: pd.DataFrame) -> pd.DataFrame:
    """Return for each reading and quantity: how many prompts were read, how many beat their null, and the means.

    `n_beat` of `n` have p <= .05, the least that 19 random prompts can give. Layers count apart: a logit lens has one
    line for each prompt and layer.
    """
    grouped = readings.assign(beats=readings["p_value"] <= LEVEL).groupby(["reading", "quantity"], sort=False)
    columns = ["value", "random", "untrained", "wayward", "control", "unpatched"]
    means = grouped[[name for name in columns if name in readings]].mean()
    return means.assign(n=grouped.size(), n_beat=grouped["beats"].sum()).reset_index()


def _input_level(prompt: ps.Prompt) -> ps.SoftPrompt:
    assert isinstance(prompt, ps.SoftPrompt)
    return prompt


def _in_front(table: pd.DataFrame) -> pd.DataFrame:
    first = ["reading", "task", "word", "quantity"]
    return table[[*first, *(name for name in table.columns if name not in first)]]
