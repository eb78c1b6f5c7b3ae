"""Does a prompt act like a text? Its heads and shifts, compared with those of an instruction and few-shot examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from promptscope.causal.attribution import attribution_on
from promptscope.causal.carriers import ranked_heads
from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.faithfulness import hard_prompt
from promptscope.causal.inputs import Inputs, make_inputs
from promptscope.causal.running import Condition, in_turn, plain
from promptscope.causal.shifts import fit_shifts, shift_on
from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.inference.batches import encode_split
from promptscope.models import HookedModel
from promptscope.probes import ProbeResult, Saved
from promptscope.prompts import Prompt, SoftPrompt, random_like
from promptscope.statistics import hypergeometric_overlap
from promptscope.tasks import IGNORED, Task


@dataclass(frozen=True, eq=False)
class WordsComparison(Saved):
    """A prompt compared with texts that are used as prompts (`words`: their names).

    - `heads`: one row for each text: its own `effect` in nats with interval `low`, `high`; how many of its `top` heads
      are in `common` with the prompt's, how many are `expected` by chance, and the hypergeometric `p_value`;
    - `cosine`: one row for each text and layer: cosine, in [-1, 1], of its mean shift of the residual stream and the
      prompt's, at the position that predicts the answer; `random_prompt`: the same for a random prompt;
    - `substitution`: share of the prompt's effect that comes back when a text's mean shift is added, by layer; see
      `ps.causal.shift`.

    >>> import numpy as np, promptscope as ps
    >>> cosine = pd.DataFrame({"words": ["instruction"], "layer": [2], "cosine": [0.4], "random_prompt": [0.05]})
    >>> share = ps.ProbeResult.from_examples(np.full((4, 1, 6), 0.3), dims=("shift", "layer"))
    >>> found = WordsComparison(heads=pd.DataFrame(), cosine=cosine, substitution=share)
    >>> found.cosine.query("cosine > random_prompt")["words"].tolist()
    ['instruction']
    """

    heads: pd.DataFrame
    cosine: pd.DataFrame
    substitution: ProbeResult


@checked(n=1)
def few_shot_prompt(model: HookedModel, task: Task, n: int = 4, split: str = "train") -> SoftPrompt:
    """Return *n* records with their answers, as the task's template writes them, as a prompt of token embeddings.

    Records are of *split*; labels take turns where the task has some. It is fewer than *n* records where the context
    has no room for them and the longest text.

    Raises:
        PromptError: not even one record fits.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.few_shot_prompt(model, task, n=2).length > 10
    True
    """
    examples = list(encode_split(model, None, task, split, limit=max(20 * n, 40)))
    records = {record.id: record.label for record in task.split(split)}
    if task.verbalizer is not None:  # labels in turn: first of each, second of each, ...
        seen: dict[str | None, int] = {}
        turn = []
        for example in examples:
            label = records[example.id]
            turn.append(seen.get(label, 0))
            seen[label] = turn[-1] + 1
        examples = [examples[i] for i in sorted(range(len(examples)), key=lambda i: turn[i])]
    longest = max(len(example.input_ids) for example in examples)
    room = None if model.shape.context is None else model.shape.context - longest - 1
    ids: list[int] = []
    for example in examples[:n]:
        own = list(example.input_ids)
        answer = [target for target in example.targets if target != IGNORED]
        if model.family.kind == "masked":
            own[example.label_start] = answer[0]
        elif model.family.kind == "seq2seq":
            own = [*(own[:-1] if example.special[-1] else own), *answer]
        if room is not None and len(ids) + len(own) > room:
            break
        ids += own
    if not ids:
        raise PromptError(
            f"not even one example of {task.name!r} and the longest input together fit "
            f"into the context of {model.name!r}: use shorter inputs, or another model"
        )
    return hard_prompt(model, ids)


@checked(batch_size=1, limit=1)
@in_turn
def compare_with_words(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    words: Mapping[str, Prompt],
    layers: Sequence[int] | None = None,
    top: int = 10,
    split: str = "test",
    fit: str = "train",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
) -> WordsComparison:
    """Compare the heads and shifts of *prompt* with those of texts that are used as prompts.

    Heads are the *top* ones by attribution patching of each prompt's own effect; the null of the number in common is
    hypergeometric. Shifts are mean shifts of the residual stream, as in `ps.causal.shift`; the null of a cosine is that
    with the shift of a random prompt of the same norms.

    Args:
        words: name -> prompt made of a text, by `ps.causal.text_prompt` or `ps.causal.few_shot_prompt`.
        layers: layers whose shifts are compared; by default all.
        top: number of heads to compare.
        fit, split: the split on which shifts are fitted, and the one on which all else is measured.

    Raises:
        PromptError: *words* is empty. Other errors as in `ps.causal.effect`.

    Reference: Todd et al. 2024 (function vectors); *Do different prompting methods yield a common task representation?*
    2025 (arXiv 2505.12075).

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> words = {"instruction": ps.causal.text_prompt(model, "the continent")}
    >>> found = ps.causal.compare_with_words(model, ps.SoftPrompt(2).bind(model), task, words, layers=[2], limit=4)
    >>> found.cosine["words"].tolist()
    ['instruction']
    """
    effect = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return compare_with_words_on(
        model, prompt, effect, make_inputs(model, prompt, task, fit, limit), words, layers, top, batch_size
    )


def compare_with_words_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    fitted: Inputs,
    words: Mapping[str, Prompt],
    layers: Sequence[int] | None = None,
    top: int = 10,
    batch_size: int = 16,
    seed: int = 0,
) -> WordsComparison:
    """The same as `compare_with_words`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    if not words:
        raise PromptError(
            "words must hold at least one prompt made of a text (ps.causal.text_prompt, "
            "ps.causal.few_shot_prompt), and is empty"
        )
    stack = model.family.stacks[-1]
    wanted = list(range(model.layers[stack]) if layers is None else layers)

    def mean_shift(one: Prompt) -> torch.Tensor:
        return fit_shifts(
            model, fitted, plain(model, one, effect.positions), Condition(one), wanted, 1, batch_size
        ).mean

    mine = ranked_heads(model, attribution_on(model, prompt, effect, batch_size=batch_size), effect)
    top = min(top, max(1, len(mine) // 3))
    shift, null = mean_shift(prompt), mean_shift(random_like(prompt, seed).bind(model, strict=False))
    heads, cosines = [], []
    for name, one in words.items():
        theirs_effect = effect_on(model, one, effect.inputs, effect.positions, batch_size)
        theirs = ranked_heads(model, attribution_on(model, one, theirs_effect, batch_size=batch_size), theirs_effect)
        common = len(set(mine[:top]) & set(theirs[:top]))
        expected, p = hypergeometric_overlap(len(mine), top, top, common)
        size = theirs_effect.size
        heads.append((name, size.mean, size.low, size.high, top, common, expected, p))
        other = mean_shift(one)
        for column, layer in enumerate(wanted):
            cosines.append((name, layer, _cosine(shift[column], other[column]), _cosine(shift[column], null[column])))
    columns = ["words", "effect", "low", "high", "top", "common", "expected", "p_value"]
    return WordsComparison(
        pd.DataFrame(heads, columns=columns),
        pd.DataFrame(cosines, columns=["words", "layer", "cosine", "random_prompt"]),
        shift_on(model, prompt, effect, fitted, wanted, (1,), words, batch_size, seed),
    )


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))
