"""The recipe's tasks: from the package, from a folder that has one for each, or from the Hub."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import promptscope as ps
from promptscope.tasks import Record, Specials
from recipes import common
from recipes.attention_and_neurons.settings import KNOWN, Settings
from recipes.common import drawn


def load_tasks(settings: Settings, data: Path | None) -> dict[str, ps.Task]:
    """Return the tasks by name, each with the splits `train` and `test`; see `recipes.common.load_tasks`."""
    return common.load_tasks(settings.tasks, data, settings.held_out, at_least=2)


PAPER_SPECIALS = {"bos": "<s>", "sep": "</s>", "eos": "<|endoftext|>"}
"""The paper's section 3: `<s> text </s> label <|endoftext|>`."""


def paper_specials(tokenizer: Any) -> dict[str, str]:
    """Return the paper's special tokens if the tokenizer has them but declares others, as mGPT's does."""
    own, vocabulary = Specials(tokenizer), tokenizer.get_vocab()
    there = {role: token for role, token in PAPER_SPECIALS.items() if token in vocabulary}
    return {role: token for role, token in there.items() if own.ids(role) != [vocabulary[token]]}


def choose_records(
    settings: Settings, tasks: Mapping[str, ps.Task], model: ps.HookedModel
) -> tuple[dict[str, ps.Task], list[str]]:
    """Return the tasks with the records that the preset asks for, and a note on those that are too long.

    Where fewer records are trained on, scored or probed than there are, they are drawn with equally many of each label.

    Raises:
        TaskError: a split has no record that is short enough.
    """
    chosen, notes = {}, []
    specials = paper_specials(model.tokenizer) if settings.paper_specials else {}
    for name, task in tasks.items():
        if specials:
            task = replace(task, template=replace(task.template, specials={**specials, **task.template.specials}))
        splits = {split: _short(task, split, model, settings.longest) for split in ("train", "test")}
        lost = {split: len(task.split(split)) - len(short) for split, short in splits.items()}
        if any(lost.values()):
            counts = (f"{n} of {len(task.split(split))} in {split}" for split, n in lost.items())
            notes.append(f"{name}: records of more than {settings.longest} tokens, {' and '.join(counts)}")
            task = replace(task, splits={**task.splits, **splits}, source=None)
        limits = {"train": settings.train_limit, "test": max(settings.scored, settings.probed)}
        if not (settings.scored and settings.probed):  # one takes all records, the other the first n of them
            limits["test"] = len(splits["test"]) if settings.scored or settings.probed else 0
        limits = {split: n for split, n in limits.items() if n and (split == "test" or n < len(splits[split]))}
        chosen[name] = drawn(task, settings.seeds[0], **limits) if limits else task
    return chosen, notes


def kind_of(name: str) -> str:
    """Return what the paper calls a task in both languages; of other tasks, the name without its language.

    >>> kind_of("klue_sts"), kind_of("continent_ko")
    ('STS', 'continent')
    """
    return KNOWN[name].kind if name in KNOWN else name.rpartition("_")[0] or name


def kinds(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Return kind -> tasks, in order.

    >>> kinds(["sst2", "stsb", "nsmc"])
    {'SA': ['sst2', 'nsmc'], 'STS': ['stsb']}
    """
    found: dict[str, list[str]] = {}
    for name in tasks:
        found.setdefault(kind_of(name), []).append(name)
    return found


def _short(task: ps.Task, split: str, model: ps.HookedModel, longest: int) -> tuple[Record, ...]:
    if not longest:
        return task.split(split)
    encoded = task.encode(
        model.tokenizer, model.family.kind, split, with_label=False, decoder_start_id=model.decoder_start_id
    )
    short = tuple(
        record
        for record, example in zip(task.split(split), encoded, strict=True)
        if len(example.input_ids) <= longest and not example.truncated
    )
    if not short:
        raise ps.TaskError(
            f"no record in {split!r} of task {task.name!r} has at most longest={longest} tokens; the shortest has "
            f"{min(len(example.input_ids) for example in encoded)}: --set longest=0 keeps all"
        )
    return short
