"""The Patchscopes reading: what the model says of a prompt's tokens, and how much of it is about the task."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.readings import DescribePrompt, Nulls, Patchscope, Score, class_rate, read_patchscope
from promptscope.statistics import matching_test
from recipes.prompt_geometry.settings import Settings

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


def task_labels(task: ps.Task) -> list[str]:
    """Return the first labels of a task, each once."""
    return list(dict.fromkeys(record.label or "" for record in task.split("train")))[:MOST_LABELS]


def names_one(words: Sequence[str]) -> Score:
    """Return the score 1 for a text that has any of the *words* in it, else 0.

    >>> names_one(["Rome", "Oslo"])("Rome, Italy")
    1.0
    """
    rate = class_rate(words)
    return lambda text: float(rate(text) > 0)


def read_descriptions(
    prompt: ps.Prompt,
    model: ps.HookedModel,
    task: str,
    labels: Mapping[str, Sequence[str]],
    settings: Settings,
    nulls: Nulls,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what descriptions of a prompt of *task* say, as numbers compared with the nulls', and as texts.

    `subject`: share of the words of `SUBJECTS` in a description; `answers`: does it name a label of the task? `control`
    is the same of a prompt made of the tokens of real labels: what the reading finds where there is something to find.
    """
    scores: dict[str, Score] = {f"subject of {name}": class_rate(subject(name)) for name in labels}
    scores |= {f"answers of {name}": names_one(words) for name, words in labels.items()}
    if settings.wayward:
        scores["wayward text"] = class_rate(settings.wayward.split())
    found = _patched(prompt, model, scores, settings, nulls)
    real = ps.SoftPrompt(settings.length, ps.init.Text(" ".join(labels[task]))).bind(model)
    control = _patched(real, model, scores, settings, Nulls(random=0)).against_null().set_index("quantity")["value"]
    numbers = found.against_null()
    numbers["control"] = numbers["quantity"].map(control)
    own = numbers["quantity"].str.contains(f" of {task},", regex=False)
    numbers = numbers[own | numbers["quantity"].str.startswith("wayward")]
    numbers = numbers.assign(quantity=numbers["quantity"].str.replace(f" of {task}", "", regex=False))
    texts = found.to_dataframe()
    texts = texts[texts["kind"].isin(["prompt", "wayward", "untrained"]) | (texts["of"] == "random 0")]
    best = texts[f"subject of {task}"] + texts[f"answers of {task}"]
    order = texts.assign(best=best).sort_values(["kind", "best"], ascending=[True, False], kind="stable").index
    return numbers, texts.loc[order]


def description_match(said: pd.DataFrame, tasks: list[str], settings: Settings) -> pd.DataFrame:
    """Return how often descriptions name their own task (`matched`) and the others (`mismatched`).

    p: how often tasks assigned to prompts at random match as well.
    """
    rows = []
    for score in ("subject", "answers"):
        if len(tasks) < 2:
            break
        means = said.groupby("task")[[f"{score} of {name}" for name in tasks]].mean().loc[tasks]
        test = matching_test(means.to_numpy(dtype=np.float64), settings.permutations, settings.seed)
        rows.append((score, *test))
    return pd.DataFrame(rows, columns=["score", "matched", "mismatched", "p_value"])


def _patched(
    prompt: ps.Prompt, model: ps.HookedModel, scores: Mapping[str, Score], settings: Settings, nulls: Nulls
) -> Patchscope:
    last = model.shape.n_layers - 1
    return read_patchscope(
        model,
        prompt,
        scores=scores,
        describe=DescribePrompt(placeholder=settings.placeholder),
        source_layers=_evenly(-1, last, settings.patch_layers),
        target_layers=_evenly(-1, max(0, model.shape.n_layers // 3 - 1), settings.patch_layers),
        positions=range(min(1, settings.length - 1), settings.length),
        nulls=nulls,
    )


def _evenly(first: int, last: int, n: int) -> list[int]:
    return sorted(set(np.linspace(first, last, n).round().astype(int).tolist()))
