"""Packed passes of causal models with flex attention, which computes nothing for padding; for GPUs."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from promptscope.engine.attention import How
from promptscope.engine.causal import CausalPass, in_front
from promptscope.engine.settings import asked
from promptscope.errors import ModelError
from promptscope.models import HookedModel


def fastest_pass(model: HookedModel) -> type[CausalPass]:
    """Return the class of pass that `ps.execution(attention=...)` asks for, the same at every call.

    Raises:
        ModelError: flex attention was asked for on a CPU, where it has no backward pass.
    """
    if asked().attention != "flex":
        return CausalPass
    if model.device.type != "cuda":
        raise ModelError(
            f"attention='flex' runs on a GPU only, and {model.name!r} is on {model.device}: leave attention=None"
        )
    return FlexPass


@dataclass
class FlexPass(CausalPass):
    """A `CausalPass` with a single attention call over all flat rows, and a block mask."""

    masks: dict[tuple[int, int | None], BlockMask] = field(default_factory=dict)

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend from each row to earlier positions of its prompt and of its own text."""
        if how.cap is not None or how.sinks is not None:
            return super().attend(module, query, key, value, how)
        if (front := in_front(self.shared.prefix, module.layer_idx)) is not None:
            key, value = (torch.cat([x.flatten(0, 1), own]) for x, own in zip(front, (key, value), strict=True))
        place = self.shared.p if front is not None else 0, how.window
        if place not in self.masks:  # once for all layers with equal windows
            self.masks[place] = self._mask(*place)
        q, k, v = (rearrange(x, "t head d -> 1 head t d") for x in (query, key, value))
        grouped = q.shape[1] != k.shape[1]
        options: dict[str, Any] = {"block_mask": self.masks[place], "scale": how.scale, "enable_gqa": grouped}
        return rearrange(_compiled(query.device.type)(q, k, v, **options), "1 head t d -> t head d")

    def _mask(self, p: int, window: int | None) -> BlockMask:
        """Compute the mask for keys `[G x p prefix | G x s shared | tokens]` and queries `[G x s shared | tokens]`."""
        device, g, s = self.texts.lengths.device, self.shared.n_prompts, self.shared.s
        known = _places(g, p, 0, device)
        shared = _places(g, s, self.shared.p, device)
        texts = self.texts.sequences
        prompts = torch.zeros_like(texts) if self.which is None else self.which[texts]
        own = torch.stack([prompts, texts, self.shared.p + s + self.texts.positions])
        keys = torch.cat([known, shared, own], dim=1)
        prompt, text, position = keys
        asks, n = g * p, keys.shape[1]
        reach = n if window is None else window
        # One expression without calls: it is compiled into the kernel.
        return create_block_mask(
            lambda b, h, q, k: (
                ((text[k] < 0) & (prompt[k] == prompt[q + asks]) | (text[k] >= 0) & (text[k] == text[q + asks]))
                & (position[k] <= position[q + asks])
                & (position[q + asks] - position[k] < reach)
            ),
            None,
            None,
            n - asks,
            n,
            device=device.type,
        )


def _places(g: int, n: int, first: int, device: torch.device) -> Tensor:
    """Return the prompt, the text (-1: none) and the position of n rows of each of g prompts."""
    prompt = torch.arange(g, device=device).repeat_interleave(n)
    position = first + torch.arange(n, device=device).repeat(g)
    return torch.stack([prompt, torch.full_like(prompt, -1), position])


@cache
def _compiled(device: str) -> Any:
    # Compiled it is one kernel that skips empty blocks; a CPU runs it as it is written, for tests.
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
