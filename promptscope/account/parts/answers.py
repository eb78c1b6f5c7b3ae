"""Part 1: what the prompt is, and how much better the answers are with it than with random prompts or with texts."""

from contextlib import suppress

import numpy as np
import pandas as pd

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import effect_sentence, is_clear, nats, p_words, too_few
from promptscope.causal.effect import answers
from promptscope.causal.inputs import Answers
from promptscope.causal.running import Condition, plain
from promptscope.errors import PromptscopeError
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, random_like
from promptscope.prompts.norms import prompt_norms
from promptscope.statistics import mean_interval, paired_permutation_test


def answers_part(subject: Subject) -> Findings:
    """Score the answers with the prompt, without one, with random prompts, and with texts."""
    found, s = Findings(), subject.settings
    model, inputs, effect = subject.model, subject.effect.inputs, subject.effect
    rows: dict[str, Answers] = {"without a prompt": effect.plain}
    own = answers(model, inputs, plain(model, subject.prompt, "own"), s.batch_size)
    if not np.allclose(own.gold, effect.plain.gold, atol=1e-4):
        rows["without, text at its own positions"] = own
    draws = [random_like(subject.prompt, s.seed + i).bind(model, strict=False) for i in range(s.n_random)]
    random = [answers(model, inputs, Condition(one), s.batch_size) for one in draws]
    if random:
        rows["random prompt, same norms"] = Answers(
            *(np.mean([getattr(one, name) for one in random], axis=0) for name in ("gold", "difference", "correct"))
        )
    if subject.untrained is not None:
        rows["the prompt before training"] = answers(model, inputs, Condition(subject.untrained), s.batch_size)
    for name, prompt in subject.words.items():
        rows[name] = answers(model, inputs, Condition(prompt), s.batch_size)
    rows["the prompt"] = effect.prompted
    table = pd.DataFrame([_row(name, one, effect.prompted) for name, one in rows.items()])
    found.tables["scores"] = table if effect.plain.has_labels else table.drop(columns="logit_difference")
    found.tables["prompt"] = _about(subject)
    if isinstance(subject.prompt, SoftPrompt | DeepPrompt):  # others do not say what they make of their numbers
        found.tables["norms"] = _norms(subject)
    found.say(effect_sentence(effect.size), *_verdicts(rows))
    if not effect.plain.has_labels:
        found.omit("Logit difference: the task has no labels, or two of its labels begin with the same token.")
    n_cut = sum(example.truncated for example in inputs.examples)
    if n_cut:
        found.omit(
            f"{n_cut} of {len(inputs)} inputs were longer than the model's context (or the task's "
            "max_length) and were truncated."
        )
    size = effect.size
    found.number("effect (nats)", size.mean, size.low, size.high)
    low, high = mean_interval(effect.prompted.correct)
    found.number("accuracy", effect.prompted.correct.mean(), float(low), float(high))
    if random:
        gain = effect.prompted.gold - rows["random prompt, same norms"].gold
        low, high = mean_interval(gain)
        found.number("effect beyond a random prompt (nats)", gain.mean(), float(low), float(high))
    return found


def _row(name: str, one: Answers, prompted: Answers) -> dict[str, object]:
    low, high = mean_interval(one.correct)
    gold_low, gold_high = mean_interval(one.gold)
    row: dict[str, object] = {
        "condition": name,
        "accuracy": one.correct.mean(),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "log_p": one.gold.mean(),
        "log_p_low": float(gold_low),
        "log_p_high": float(gold_high),
        "logit_difference": one.difference.mean(),
        "prompt_gains": float("nan"),
        "p_value": float("nan"),
    }
    if one is not prompted and len(one.gold) > 1:
        difference, p = paired_permutation_test(prompted.gold, one.gold)
        row |= {"prompt_gains": float(difference), "p_value": float(p)}
    return row


def _verdicts(rows: dict[str, Answers]) -> list[str]:
    """Compare the prompt with each of the others over the same inputs."""
    prompted, said = rows["the prompt"], []
    accuracy = prompted.correct.mean()
    first = rows["without a prompt"]
    said.append(f"Accuracy goes from {first.correct.mean():.0%} to {accuracy:.0%}.".replace("%", " %"))
    for name in rows:
        if name in ("the prompt", "without a prompt", "without, text at its own positions") or len(prompted.gold) < 2:
            continue
        difference, p = paired_permutation_test(prompted.gold, rows[name].gold)
        low, high = mean_interval(prompted.gold - rows[name].gold)
        label = "the random prompts" if name.startswith("random") else f"{_article(name)}"
        verdict = f"{'better' if difference > 0 else 'worse'} than {label}"
        if not is_clear(float(low), float(high), float(p)):
            verdict = f"not clearly different from {label}"
        few = too_few(len(prompted.gold)) if low > 0 or high < 0 else ""
        said.append(f"It is {verdict}: {nats(float(difference))} ({p_words(float(p))}, paired{few}).")
    return said


def _article(name: str) -> str:
    return name if name.startswith(("the ", "few", "a ")) else f"the {name}"


def _about(subject: Subject) -> pd.DataFrame:
    prompt = subject.prompt
    kinds = {
        SoftPrompt: "input-level (v1): embeddings before the text",
        DeepPrompt: "deep (v2): keys and values in the layers",
    }
    kind = kinds.get(type(prompt), type(prompt).__name__)
    rows = {"kind": kind, "positions": prompt.length, "numbers": f"{prompt.n_parameters:,}"} | {
        name: value for name, value in prompt.settings().items() if name not in ("length",) and value is not None
    }
    rows |= {name: value for name, value in subject.training.items() if value is not None}
    return pd.DataFrame({"what": list(rows), "value": [str(value) for value in rows.values()]})


def _norms(subject: Subject) -> pd.DataFrame:
    """Mean norms of the prompt's vectors, and those of a prompt of the same shape made of token embeddings."""
    model, prompt = subject.model, subject.prompt
    tables = {"prompt": prompt_norms(prompt)}
    with suppress(PromptscopeError):  # such as a tied prompt under grouped-query attention, which no token vector fits
        tables["vocabulary"] = prompt_norms(_from_vocabulary(prompt).bind(model))
    parts = []
    for name, table in tables.items():
        parts.append(table.groupby(["part", "role"], sort=False)["norm"].mean().rename(name))
    return pd.concat(parts, axis=1).reset_index()


def _from_vocabulary(prompt: Prompt) -> Prompt:
    if isinstance(prompt, DeepPrompt):
        return DeepPrompt(prompt.length, prompt.tied, prompt.layers, prompt.parts, init="vocab")
    return SoftPrompt(prompt.length, init="vocab")
