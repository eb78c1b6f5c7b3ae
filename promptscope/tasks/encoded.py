"""Encoded records and batches: the input tokens of a model, and the target tokens it must predict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from promptscope.checks import checked
from promptscope.errors import TaskError

Side = Literal["right", "left"]

IGNORED = -100
"""The target at positions that are not scored: PyTorch's cross-entropy leaves it out."""


@dataclass(frozen=True)
class Encoded:
    """One record as tokens.

    - `input_ids`: the token ids that the model reads;
    - `segments`: the origin of each token of `input_ids`: the name of a field, "literal", "special", "label" or "end";
    - `special`: True on special tokens, the end token included;
    - `targets`: `targets[t]` is the token that the logits at position t must predict, or -100 for none; it is aligned
      with `input_ids` (causal and masked models) or with `decoder_input_ids` (encoder-decoders);
    - `label_start`: the index in `input_ids` of the first label token (causal; the length of `input_ids` if the label
      is left out) or of `{mask}` (masked), or 0 (encoder-decoders);
    - `truncated`: whether text was cut;
    - `mask_attended`: see `Template`;
    - `token_types`: BERT's `token_type_ids` (masked models): 1 on the second text of a pair and everything after it;
      None if there is one text.

    >>> one = Encoded("a", [5, 7, 9], ["text", "text", "label"], [False] * 3, [-100, 9, -100], None, 2, False)
    >>> one.targets[1] == one.input_ids[one.label_start]  # predicted at the position before it
    True
    """

    id: str
    input_ids: list[int]
    segments: list[str]
    special: list[bool]
    targets: list[int]
    decoder_input_ids: list[int] | None
    label_start: int
    truncated: bool
    mask_attended: bool = True
    token_types: list[int] | None = None


