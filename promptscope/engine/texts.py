"""A padded batch of texts as the engine takes it: tokens, where logits are wanted, what nothing attends to."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Texts:
    """R texts as token ids. `mask` is not zero on real tokens.

    Padding after a text changes nothing; padding before it raises the positions of its tokens.

    `where` marks the positions whose logits are wanted: of `ids`, on encoder-decoders of `decoder_ids`. `unseen`
    (masked models) marks tokens that nothing attends to; `token_types` are BERT's token_type_ids. See
    `HookedModel.logits`.

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
        """Return some of the texts."""
        picked: dict[str, Any] = {name: None if x is None else x[texts] for name, x in vars(self).items()}
        return Texts(**picked)
