"""`ps.explain`: all parts of a causal account of a prompt."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from promptscope.account.account import Account
from promptscope.account.part import Findings, Part
from promptscope.account.parts import PARTS
from promptscope.account.subject import Settings, Subject
from promptscope.causal.effect import effect_on
from promptscope.causal.faithfulness import text_prompt
from promptscope.causal.inputs import Inputs, make_inputs
from promptscope.causal.words import few_shot_prompt
from promptscope.checks import checked
from promptscope.errors import ProbeError, PromptError, PromptscopeError, TaskError, nearest
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.prompts.saving import versions
from promptscope.tasks import Task


@checked()
def explain(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    name: str | None = None,
    parts: Sequence[str] | None = None,
    instruction: str | None = None,
    others: Mapping[str, Prompt] | None = None,
    untrained: Prompt | None = None,
    training: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    progress: bool = False,
) -> Account:
    """Give a causal account of *prompt*: what it does to *model*'s answers on *task*, and through what inside.

    Everything is measured as a share of the effect, the log-probability of the right answer with the prompt less that
    without (text at the same positions), with intervals over inputs and nulls. A part that makes no sense here says so
    (`part.omitted`), and the others go on.

    Args:
        parts: keys of `ps.account.PARTS`; all by default.
        instruction: the task in words; the prompt is compared with it, as with few-shot examples of the task.
        others: prompts of other tasks, by name, whose shifts are nulls.
        untrained: the prompt before training; otherwise random prompts of its norms take its place.
        training: what to say of how it was trained.
        settings: how much is measured, see `ps.account.Settings`.

    Raises:
        ProbeError: an unknown part.
        PromptError: the prompt is unbound and untrained, or made for another model.
        TaskError: no such split, or records that cannot be encoded.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> settings = ps.account.Settings(limit=6, few=6, n_random=1)
    >>> account = ps.explain(model, ps.SoftPrompt(2).bind(model), task, parts=["answers"], settings=settings)
    >>> account["answers"].tables["scores"]["condition"].iloc[-1]
    'the prompt'
    """
    settings = settings or Settings()
    wanted = list(PARTS) if parts is None else list(parts)
    if not wanted:
        raise ProbeError(f"name at least one part, or None for all. There are: {', '.join(PARTS)}.")
    for key in wanted:
        if key not in PARTS:
            raise ProbeError(f"there is no part {key!r}.{nearest(key, PARTS)} There are: {', '.join(PARTS)}.")
    if not prompt.is_bound:
        raise PromptError("an unbound prompt has nothing to explain: load or train it first")
    prompt.bind(model)
    inputs = make_inputs(model, prompt, task, settings.split, settings.limit)
    settings = replace(settings, few=min(settings.few, len(inputs)))
    effect = effect_on(model, prompt, inputs, "shared", settings.batch_size)
    words, no_words = _in_words(model, task, inputs, instruction, settings)
    subject = Subject(
        model, prompt, task, effect, _fitted(model, task, prompt, settings), settings, words, dict(others or {}),
        dict(training or {}), untrained,
    )  # fmt: skip
    found: dict[str, Part] = {}
    for key in wanted:
        if progress:
            print(f"{PARTS[key][0]} ...", flush=True)
        found[key] = _run(key, subject, no_words if key in ("answers", "words") else [])
    about = {
        "model": {"name": model.name, "revision": model.revision, "embedding_hash": model.embedding_hash},
        "task": {"name": task.name, "split": settings.split, "inputs": len(inputs), "data_hash": inputs.data_hash},
        "prompt": {"hash": prompt.content_hash(), **prompt.provenance},
        "settings": asdict(settings),
        "versions": versions(),
    }
    return Account(name or f"{type(prompt).__name__} on {task.name}", found, about)


def _run(key: str, subject: Subject, left_out: Sequence[str]) -> Part:
    title, question, make = PARTS[key]
    begun = time.perf_counter()
    try:
        found = make(subject)
    except PromptscopeError as error:  # one part that cannot be is no reason to lose the others
        found = Findings()
        found.omit(f"{error}")
    found.omit(*left_out)
    if len(subject.effect.inputs) < 2:
        found.omit("A single input has no interval: give more (limit, or another split).")
    return found.part(key, title, question, time.perf_counter() - begun)


def _fitted(model: HookedModel, task: Task, prompt: Prompt, settings: Settings) -> Inputs | None:
    if settings.fit not in task.splits or settings.fit == settings.split:
        return None
    return make_inputs(model, prompt, task, settings.fit, settings.few)


def _in_words(
    model: HookedModel, task: Task, inputs: Inputs, instruction: str | None, settings: Settings
) -> tuple[dict[str, Prompt], list[str]]:
    """Return the instruction and the examples as prompts, and why one of them is missing."""
    words: dict[str, Prompt] = {}
    missing = []
    longest = max(len(example.input_ids) for example in inputs.examples)
    if instruction is None:
        missing.append("No instruction in words was given.")
    else:
        words["instruction"] = text_prompt(model, instruction)
    try:
        if settings.shots and settings.fit in task.splits and settings.fit != settings.split:
            words["few-shot examples"] = few_shot_prompt(model, task, settings.shots, settings.fit)
    except (PromptError, TaskError) as error:
        missing.append(f"Few-shot examples: {error}.")
    for name, prompt in list(words.items()):
        context = model.shape.context
        if context is not None and prompt.length + longest > context:
            del words[name]
            missing.append(f"The {name} ({prompt.length} tokens) and a text do not fit the context of {context}.")
    return words, missing
