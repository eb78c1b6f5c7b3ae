"""Tasks by name: embedded tasks, known data sets, files, folders, and data sets of the Hub."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from promptscope.checks import checked
from promptscope.errors import TaskError, nearest, shortened
from promptscope.files import is_there, read_json
from promptscope.tasks.adapt import Ties, adapt
from promptscope.tasks.known import KNOWN, Known
from promptscope.tasks.metrics import get_metrics
from promptscope.tasks.records import to_records
from promptscope.tasks.sources import Row, read_source
from promptscope.tasks.task import Task
from promptscope.tasks.template import as_template
from promptscope.tasks.verbalizer import Verbalizer, as_verbalizer

EMBEDDED = Path(__file__).parent / "data"
_OURS = ("train", "validation", "test", "all")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@checked(
    hints={
        "name_or_path": "For records in memory (a DataFrame, a data set, a list), use ps.Task.from_records(records)."
    },
    max_length=1,
)
def load_task(
    name_or_path: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    template: Any = None,
    verbalizer: Any = None,
    metric: str | Iterable[str] | None = None,
    max_length: int | None = None,
    ties: Ties = "drop",
) -> Task:
    """Load a task by its name, from a file or folder, or from the Hugging Face Hub.

    Args:
        name_or_path: the name of an embedded task or of a known data set such as `sst2` (`ps.list_tasks()` lists both),
            or any other file, folder or Hub id, which is read as by `Task.from_records`. A folder whose META.json names
            a known data set is read as that data set.
        path: for a known data set, a folder with train, validation and test files, or with what `save_to_disk` wrote of
            the Hub's, or one file; without it, the data set is loaded from the Hub. A split without any label is left
            out, as the hidden test splits of GLUE.
        template: a template, or the name of one, in place of the task's own.
        verbalizer: a verbalizer in place of the task's own.
        metric: one name or several names of metrics, in place of the task's own.
        max_length: the largest number of tokens of a record, in place of the task's own.
        ties: for the STS data sets, what to do with sentence pairs whose score is exactly 3: `"drop"` leaves them out,
            as the text of *Toward the explainable soft prompts* says; `"above"` and `"below"` count them to a class
            (the paper's counts in Tables 4 and 5 agree with `"above"`).

    Raises:
        TaskError: the name is unknown, a file is missing or damaged, or the Hub cannot be reached.

    >>> task = load_task("continent_en")
    >>> task.kind, list(task.splits)
    ('classification', ['train', 'validation', 'test'])
    """
    overrides = {"template": template, "verbalizer": verbalizer, "metric": metric, "max_length": max_length}
    task = _load(str(name_or_path), path, ties, overrides)
    return replace(task, source=_source(str(name_or_path), path, ties))


def _load(name: str, path: str | os.PathLike[str] | None, ties: Ties, overrides: Mapping[str, Any]) -> Task:
    if path is not None:
        known = _known_entry(name)
        return _with(_known(name, known, _as_ours(known, read_source(path)), ties), overrides)
    if name in _embedded():
        return _with(_load_embedded(_embedded()[name]), overrides)
    if name in KNOWN:
        return _with(_known(name, KNOWN[name], _from_hub(name, KNOWN[name]), ties), overrides)
    if is_there(name):
        return _from_path(Path(name), ties, overrides)
    if _HUB_ID.fullmatch(name) and not nearest(name, KNOWN):
        return _custom(read_source(_load_dataset(name, name)), name, overrides)
    raise TaskError(
        f"There is no task, file or folder called {shortened(name)!r}."
        + (nearest(name, [*_embedded(), *KNOWN]) or " ps.list_tasks() shows the names.")
    )


@checked()
def list_tasks() -> pd.DataFrame:
    """Return a table of the tasks with a name, one in each row.

    Columns: `language`, `kind` (classification or generation), `template`, and `source` (embedded, a Hub id, or local
    files only); the index is the name.

    >>> list_tasks().loc["continent_en", ["language", "kind"]].tolist()
    ['en', 'classification']
    """
    rows = [
        (name, meta["language"], meta["kind"], meta["input"], "embedded")
        for name, meta in ((name, read_json(folder / "META.json")) for name, folder in _embedded().items())
    ]
    rows += [
        (name, known.language, known.kind, known.template, known.hub or "local files only")
        for name, known in KNOWN.items()
    ]
    return pd.DataFrame(rows, columns=["name", "language", "kind", "template", "source"]).set_index("name")


def _source(name: str, path: str | os.PathLike[str] | None, ties: Ties) -> dict[str, Any]:
    """Return the arguments that load a task again from any working directory."""
    named = path is not None or name in _embedded() or name in KNOWN
    return {
        "name_or_path": name if named or not is_there(name) else str(Path(name).resolve()),
        "path": None if path is None else str(Path(path).resolve()),
        "ties": ties,
    }


@cache
def _embedded() -> dict[str, Path]:
    return {read_json(meta)["name"]: meta.parent for meta in sorted(EMBEDDED.rglob("META.json"))}


def _load_embedded(folder: Path) -> Task:
    meta = read_json(folder / "META.json")
    labels = meta["labels"]
    return Task.from_records(
        folder,
        template=meta.get("template", meta["input"]),
        verbalizer=labels,
        metric=meta.get("metrics", ("exact_match", "starts_with") if labels is None else ("accuracy", "macro_f1")),
        name=meta["name"],
        language=meta["language"],
        max_length=meta.get("max_length"),
    )


def _known_entry(name: str) -> Known:
    if name not in KNOWN:
        raise TaskError(
            f"path= needs the name of a known data set, got {name!r}."
            + (nearest(name, KNOWN) or " To load a file or folder of your own, give it as the first argument.")
        )
    return KNOWN[name]


def _as_ours(known: Known, source: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Return a copy of the Hub's data set with our names of its splits: MNLI's `validation_matched` is its test."""
    theirs = {place.rpartition(":")[2]: ours for ours, place in known.splits.items()}

    def ours(split: str) -> str:
        wanted = theirs.get(split, split)
        return split if split in _OURS or wanted in source else wanted

    return {ours(split): rows for split, rows in source.items()}


def _known(name: str, known: Known, source: Mapping[str, list[Row]], ties: Ties) -> Task:
    splits, dropped = {}, {}
    for split, rows in source.items():
        kept, left_out = adapt(name, known, rows, split, ties)
        if _hidden(known, kept) and len(source) > 1:
            dropped[split] = len(rows)
            continue
        splits[split] = to_records(kept, split)
        if left_out:
            dropped[split] = left_out
    if not splits:
        raise TaskError(f"Data set {name!r}: no record of {', '.join(source)} has a label. Give a split with labels.")
    task = Task(
        name,
        as_template(known.template),
        None if known.words is None else Verbalizer(known.words),
        known.metrics,
        splits,
        known.language,
        known.max_length,
        dropped,
    )
    if known.held_out is not None and len(splits) == 1:
        task = task.with_splits(test=known.held_out, source=next(iter(splits)))
    return task


def _hidden(known: Known, rows: list[Row]) -> bool:
    """Whether a split has no answers, as test splits of benchmarks on the Hub; in SQuAD, none is an answer."""
    return not rows or ("squad" not in known.metrics and not any(row["label"] for row in rows))


def _with(task: Task, overrides: Mapping[str, Any]) -> Task:
    new = {name: value for name, value in overrides.items() if value is not None}
    if "template" in new:
        new["template"] = as_template(new["template"])
    if "verbalizer" in new:
        labels = [record.label or "" for records in task.splits.values() for record in records]
        new["verbalizer"] = as_verbalizer(new["verbalizer"], labels)
    if "metric" in new:
        new["metrics"] = tuple(metric.name for metric in get_metrics(new.pop("metric")))
    return replace(task, **new)


def _from_path(path: Path, ties: Ties, overrides: Mapping[str, Any]) -> Task:
    described = path / "META.json"
    if described.is_file():
        try:
            meta = read_json(described)
        except ValueError as error:
            raise TaskError(f"{described} is not JSON ({error}). Repair or remove it.") from error
        if {"name", "kind", "input", "labels", "language"} <= set(meta):
            return _with(_load_embedded(path), overrides)
        if meta.get("name") in KNOWN:
            name = meta["name"]
            return _with(_known(name, KNOWN[name], _as_ours(KNOWN[name], read_source(path)), ties), overrides)
    return _custom(read_source(path), path.stem, overrides)


def _custom(rows: Mapping[str, list[Row]], name: str, overrides: Mapping[str, Any]) -> Task:
    first = next(iter(rows.values()))[0]
    pair = "text" not in first and {"text1", "text2"} <= set(first)
    given = {key: value for key, value in overrides.items() if value is not None}
    return Task.from_records(rows, name=name, **{"template": "pair" if pair else "single", **given})


def _from_hub(name: str, known: Known) -> dict[str, list[Row]]:
    if known.hub is None:
        raise TaskError(
            f"Data set {name!r} is not on the Hub. Pass path=, a folder with its files train.jsonl, test.jsonl ... (or "
            "all.jsonl)."
        )
    repo, _, revision = known.hub.partition("@")
    parts: dict[str, Any] = {}
    for ours, place in known.splits.items():
        config, _, split = place.rpartition(":")
        parts[ours] = _load_dataset(name, repo, config or None, split=split, revision=revision or None)
    return read_source(parts)


def _load_dataset(name: str, *args: Any, **kwargs: Any) -> Any:
    try:
        from datasets import load_dataset  # a second to import, and only here needed

        return load_dataset(*args, **kwargs)
    except Exception as error:  # the library raises many kinds: no network, gated, not found, format
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TaskError(
            f"Cannot load {name!r} from the Hugging Face Hub ({reason}). Without a network, pass path=, a folder "
            "with train.jsonl, validation.jsonl and test.jsonl."
        ) from error
