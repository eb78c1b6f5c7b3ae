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
    """Give a causal account of *prompt*: how it changes *model*'s answers on *task*, and through which components.

    The effect on an input x is `log p(gold | prompt, x) - log p(gold | x)` in nats, where gold is the right answer;
    text has the same position numbers in both runs. Interventions inside the model are reported as the share of the
    mean effect that they keep, lose or bring back, with a 95 % interval over inputs, and compared with nulls such as
    random prompts. If a part cannot be measured for this model, prompt or task, it says why in `part.omitted`, and the
    other parts are measured all the same.

    Args:
        name: title of the account; by default the kind of prompt and the task.
        parts: keys of `ps.account.PARTS` (`"answers"`, `"tokens"`, `"layers"`, ...); all by default.
        instruction: the task in words, such as "Name the capital:". The prompt is compared with this text, and with
            few-shot examples of the task, used as prompts.
        others: name -> prompt of another task; their shifts of the residual stream serve as nulls in the part
            `direction`.
        untrained: the prompt before training, to compare with. Without it, the part `layers` compares with a random
            prompt of the same norms.
        training: facts about the training to show in a table, such as `{"steps": 1000}`.
        settings: how many inputs, layers and random prompts are used, see `ps.account.Settings`.
        progress: print the title of each part when it begins.

    Raises:
        ProbeError: an unknown part, or none.
        PromptError: the prompt is unbound, or was made for another model.
        TaskError: the task has no such split, or its records cannot be encoded.

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
        raise ProbeError(
            "parts must name at least one part, or be None for all of them; it is empty. "
            f"There are: {', '.join(PARTS)}."
        )
    for key in wanted:
        if key not in PARTS:
            raise ProbeError(f"an account has no part {key!r}.{nearest(key, PARTS)} There are: {', '.join(PARTS)}.")
    if not prompt.is_bound:
        raise PromptError(
            "prompt must be bound to a model and is not: bind it (prompt.bind(model)), "
            "load it (ps.load_prompt) or train it first"
        )
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
        found.omit("A single input has no interval. Raise limit in the settings, or choose another split.")
    return found.part(key, title, question, time.perf_counter() - begun)


def _fitted(model: HookedModel, task: Task, prompt: Prompt, settings: Settings) -> Inputs | None:
    if settings.fit not in task.splits or settings.fit == settings.split:
        return None
    return make_inputs(model, prompt, task, settings.fit, settings.few)


def _in_words(
    model: HookedModel, task: Task, inputs: Inputs, instruction: str | None, settings: Settings
) -> tuple[dict[str, Prompt], list[str]]:
    """Return the instruction and the few-shot examples as prompts, and the reasons why one of them is missing."""
    words: dict[str, Prompt] = {}
    missing = []
    longest = max(len(example.input_ids) for example in inputs.examples)
    if instruction is None:
        missing.append("Comparison with an instruction: none was given (instruction=).")
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
            missing.append(
                f"Comparison with the {name}: its {prompt.length} tokens and the longest "
                f"input do not fit into the context of {context} tokens."
            )
    return words, missing
