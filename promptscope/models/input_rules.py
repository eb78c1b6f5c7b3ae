"""Checks of the inputs of a model: ids in its vocabulary, masks of the right shape, a length within its context."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from promptscope.errors import ModelError, PromptError, shortened


@dataclass(frozen=True)
class InputRules:
    """The sizes of a model against which its inputs are checked.

    `model` is its name in messages, `kind` is `causal`, `masked` or `seq2seq`, and `context` is the largest number of
    positions, or None.

    >>> rules = InputRules("tiny", "causal", vocab_size=50, context=8, n_token_types=0, device=torch.device("cpu"))
    >>> ids, mask = rules.check_inputs(torch.tensor([[4, 7]]), None)
    >>> mask.tolist()
    [[1, 1]]
    """

    model: str
    kind: str
    vocab_size: int
    context: int | None
    n_token_types: int
    device: torch.device

    def check_context(self, n: int, k: int = 0) -> None:
        """Raise PromptError if *k* prompt positions and *n* tokens exceed the model's context."""
        if self.context is not None and n + k > self.context:
            room = self.context - k
            truncate = f", or let the task truncate its text (max_length={room})" if room > 0 else ""
            raise PromptError(
                f"{k} prompt positions + {n} tokens = {n + k} positions, but {self.model!r} has only "
                f"{self.context}: use a shorter prompt{truncate}"
            )

    @property
    def has_token_types(self) -> bool:
        """Whether the model adds token type embeddings, which distinguish the two texts of a pair (BERT)."""
        return self.kind == "masked" and self.n_token_types > 1

    def check_types(self, input_ids: Tensor, types: Any) -> Tensor | None:
        """Check token types and return them, or None if the model does not use them."""
        if types is None:
            return None
        if not isinstance(types, Tensor) or types.shape != input_ids.shape or types.is_floating_point():
            got = f"{types.dtype} {tuple(types.shape)}" if isinstance(types, Tensor) else repr(types)
            raise ModelError(
                f"token_type_ids must be an integer tensor of the shape of input_ids, {tuple(input_ids.shape)}, got "
                f"{shortened(got)}"
            )
        if self.kind != "masked" and bool(types.any()):
            raise ModelError(
                f"token_type_ids are for masked language models, and {self.model!r} is a {self.kind} model: "
                "leave them out"
            )
        if not self.has_token_types:
            return None
        if not 0 <= int(types.min()) <= int(types.max()) < self.n_token_types:
            raise ModelError(
                f"token_type_ids must lie in 0..{self.n_token_types - 1}, got {int(types.min())}..{int(types.max())}"
            )
        return types.to(self.device)

    def check_decoder_inputs(self, ids: Any, rows: int) -> None:
        """Raise ModelError unless *ids* are token ids `(rows, m)` for the decoder of an encoder-decoder."""
        if self.kind != "seq2seq":
            raise ModelError(
                f"decoder_input_ids are for encoder-decoders, and {self.model!r} is a {self.kind} model: leave them out"
            )
        if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point() or len(ids) != rows:
            got = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else repr(ids)
            raise ModelError(f"decoder_input_ids must be an integer tensor of shape ({rows}, m), got {shortened(got)}")
        self.check_range(ids)

    def check_range(self, ids: Tensor) -> None:
        """Raise ModelError if an id is not in the vocabulary."""
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            raise ModelError(
                f"token ids must lie in 0..{self.vocab_size - 1}, got ids from {int(ids.min())} to {int(ids.max())}: "
                "use this model's tokenizer, model.tokenizer"
            )

    def check_unseen(self, input_ids: Int[Tensor, "B n"], unseen: Bool[Tensor, "B n"]) -> None:
        """Raise ModelError unless the model is a masked one and *unseen* has the shape of *input_ids*."""
        if self.kind != "masked":
            raise ModelError(f"unseen is for masked models, and {self.model!r} is a {self.kind} model: leave it out")
        if unseen.shape != input_ids.shape:
            raise ModelError(
                f"unseen must have the shape of input_ids, {tuple(input_ids.shape)}, got {tuple(unseen.shape)}"
            )

    def check_inputs(
        self, input_ids: Int[Tensor, "B n"], attention_mask: Int[Tensor, "B n"] | None
    ) -> tuple[Int[Tensor, "B n"], Int[Tensor, "B n"]]:
        """Check ids and mask and return them on the model's device; without a mask, it is made of ones.

        Raises:
            ModelError: they have the wrong type or shape, or an id is not in the vocabulary.
        """
        whole = isinstance(input_ids, Tensor) and not (input_ids.is_floating_point() or input_ids.dtype == torch.bool)
        if not whole or input_ids.ndim != 2 or not input_ids.numel():
            got = f"{input_ids.dtype} {tuple(input_ids.shape)}" if isinstance(input_ids, Tensor) else repr(input_ids)
            raise ModelError(
                f"input_ids must be an integer tensor of shape (B, n) with at least one token, got {got[:80]}: "
                "use tokenizer(texts, padding=True, return_tensors='pt').input_ids"
            )
        self.check_range(input_ids)
        input_ids = input_ids.to(self.device)
        if attention_mask is None:
            return input_ids, torch.ones_like(input_ids)
        if not isinstance(attention_mask, Tensor) or attention_mask.is_floating_point():
            got = str(attention_mask.dtype) if isinstance(attention_mask, Tensor) else repr(attention_mask)
            raise ModelError(f"attention_mask must be an integer tensor, 1 for tokens and 0 for padding, got {got}")
        if attention_mask.shape != input_ids.shape:
            raise ModelError(
                f"attention_mask must have the shape of input_ids, {tuple(input_ids.shape)}, "
                f"got {tuple(attention_mask.shape)}: leave out the prompt positions, which are added by the model"
            )
        if not 0 <= int(attention_mask.min()) <= int(attention_mask.max()) <= 1:
            raise ModelError(
                f"attention_mask must be 1 for tokens and 0 for padding, got numbers from {int(attention_mask.min())} "
                f"to {int(attention_mask.max())}"
            )
        return input_ids, attention_mask.to(self.device)
