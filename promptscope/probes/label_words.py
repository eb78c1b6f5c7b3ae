"""The label words of a classification task in a model: tokens, inputs and unembedding vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.tasks import Encoded, Task

_BROKEN = "\ufffd"  # what decoding makes of bytes that are no whole letter


@dataclass(frozen=True)
class LabelWords:
    """Labels in the order of the verbalizer, and the first token of each label's word."""

    labels: tuple[str, ...]
    tokens: tuple[int, ...]

    def inputs(self, examples: Sequence[Encoded]) -> list[Encoded]:
        """Make one input for each word: `{the token before the label, word}`, as a causal model reads it."""
        before = examples[0].input_ids[examples[0].label_start - 1]
        special = examples[0].special[examples[0].label_start - 1]
        return [
            Encoded(
                f"label {label}",
                [before, token],
                ["special" if special else "text", "label"],
                [special, False],
                [-100, -100],
                None,
                2,
                False,
            )
            for label, token in zip(self.labels, self.tokens, strict=True)
        ]


def label_words(model: HookedModel, task: Task | None, probe: str) -> LabelWords:
    """Return the label words of *task*.

    Raises:
        ProbeError: no task, a generation task, fewer than two labels, words that begin with the same token, or with a
            token that holds no letter (byte-level tokenizers split rare letters into bytes).
    """
    if task is None:
        raise ProbeError(
            f"{probe} needs label words, which a list of encoded records does not have: give task=ps.load_task(...)"
        )
    if task.verbalizer is None:
        raise ProbeError(
            f"{probe} needs label words, and {task.name!r} is a generation task without them: leave "
            "the probe out, or give the task a verbalizer, ps.load_task(..., "
            f"verbalizer={{label: word}})"
        )
    firsts = {label: ids[0] for label, ids in task.label_ids(model.tokenizer, model.family.kind).items()}
    if len(firsts) < 2:
        raise ProbeError(f"{probe} needs at least two labels, and {task.name!r} has one: {list(firsts)}")
    owners: dict[int, str] = {}
    for label, token in firsts.items():
        if token in owners:
            piece = model.tokenizer.convert_ids_to_tokens(token)
            raise ProbeError(
                f"the words of labels {owners[token]!r} and {label!r} of {task.name!r} both begin with the token "
                f"{piece!r}, so {probe} cannot tell gold from non-gold: choose words that differ in their first token"
            )
        owners[token] = label
        text = str(model.tokenizer.decode([token]))
        if _BROKEN in text or not text.strip():
            piece = model.tokenizer.convert_ids_to_tokens(token)
            raise ProbeError(
                f"the word of label {label!r} of {task.name!r} begins with the token {piece!r}, which "
                f"holds no letter (only a space, or a byte of a letter): {probe} would compare bytes, "
                "not words. Choose words that begin with a whole letter in this tokenizer, or a "
                "model for this language"
            )
    return LabelWords(tuple(firsts), tuple(firsts.values()))


def unembedding_directions(model: HookedModel, words: LabelWords) -> Float[Tensor, "2 C d_model"]:
    """Return unit vectors of the words' rows of W_U, and of these rows minus the mean of all rows: (2, C, d_model).

    Raises:
        ProbeError: rows of W_U are shorter than the residual stream, because the head projects it first.
    """
    head = model.twin.get_output_embeddings()
    assert head is not None
    weight = head.weight.detach().float()
    if weight.shape[1] != (wide := model.shape.d_model):
        instead = " (with reference='residual' there is one)" if model.family.kind == "causal" else ""
        raise ProbeError(
            f"{model.name!r} has no cosine between residual stream ({wide} numbers) and rows of its "
            f"unembedding ({weight.shape[1]} numbers): its head projects the residual stream "
            f"first{instead}"
        )
    rows = weight[list(words.tokens)]
    return torch.nn.functional.normalize(torch.stack([rows, rows - weight.mean(dim=0)]), dim=-1)
