"""A padded batch of texts: token ids, the positions whose logits are wanted, and tokens hidden from attention."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Texts:
    """R texts as token ids, and the positions whose logits are wanted.

    - `ids (R, n)`, `mask (R, n)`: token ids; the mask is not zero on tokens. Padding after a text has no effect;
      padding before a text raises the positions of its tokens.
    - `where`: True at the positions whose logits are wanted, of `ids` or, on encoder-decoders, of `decoder_ids`.
    - `decoder_ids (R, m)`: the targets, on encoder-decoders.
    - `unseen (R, n)`: on masked models, True on tokens to which no query attends.
    - `token_types (R, n)`: BERT's `token_type_ids`.

    >>> import torch
    >>> ids = torch.tensor([[5, 7, 9], [5, 9, 0]])
    >>> texts = Texts(ids, mask=(ids > 0).long(), where=ids == 9)  # logits at the last token of each
    >>> len(texts), texts.pick(torch.tensor([False, True])).ids.tolist()
    (2, [[5, 9, 0]])
    """

    ids: Int[Tensor, "R n"]
    mask: Int[Tensor, "R n"] | Bool[Tensor, "R n"]
    where: Bool[Tensor, "R t"]
    decoder_ids: Int[Tensor, "R t"] | None = None
    unseen: Bool[Tensor, "R n"] | None = None
    token_types: Int[Tensor, "R n"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def pick(self, texts: Bool[Tensor, "R"]) -> "Texts":
        """Return the texts that are marked True."""
        picked: dict[str, Any] = {name: None if x is None else x[texts] for name, x in vars(self).items()}
        return Texts(**picked)