class EncodedSplit(Sequence[Encoded]):
    """The encoded records of one split; `n_truncated` is the number of records whose text was cut to `max_length`.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> task.encode(model.tokenizer, "causal", "test", limit=3)
    EncodedSplit(3 records, 0 truncated)
    """

    def __init__(self, examples: Sequence[Encoded]) -> None:
        self.examples = tuple(examples)
        self.n_truncated = sum(example.truncated for example in self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        return list(self.examples[index]) if isinstance(index, slice) else self.examples[index]

    def __iter__(self) -> Iterator[Encoded]:
        return iter(self.examples)

    def __repr__(self) -> str:
        return f"EncodedSplit({len(self)} records, {self.n_truncated} truncated)"


@dataclass(frozen=True)
class Batch:
    """A padded batch of B encoded records.

    - `ids`: the records' ids; `input_ids (B, n)`: token ids;
    - `attention_mask (B, n)`: 1 on tokens and 0 on padding (padding cannot be told from ids, as it often has the id of
      the end token);
    - `special (B, n)`: True on special tokens and on padding;
    - `targets`: -100 where nothing is predicted; aligned with `input_ids`, for encoder-decoders with
      `decoder_input_ids`;
    - `label_start (B,)`: `Encoded.label_start` of each record;
    - `unseen (B, n)`: True on tokens to which no token attends, or None;
    - `token_types (B, n)`: 1 on second texts of pairs, or None.

    >>> one = Encoded("a", [5, 7, 9], ["text", "text", "label"], [False] * 3, [-100, 9, -100], None, 2, False)
    >>> batch = collate([one], pad_id=0)
    >>> len(batch), batch.input_ids.tolist(), batch.to("cpu").ids
    (1, [[5, 7, 9]], ('a',))
    """

    ids: tuple[str, ...]
    input_ids: Int[Tensor, "B n"]
    attention_mask: Int[Tensor, "B n"]
    special: Bool[Tensor, "B n"]
    targets: Int[Tensor, "B m"]
    decoder_input_ids: Int[Tensor, "B m"] | None = None
    decoder_attention_mask: Int[Tensor, "B m"] | None = None
    label_start: Int[Tensor, "B"] | None = None
    unseen: Bool[Tensor, "B n"] | None = None
    token_types: Int[Tensor, "B n"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its tensors on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@checked(pad_id=0)
def collate(examples: Sequence[Encoded], pad_id: int, side: Side = "right") -> Batch:
    """Return a batch of encoded records, padded to the longest one with *pad_id* (`tokenizer.pad_token_id or 0`).

    With left padding (*side*, for causal models), tokens have their positions in the padded row, so that the text is
    moved away from the prompt, and results depend on the longest record of the batch.

    Raises:
        TaskError: there are no records, or records of encoder-decoders are mixed with others.

    >>> long = Encoded("a", [5, 7, 9], ["text", "text", "label"], [False] * 3, [-100, 9, -100], None, 2, False)
    >>> short = Encoded("b", [5, 9], ["text", "label"], [False] * 2, [9, -100], None, 1, False)
    >>> collate([long, short], pad_id=0).attention_mask.tolist()
    [[1, 1, 1], [1, 1, 0]]
    """
    if not examples:
        raise TaskError("collate needs at least one record, got none.")
    decoders = [example.decoder_input_ids for example in examples if example.decoder_input_ids is not None]
    if len(decoders) not in (0, len(examples)):
        raise TaskError(
            "collate got records of encoder-decoders mixed with others. Encode all records for one kind of model."
        )
    inputs = [example.input_ids for example in examples]
    moved = [max(map(len, inputs)) - len(ids) if side == "left" else 0 for ids in inputs]
    return Batch(
        ids=tuple(example.id for example in examples),
        input_ids=_pad(inputs, pad_id, side),
        attention_mask=_pad([[1] * len(ids) for ids in inputs], 0, side),
        special=_pad([[int(flag) for flag in example.special] for example in examples], 1, side).bool(),
        targets=_pad([example.targets for example in examples], IGNORED, side),
        decoder_input_ids=_pad(decoders, pad_id) if decoders else None,
        decoder_attention_mask=_pad([[1] * len(ids) for ids in decoders], 0) if decoders else None,
        label_start=torch.tensor([example.label_start + by for example, by in zip(examples, moved, strict=True)]),
        unseen=_unseen(examples),
        token_types=_types(examples, side),
    )


@checked()
def concatenate(batches: Sequence[Batch]) -> Batch:
    """Return one batch with the records of several batches of one kind, padded on the right to the longest.

    >>> long = Encoded("a", [5, 7, 9], ["text", "text", "label"], [False] * 3, [-100, 9, -100], None, 2, False)
    >>> short = Encoded("b", [5, 9], ["text", "label"], [False] * 2, [9, -100], None, 1, False)
    >>> concatenate([collate([long], pad_id=0), collate([short], pad_id=0)]).input_ids.tolist()
    [[5, 7, 9], [5, 9, 0]]
    """
    if len(batches) == 1:
        return batches[0]
    fill = {"input_ids": 0, "attention_mask": 0, "special": True, "targets": IGNORED}
    fill |= {"decoder_input_ids": 0, "decoder_attention_mask": 0}
    joined: dict[str, Any] = {"ids": tuple(name for batch in batches for name in batch.ids)}
    for name, value in fill.items():
        parts = [getattr(batch, name) for batch in batches]
        if parts[0] is not None:
            width = max(part.shape[1] for part in parts)
            joined[name] = torch.cat([pad(part, (0, width - part.shape[1]), value=value) for part in parts])
    if batches[0].label_start is not None:
        joined["label_start"] = torch.cat([batch.label_start for batch in batches if batch.label_start is not None])
    if any(batch.unseen is not None for batch in batches):
        width = joined["input_ids"].shape[1]
        each = [
            torch.zeros_like(batch.input_ids, dtype=torch.bool) if batch.unseen is None else batch.unseen
            for batch in batches
        ]
        joined["unseen"] = torch.cat([pad(one, (0, width - one.shape[1]), value=False) for one in each])
    if any(batch.token_types is not None for batch in batches):
        width = joined["input_ids"].shape[1]
        types = [
            torch.zeros_like(batch.input_ids) if batch.token_types is None else batch.token_types for batch in batches
        ]
        joined["token_types"] = torch.cat([pad(one, (0, width - one.shape[1])) for one in types])
    return Batch(**joined)


def _unseen(examples: Sequence[Encoded]) -> Bool[Tensor, "B n"] | None:
    if all(example.mask_attended for example in examples):
        return None
    hidden = [
        [int(not example.mask_attended and i == example.label_start) for i in range(len(example.input_ids))]
        for example in examples
    ]
    return _pad(hidden, 0).bool()


def _types(examples: Sequence[Encoded], side: Side) -> Int[Tensor, "B n"] | None:
    if all(example.token_types is None for example in examples):
        return None
    return _pad([example.token_types or [0] * len(example.input_ids) for example in examples], 0, side)


def _pad(rows: Sequence[Sequence[int]], value: int, side: Side = "right") -> Int[Tensor, "B n"]:
    width = max(len(row) for row in rows)
    padding = [[value] * (width - len(row)) for row in rows]
    whole = [[*row, *fill] if side == "right" else [*fill, *row] for row, fill in zip(rows, padding, strict=True)]
    return torch.tensor(whole, dtype=torch.long)
