"""What the prompts say in language, compared with what their nulls say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

import promptscope as ps
from promptscope.readings import Nulls, read_logit_lens, read_nearest_tokens
from recipes.common import Computed, decided_by, identity_of
from recipes.prompt_geometry.descriptions import description_match, read_descriptions, subject, task_labels
from recipes.prompt_geometry.grid import Key
from recipes.prompt_geometry.settings import Settings

LEVEL = 0.05


def read_prompts(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    runs: Mapping[Key, ps.Run],
    wayward: Mapping[Key, ps.Run],
    settings: Settings,
    folder: Path,
) -> dict[str, pd.DataFrame]:
    """Read the prompts of the first words, compared with the *wayward* ones of their tasks; return tables by name.

    - `readings`: each reading of each prompt with its interval and its nulls (`ps.readings.compare_with_nulls`);
    - `descriptions`: the Patchscopes texts of the prompts and of some nulls, the cell that names most of the task
      first; `best_descriptions`: only that cell, with `n_same`, the cells of the grid that say the same;
    - `description_match`: do descriptions name their own task more than those of other tasks?

    What *folder* holds already is not read again.
    """
    words = [word.strip() for word in settings.words[: settings.readings]]
    chosen = {key: run for key, run in runs.items() if key[1] in words}
    elsewhere = {task: _input_level(run.prompt) for (task, _), run in wayward.items()}
    labels = {task: task_labels(tasks[task]) for task, _ in chosen}
    rows, texts = [], []
    read_before, identity = Computed(folder), identity_of(model)
    for (task, word), run in chosen.items():
        prompt, untrained = run.prompt, _input_level(run.snapshots[0])
        nulls = Nulls(settings.null_draws, untrained, elsewhere.get(task), settings.seed)
        read = [one.content_hash() for one in (prompt, untrained, nulls.wayward) if one is not None]
        asked = (labels, settings.null_draws, settings.seed, settings.placeholder, settings.patch_layers)

        def compute(prompt: ps.Prompt = prompt, task: str = task, nulls: Nulls = nulls) -> dict[str, object]:
            now = _read(prompt, model, task, labels, settings, nulls)
            return {name: json.loads(table.to_json(orient="split", double_precision=15)) for name, table in now.items()}

        about = decided_by(identity, prompt, tasks[task], "train", read=[read, asked, settings.wayward, subject(task)])
        kept = read_before.get(f"{task}-{word}", about, compute)
        found = {name: pd.DataFrame(**table) for name, table in kept.items()}
        rows.append(found["numbers"].assign(task=task, word=word))
        texts.append(found["texts"].assign(task=task, word=word))
    tables = {"readings": _in_front(pd.concat(rows, ignore_index=True))}
    if texts:
        said = pd.concat(texts, ignore_index=True)
        every = tables["descriptions"] = said[["task", "word", "kind", "source", "target", "text"]]
        n_same = every.groupby(["task", "word", "kind", "text"])["text"].transform("size")
        best = every.assign(n_same=n_same).drop_duplicates(["task", "word", "kind"])
        tables["best_descriptions"] = best
        tables["description_match"] = description_match(said[said["kind"] == "prompt"], list(labels), settings)
    return tables


def _read(
    prompt: ps.Prompt,
    model: ps.HookedModel,
    task: str,
    labels: Mapping[str, Sequence[str]],
    settings: Settings,
    nulls: Nulls,
) -> dict[str, pd.DataFrame]:
    tables = {
        "nearest tokens": read_nearest_tokens(model, prompt, label_words=labels[task], nulls=nulls).against_null(),
        "logit lens": read_logit_lens(model, prompt, label_words=labels[task], nulls=nulls).against_null(),
    }
    tables["patchscope"], texts = read_descriptions(prompt, model, task, labels, settings, nulls)
    numbers = pd.concat([table.assign(reading=name) for name, table in tables.items()], ignore_index=True)
    return {"numbers": numbers, "texts": texts}


def reading_summary(readings: pd.DataFrame) -> pd.DataFrame:
    """Return for each reading and quantity: how many prompts were read, how many beat their null, and the means.

    `n_beat` of `n` have p <= .05, the lowest p that 19 random prompts can give. Layers are counted separately: a logit
    lens has one line for each prompt and layer.
    """
    grouped = readings.assign(beats=readings["p_value"] <= LEVEL).groupby(["reading", "quantity"], sort=False)
    columns = ["value", "random", "untrained", "wayward", "control", "unpatched"]
    means = grouped[[name for name in columns if name in readings]].mean()
    counts = pd.DataFrame({"n": grouped.size(), "n_beat": grouped["beats"].sum()})
    return counts.join(means).reset_index()


def _input_level(prompt: ps.Prompt) -> ps.SoftPrompt:
    assert isinstance(prompt, ps.SoftPrompt)
    return prompt


def _in_front(table: pd.DataFrame) -> pd.DataFrame:
    first = ["reading", "task", "word", "quantity"]
    return table[[*first, *(name for name in table.columns if name not in first)]]
