"""Attention mass: how much of its attention each head gives to the prompt."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.result import ProbeResult
from promptscope.store import Capture, View

_DIMS = ("prompt", "layer", "head")


@dataclass(frozen=True)
class PromptMass(Capture):
    """Attention of each text query to all k prompt keys together: (B, H, n).

    >>> PromptMass().site
    'attn.hook_pattern'
    """

    site: str = "attn.hook_pattern"
    ragged_dim: ClassVar[int | None] = 2

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H n"]:
        """Sum over the prompt keys."""
        mass = view.without_prompt(x, 2)[..., : view.k]
        return (mass if mass.element_size() == 8 else mass.float()).sum(dim=-1)


class AttentionMass(Probe):
    """Attention mass on the prompt: `m_i = sum over prompt keys j of a_ij`, for each text query i.

    The result is the mean of m_i over the real tokens i of an input (special tokens included), then over inputs. It is
    in [0, 1]; higher = the head attends more to the prompt; 0 in layers for which a deep prompt has no keys.
    Dimensions: prompt, layer, head. In encoder-decoders the encoder's self-attention is measured.

    `result.data` also has

    - `per_query`: m_i by text position i, mean over the `n_at_query` inputs that are long enough;
    - `at_answer`: m_i at the position that predicts the label (in encoder-decoders: the last source token).

    The null is a random prompt of the same norms (`ps.random_like(prompt)`): any prompt position receives some
    attention.

    Raises:
        ProbeError: no prompt is given.

    Reference: the weight `lambda` of He et al. 2022, *Towards a unified view of parameter-efficient transfer learning*.

    >>> AttentionMass().name
    'attention_mass'
    """

    title = "Attention mass on the prompt"
    conditions = "prompted"

    @checked()
    def __init__(self, name: str | None = None) -> None:
        self.name = name or "attention_mass"

    def captures(self) -> dict[str, Capture]:
        """Keep one number for each query and head."""
        return {"mass": PromptMass()}

    def compute(self, entries: Entries) -> ProbeResult:
        """Average over queries for each input, and over inputs for each query position."""
        longest = max(len(example.input_ids) for example in entries.examples)
        means, answers, profiles = {}, {}, {}
        count = np.zeros(longest, dtype=np.int64)
        for prompt in entries.prompts:
            means[prompt], answers[prompt], profiles[prompt], count = _reduce(
                entries.prompted("mass", prompt), self._answers(entries), longest
            )
        result = entries.result(
            means,
            units="share of attention",
            direction="higher = the head attends more to the prompt",
            range=(0.0, 1.0),
        )
        at_answer = np.stack([answer.mean(axis=0) for answer in answers.values()])
        result.data["at_answer"] = (_DIMS, at_answer)
        result.data["per_query"] = ((*_DIMS, "query"), np.stack(list(profiles.values())))
        result.data["n_at_query"] = (("query",), count)
        return result

    def _answers(self, entries: Entries) -> np.ndarray:
        kind = entries.model.family.kind
        last = np.array([len(example.input_ids) - 1 for example in entries.examples])
        starts = np.array([example.label_start for example in entries.examples])
        return {"causal": starts - 1, "masked": starts}.get(kind, last)


def _reduce(
    parts: Iterable[Shard], answers: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean over queries and mass at the answer (X, layer, head); sums by position (layer, head, n); counts."""
    means, at_answer = [], []
    profile: np.ndarray | None = None
    count = np.zeros(longest, dtype=np.int64)
    start = 0
    for part in parts:
        values, lengths = part["values"].astype(np.float64), part["lengths"]  # padded with zeros, (X, layer, head, n)
        means.append(values.sum(axis=-1) / lengths[:, None, None])
        rows = np.arange(len(values))
        at_answer.append(values[rows, :, :, answers[start : start + len(values)]])
        profile = np.zeros((*values.shape[1:3], longest)) if profile is None else profile
        profile[..., : values.shape[-1]] += values.sum(axis=0)
        count[: values.shape[-1]] += (np.arange(values.shape[-1]) < lengths[:, None]).sum(axis=0)
        start += len(values)
    assert profile is not None
    return np.clip(np.concatenate(means), 0.0, 1.0), np.concatenate(at_answer), profile / count, count
