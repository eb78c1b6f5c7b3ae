"""Gradient checkpointing: only each layer's input is kept, and the layer runs again in the backward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from promptscope.engine.choice import is_packed
from promptscope.engine.seq2seq import biases_in_force, with_biases
from promptscope.engine.settings import kernel
from promptscope.errors import RunError
from promptscope.models import HookedModel, PromptLike
from promptscope.models.attending import attending, current_attention
from promptscope.undo import undoing


@contextmanager
def checkpointed(model: HookedModel, prompts: Sequence[PromptLike] = ()) -> Iterator[None]:
    """Let packed passes keep only each layer's input, and compute its activations again in the backward pass.

    This needs less memory and about a third more time. (Hugging Face's own checkpointing needs the model in training
    mode, with dropout, and does not support prefixes.)

    Raises:
        RunError: *model* does not run packed with *prompts*.

    >>> import torch, promptscope as ps
    >>> from promptscope.engine import Texts, logits
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(length=4).bind(model)
    >>> ids = torch.tensor([[5, 7, 9]])
    >>> texts = Texts(ids, torch.ones_like(ids), where=ids == 9)
    >>> with checkpointed(model, [prompt]):
    ...     logits(model, texts, [prompt], which=torch.tensor([0])).logsumexp(-1).sum().backward()
    """
    if not is_packed(model, prompts):
        raise RunError(
            f"gradient checkpointing needs a packed pass, and {model.name!r} runs unpacked here: leave it out, or use "
            "smaller batches with gradient accumulation"
        )
    layers = [module for module in model.twin.modules() if isinstance(module, GradientCheckpointingLayer)]

    def undo() -> None:
        for layer in layers:
            layer.__dict__.pop("forward", None)  # another thread may have been here too

    with undoing(undo):
        for layer in layers:
            layer.__dict__["forward"] = partial(_run, model, layer)
        yield


def _run(model: HookedModel, layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    function = current_attention()
    if function is None:  # a plain pass, of another thread
        return type(layer).forward(layer, *args, **kwargs)
    biases = biases_in_force(layer)

    def again(*args: Any, **kwargs: Any) -> Any:
        # On the way back, nothing of this is in force any more.
        with kernel(model), attending(model.twin, function), with_biases(biases):
            return type(layer).forward(layer, *args, **kwargs)

    return checkpoint(again, *args, use_reentrant=False, **kwargs)
