"""Prompts in which there is nothing to read, with which every reading is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts import Prompt, SoftPrompt, random_like
from promptscope.prompts.finite import check_finite_prompt

Kind = Literal["prompt", "random", "untrained", "wayward"]


@checked(random=0, seed=0)
@dataclass(frozen=True)
class Nulls:
    """The prompts that a reading reads for comparison, besides the prompt itself.

    - `random`: number of draws of `ps.random_like(prompt)`: the same norms, random directions. With R draws, p-values
      are at least `1 / (R + 1)`.
    - `untrained`: the prompt before training, such as `run.snapshots[0]`. If it is not given, it is made again from the
      prompt's initialisation and seed, provided that the prompt's provenance proves that it started from there.
    - `wayward`: a prompt that solves the task but was trained to be close to an unrelated text, such as a trained
      `ps.WaywardPrompt` (Khashabi et al. 2022). If a reading finds that text, it reads where the vectors are in
      embedding space, not what they do.
    - `seed`: draw r is `ps.random_like(prompt, seed + r)`.

    Raises:
        PromptError: a negative number of random prompts.

    >>> Nulls(random=99).random  # p-values of 0.01 and more
    99
    """

    random: int = 19
    untrained: SoftPrompt | None = None
    wayward: SoftPrompt | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.random < 0:
            raise PromptError(f"the number of random prompts must be at least 0, got random={self.random}")


@dataclass(frozen=True)
class Subject:
    """One prompt that is read: `of` is its name in results (`random 3`), `kind` what it is (`prompt`, `random`, ...).

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> subject = Subject("prompt", "prompt", ps.SoftPrompt(length=2).bind(model))
    >>> subject.vectors.shape == (2, model.shape.d_model)
    True
    """

    of: str
    kind: Kind
    prompt: SoftPrompt

    @property
    def vectors(self) -> Float[np.ndarray, "k d_model"]:
        """The prompt's k embeddings."""
        return self.prompt.vectors().detach().float().cpu().numpy()


@checked()
def subjects(model: HookedModel, prompt: Prompt, nulls: Nulls) -> list[Subject]:
    """Return the prompt and its nulls, bound to *model*.

    Raises:
        PromptError: a deep prompt, or a null of another length than the prompt.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> [subject.of for subject in subjects(model, ps.SoftPrompt(2).bind(model), nulls=Nulls(random=2))]
    ['prompt', 'random 0', 'random 1']
    """
    prompt = _input_level(prompt).bind(model)
    check_finite_prompt(prompt)
    found = [Subject("prompt", "prompt", prompt)]
    found += [Subject(f"random {r}", "random", random_like(prompt, nulls.seed + r)) for r in range(nulls.random)]
    untrained = nulls.untrained if nulls.untrained is not None else _start_of(model, prompt)
    others: dict[Kind, SoftPrompt | None] = {"untrained": untrained, "wayward": nulls.wayward}
    for kind, other in others.items():
        if other is None:
            continue
        other = _input_level(other).bind(model)
        if other.length != prompt.length:
            raise PromptError(
                f"the {kind} prompt must have as many positions as the prompt that is read, "
                f"{prompt.length}, and has {other.length}"
            )
        found.append(Subject(kind, kind, other))
    return found


def _input_level(prompt: Prompt) -> SoftPrompt:
    if not isinstance(prompt, SoftPrompt):
        raise PromptError(
            f"only an input-level prompt (ps.SoftPrompt) can be decoded into words, got {prompt!r}: a "
            "deep prompt consists of keys and values, without embeddings or a residual stream at its "
            "positions"
        )
    return prompt


def _start_of(model: HookedModel, prompt: SoftPrompt) -> SoftPrompt | None:
    start = prompt.provenance.get("start")
    if start is None:
        return None
    again = SoftPrompt(prompt.length, prompt.init, int(prompt.provenance.get("seed", prompt.seed)))
    return again if again.bind(model).content_hash() == start else None
