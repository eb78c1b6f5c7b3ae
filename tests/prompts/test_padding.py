"""A padded batch under a prompt equals its rows alone on the bare model: logits and the prompt's gradient.

The truth is `references.py`: `inputs_embeds` for input-level prompts, keys and values concatenated inside the attention
function for deep ones. Everything runs in float64, so that nothing hides in rounding.
"""

import pytest
import torch

from promptscope.models import HookedModel, Via
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from tests.batches import Ragged, Side, ragged
from tests.prompts.references import direction_loss, reference
from tests.tiny_models import CAUSAL, FAMILIES, bare, hooked

K = 4
# Measured: 1e-15 of numbers about 1, except 3e-7 for Llama, whose norms are computed in float32 whatever the dtype.
TOLERANCE = {"gpt2": 1e-12, "bert": 1e-12, "gpt_neox": 1e-12, "llama": 2e-6, "t5": 1e-12}


def prompts(family: str) -> dict[str, Prompt]:
    every: dict[str, Prompt] = {
        "soft": SoftPrompt(K),
        "deep": DeepPrompt(K),
        "deep tied": DeepPrompt(K, tied=True),
        "deep in the middle layer": DeepPrompt(K, layers=[1]),
        "deep tied in layers 0 and 2": DeepPrompt(K, layers=[2, 0], tied=True),
    }
    if family == "t5":
        every |= {
            "deep in the encoder": DeepPrompt(K, parts=["encoder"]),
            "deep in the decoder": DeepPrompt(K, parts=["decoder"]),
            "deep in cross-attention": DeepPrompt(K, parts=["cross"]),
            "deep in decoder and cross, layer 1": DeepPrompt(K, parts=["decoder", "cross"], layers=[1]),
        }
    return every


CASES = [(family, name) for family in FAMILIES for name in prompts(family)]


def ours(model: HookedModel, prompt: Prompt, batch: Ragged, via: Via) -> tuple[list[torch.Tensor], dict]:
    prompt.zero_grad()
    logits = model.logits(
        batch.input_ids, batch.attention_mask, prompt, via=via, decoder_input_ids=batch.decoder_input_ids
    )
    rows = batch.real(logits)
    direction_loss(rows).backward()
    return [row.detach() for row in rows], {name: number.grad.clone() for name, number in prompt.named_parameters()}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "name"), CASES)
def test_padded_batch_equals_its_rows_alone(family: str, name: str, side: Side) -> None:
    model = hooked(family, torch.float64)
    prompt = prompts(family)[name].bind(model)
    batch = ragged(family, side)
    expected, expected_gradient = reference(bare(family, torch.float64), family, prompt, batch.rows, batch.decoder_rows)
    without = model.logits(batch.input_ids, batch.attention_mask, decoder_input_ids=batch.decoder_input_ids)
    for want, plain in zip(expected, batch.real(without), strict=True):
        assert (want - plain).abs().max() > 5e-3, "the prompt must do something for the test to mean something"
    vias: tuple[Via, ...] = ("hooks", "prefix", "auto") if family in CAUSAL else ("hooks", "auto")
    for via in vias:
        logits, gradient = ours(model, prompt, batch, via)
        for got, want in zip(logits, expected, strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE[family])
        for key, want in expected_gradient.items():
            assert want.norm() > 0.01
            assert (gradient[key] - want).norm() <= TOLERANCE[family] * want.norm()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_prompt(family: str, side: Side) -> None:
    model, batch = hooked(family), ragged(family, side)
    for via in ("hooks", "auto"):
        logits = model.logits(batch.input_ids, batch.attention_mask, via=via, decoder_input_ids=batch.decoder_input_ids)
        for got, row, decoder in zip(batch.real(logits), batch.rows, batch.decoder_rows, strict=True):
            extra = {} if decoder is None else {"decoder_input_ids": decoder[None]}
            want = bare(family)(input_ids=row[None], **extra).logits[0]
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
