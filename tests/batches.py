"""Ragged batches, padded left or right, and their rows alone."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LENGTHS = (7, 3, 5)
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Ragged:
    """Three rows of 7, 3 and 5 tokens; padding holds random ids, so that only the mask says what is padding."""

    rows: tuple[Tensor, ...]
    input_ids: Tensor
    attention_mask: Tensor
    decoder_rows: tuple[Tensor | None, ...]
    decoder_input_ids: Tensor | None

    def real(self, values: Tensor) -> list[Tensor]:
        """Cut the real positions of each row out of `values [B, n, V]`; all of them for a decoder."""
        if self.decoder_input_ids is not None:
            return list(values)
        return [value[mask.bool()] for value, mask in zip(values, self.attention_mask, strict=True)]


def ragged(family: str, side: Side = "right", vocab: int = 200) -> Ragged:
    """Build the batch for *family*; encoder-decoders get four decoder tokens a row."""
    generator = torch.Generator().manual_seed(1)
    rows = tuple(torch.randint(vocab, (length,), generator=generator) for length in LENGTHS)
    ids = torch.randint(vocab, (len(rows), max(LENGTHS)), generator=generator)
    mask = torch.zeros_like(ids)
    for b, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(max(LENGTHS) - len(row), max(LENGTHS))
        ids[b, where], mask[b, where] = row, 1
    decoder_ids = torch.randint(vocab, (len(rows), 4), generator=generator) if family == "t5" else None
    decoder_rows = tuple(decoder_ids) if decoder_ids is not None else (None,) * len(rows)
    return Ragged(rows, ids, mask, decoder_rows, decoder_ids)
