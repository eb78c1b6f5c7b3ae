"""The two ways to run a prompt that must agree: the hooked bridge, which defines it, and the packed pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from promptscope.engine import Shared, Texts, logits, place
from promptscope.engine.packed import packed_logits
from promptscope.models import HookedModel
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from tests.batches import Ragged, ragged
from tests.tiny_models import FAMILIES

K = 4
Make = Callable[..., Prompt]

PROMPTS: dict[str, Make] = {
    "v1": lambda seed=0: SoftPrompt(K, seed=seed),
    "v2 untied": lambda seed=0: DeepPrompt(K, seed=seed),
    "v2 tied": lambda seed=0: DeepPrompt(K, tied=True, seed=seed),
    "v2 in some layers": lambda seed=0: DeepPrompt(K, layers=[2, 0], seed=seed),
}
PARTS: dict[str, Make] = {
    "v2 encoder and cross": lambda seed=0: DeepPrompt(K, parts=["encoder", "cross"], seed=seed),
    "v2 decoder": lambda seed=0: DeepPrompt(K, parts=["decoder"], seed=seed),
    "v2 decoder, layer 1": lambda seed=0: DeepPrompt(K, parts=["decoder"], layers=[1], seed=seed),
}
EVERY = PROMPTS | PARTS

CASES = [(family, name) for family in FAMILIES for name in (EVERY if family == "t5" else PROMPTS)]
# Llama takes its norms in float32 whatever the dtype; the bridge and Hugging Face in another order of operations.
EXACT = {family: 1e-6 if family == "llama" else 1e-9 for family in FAMILIES}


def wanted(batch: Ragged) -> Tensor:
    """Mark two or three positions of each text, never the same in all: `[R, n]`, of targets for encoder-decoders."""
    shape = batch.input_ids if batch.decoder_input_ids is None else batch.decoder_input_ids
    where = torch.zeros(shape.shape, dtype=torch.bool)
    lengths = batch.attention_mask.sum(1).tolist() if batch.decoder_input_ids is None else [4, 2, 3]
    for row, length in enumerate(lengths):
        where[row, [length - 1, length - 2, 0][: 2 + row % 2]] = True
    return where


def by_hooks(model: HookedModel, batch: Ragged, prompt: Prompt | None, where: Tensor) -> Tensor:
    """Return the logits of the hooked bridge at *where*."""
    logits = model.logits(
        batch.input_ids, batch.attention_mask, prompt, via="hooks", decoder_input_ids=batch.decoder_input_ids
    )
    return logits[where]


def by_packing(
    model: HookedModel, batch: Ragged, prompts: Sequence[Prompt], where: Tensor, which: Tensor | None = None
) -> Tensor:
    """Return the logits of the packed pass at *where*; no model falls back here."""
    wanted_texts = Texts(batch.input_ids, batch.attention_mask, where, batch.decoder_input_ids)
    return packed_logits(model, wanted_texts, place(model, prompts), which)


def logits_where(
    model: HookedModel,
    where: Tensor,
    ids: Tensor,
    mask: Tensor,
    prompts: Sequence[Prompt] = (),
    which: Tensor | None = None,
    decoder_ids: Tensor | None = None,
    shared: Shared | None = None,
) -> Tensor:
    """Return the logits at *where* through the engine's door."""
    return logits(model, Texts(ids, mask, where, decoder_ids), prompts, which, shared)


def gradient(logits: Tensor, prompt: Prompt) -> Tensor:
    """Return the gradient of *prompt* where every logit counts with a random number of its own."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    prompt.zero_grad()
    (logits * weights.to(logits)).sum().backward()
    return torch.cat([number.grad.flatten() for number in prompt.parameters()])


def assert_exact(got: Tensor, expected: Tensor, family: str) -> None:
    """Compare in float64, relative to the largest number."""
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= EXACT[family] * expected.abs().max()


def assert_rounded(got: Tensor, expected: Tensor) -> None:
    """Compare in float32: relative L2."""
    assert got.shape == expected.shape
    assert (got - expected).norm() <= 1e-3 * expected.norm()


def texts(family: str) -> Ragged:
    """Give the ragged batch of every test here, right padded."""
    return ragged(family, "right")
