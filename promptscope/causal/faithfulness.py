"""Is a decoded text faithful to the prompt? It is used as a hard prompt, and compared with random tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.effect import PromptEffect, effect_on
from promptscope.causal.inputs import Answers, Inputs, make_inputs
from promptscope.causal.running import Condition, in_turn, run
from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.inference.finite import refuse_nan
from promptscope.models import HookedModel
from promptscope.prompts import Prompt, SoftPrompt
from promptscope.statistics import effect_share
from promptscope.tasks import IGNORED, Task


@checked()
def hard_prompt(model: HookedModel, ids: Sequence[int]) -> SoftPrompt:
    """Return the prompt whose vectors are the embeddings of the token *ids*: a text before the input, as a prompt.

    Raises:
        PromptError: *ids* is empty.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ps.causal.hard_prompt(model, [7, 8]).length
    2
    """
    if not len(ids):
        raise PromptError("a hard prompt needs at least one token, and this text has none")
    prompt = SoftPrompt(len(ids)).bind(model)
    with torch.no_grad():
        prompt.embedding.copy_(model.embed(torch.tensor(list(ids))))
    prompt.provenance |= {"tokens": list(map(int, ids))}
    return prompt


@checked()
def text_prompt(model: HookedModel, text: str) -> SoftPrompt:
    """Return the prompt whose vectors are the embeddings of a text's tokens, without special tokens.

    Raises:
        PromptError: the text has no tokens.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> text_prompt(model, "the capital of").length == len(model.tokenizer("the capital of")["input_ids"])
    True
    """
    return hard_prompt(model, model.tokenizer(text, add_special_tokens=False)["input_ids"])


@checked(batch_size=1, limit=1, n_random=0, seed=0)
@in_turn
def faithfulness(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    readings: Mapping[str, Sequence[int] | str],
    split: str = "test",
    limit: int | None = 64,
    batch_size: int = 16,
    n_random: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Use each decoded text of *prompt* as a hard prompt, and measure how much of the prompt's effect it has.

    Columns of the table:

    - `reading`: its name in *readings*, or one of three rows to compare with: `the prompt`, `no prompt`, and `random
      tokens` (mean of *n_random* draws of as many tokens as the prompt has positions);
    - `share` of the prompt's effect (`ps.causal.effect`), with its 95 % interval `low`, `high` over inputs; 1 = all of
      it;
    - `accuracy`, in [0, 1];
    - `kl`: mean over inputs of `KL(p(. | prompt, x) || p(. | text, x))` in nats, of the next-token distributions at the
      first answer token; >= 0, 0 = the same output.

    A text is faithful to the prompt where its `kl` is small and its `share` large, compared with random tokens.

    Args:
        readings: name -> text or token ids, such as the nearest tokens of the prompt's vectors.
        n_random: draws of random tokens; *seed* draws them.

    Raises:
        PromptError: a text without tokens. Other errors as in `ps.causal.effect`.

    Reference: *Towards interpretable soft prompts*, 2025 (arXiv 2504.02144), whose notion of faithfulness is measured
    here.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.SoftPrompt(2, init="text: the capital").bind(model)
    >>> ps.causal.faithfulness(model, prompt, task, {"its text": "the capital"}, limit=4)["reading"].tolist()
    ['the prompt', 'its text', 'random tokens', 'no prompt']
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), "shared", batch_size)
    return faithfulness_on(model, prompt, found, readings, batch_size, n_random, seed)


@torch.no_grad()
def faithfulness_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    readings: Mapping[str, Sequence[int] | str],
    batch_size: int = 16,
    n_random: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """The same as `faithfulness`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    generator = np.random.default_rng(seed)
    random = [
        hard_prompt(model, generator.integers(0, model.shape.vocab_size, prompt.length).tolist())
        for _ in range(n_random)
    ]
    decoded = {
        name: text_prompt(model, reading) if isinstance(reading, str) else hard_prompt(model, reading)
        for name, reading in readings.items()
    }
    inputs = effect.inputs
    reference = _outputs(model, inputs, Condition(prompt), batch_size)[1]

    def row(name: str, prompts: Sequence[Prompt | None]) -> tuple[object, ...]:
        golds, corrects, kls = [], [], []
        for one in prompts:
            condition = Condition(one)
            said, other = _outputs(model, inputs, condition, batch_size)
            golds.append(said.gold)
            corrects.append(said.correct)
            kls.append((reference.exp() * (reference - other)).sum(1).clamp(min=0).cpu().numpy())
        gold, correct, kl = (np.mean(each, axis=0) for each in (golds, corrects, kls))
        share = effect_share(gold - effect.plain.gold, effect.gold)
        return name, *(float(x) for x in share), float(correct.mean()), float(kl.mean())

    rows = [row("the prompt", [prompt])]
    rows += [row(name, [one]) for name, one in decoded.items()]
    rows += [row("random tokens", random)] if random else []
    rows.append(row("no prompt", [None]))
    return pd.DataFrame(rows, columns=["reading", "share", "low", "high", "accuracy", "kl"])


def _outputs(
    model: HookedModel, inputs: Inputs, condition: Condition, batch_size: int
) -> tuple[Answers, Float[Tensor, "X V"]]:
    """Return the answers, and the log-probabilities (float32) at the first answer token, from one pass."""
    read = np.empty((3, len(inputs)))
    found: list[tuple[int, Tensor]] = []
    for chosen, batch in inputs.batches(model, batch_size):
        logits, _ = run(model, batch, condition)
        refuse_nan(model, logits, [condition.prompt])
        read[:, chosen] = inputs.read(batch, logits)
        counts = (batch.targets != IGNORED).sum(1)
        first = logits[counts.cumsum(0) - counts].float().log_softmax(-1)
        found += list(zip(chosen.tolist(), first, strict=True))
    return Answers(*read), torch.stack([row for _, row in sorted(found, key=lambda pair: pair[0])])
