"""Texts that are read once and then go on: for generation, and for scoring words of several tokens."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from promptscope.engine.decode import TextContinuation
from promptscope.engine.seq2seq_decode import TargetContinuation
from promptscope.engine.shared import Shared
from promptscope.errors import ModelError
from promptscope.models import HookedModel
from promptscope.prompts import Prompt


@runtime_checkable
class Continuation(Protocol):
    """R texts that have been read: `last` are the logits behind them (encoder-decoders: behind the start token)."""

    last: Float[Tensor, "R V"]

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* and return the logits behind each."""
        ...

    def rewind(self) -> None:
        """Forget everything that was appended."""
        ...


def continue_texts(
    model: HookedModel,
    prompts: Sequence[Prompt],
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"],
    room: int,
    shared: Shared | None = None,
) -> Continuation:
    """Read right-padded texts once, without padding, and keep room for *room* tokens behind each.

    *shared* (causal models): what stands in front of all of them, see `share`.
    """
    real = mask.bool()
    if model.family.kind == "seq2seq":
        return TargetContinuation(model, prompts, ids, real)
    if model.family.kind != "causal":
        raise ModelError(f"{model.name!r} is a {model.family.kind} model: its texts cannot go on")
    shared = Shared.of(model, prompts) if shared is None else shared
    c = shared.n_template
    return TextContinuation(model, shared, ids[:, c:], real[:, c:], room)
