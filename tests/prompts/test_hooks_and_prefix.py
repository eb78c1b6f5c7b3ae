"""On causal models the two ways to run a prompt are one function: loss and gradient agree."""

import pytest
import torch

from promptscope.engine import Shared, Texts
from promptscope.engine.plain import plain_logits
from promptscope.errors import PromptError
from promptscope.models import Via
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from tests.batches import ragged
from tests.tiny_models import CAUSAL, bare, hooked

# float64 reaches 1e-9 on GPT-2 and GPT-NeoX. On Llama the bridge and Hugging Face both take their norms in float32, in
# another order of operations: about 1e-7 is the floor.
RELATIVE = {
    torch.float32: {"gpt2": 1e-4, "llama": 1e-4, "gpt_neox": 1e-4},
    torch.float64: {"gpt2": 1e-9, "llama": 1e-6, "gpt_neox": 1e-9},
}
PROMPTS = {
    "soft": lambda: SoftPrompt(6, seed=1),
    "untied": lambda: DeepPrompt(6, seed=1),
    "tied": lambda: DeepPrompt(6, tied=True, seed=1),
    "last layer": lambda: DeepPrompt(6, layers=[2], seed=1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", CAUSAL)
def test_loss_and_gradient_agree(family: str, name: str, dtype: torch.dtype) -> None:
    model, batch = hooked(family, dtype), ragged(family)
    prompt = PROMPTS[name]().bind(model)
    targets = torch.cat([row.roll(-1) for row in batch.rows])

    def loss_and_gradient(via: Via) -> tuple[torch.Tensor, torch.Tensor]:
        prompt.zero_grad()
        logits = torch.cat(batch.real(model.logits(batch.input_ids, batch.attention_mask, prompt, via=via)))
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        return loss.detach(), torch.cat([number.grad.flatten() for number in prompt.parameters()])

    (hooks_loss, hooks_gradient), (prefix_loss, prefix_gradient) = map(loss_and_gradient, ("hooks", "prefix"))
    tolerance = RELATIVE[dtype][family]
    assert abs(hooks_loss - prefix_loss) <= tolerance * hooks_loss
    assert hooks_gradient.norm() > 1e-3
    assert (hooks_gradient - prefix_gradient).norm() <= tolerance * hooks_gradient.norm()


@pytest.mark.parametrize("family", CAUSAL)
def test_prefix_is_a_hugging_face_cache(family: str) -> None:
    """`prefix.cache` drives bare Hugging Face generation and forward passes without any of our code around it."""
    model, hf = hooked(family), bare(family)
    prompt = SoftPrompt(5).bind(model)
    ids = torch.arange(10, 16)[None]
    with torch.no_grad():
        embeds = torch.cat([prompt.vectors()[None], hf.get_input_embeddings()(ids)], dim=1)
        want = hf(inputs_embeds=embeds).logits[:, 5:]
        got = hf(input_ids=ids, past_key_values=prompt.prefix(model).cache(1)).logits
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", CAUSAL)
def test_logits_of_the_twin_behind_a_prefix(family: str) -> None:
    model, batch = hooked(family), ragged(family)
    prompt = DeepPrompt(3).bind(model)
    where = batch.attention_mask.bool()
    where[:, 1] = False
    want = model.logits(batch.input_ids, batch.attention_mask, prompt, via="hooks")[where]
    texts = Texts(batch.input_ids, batch.attention_mask, where)
    got = plain_logits(model, texts, [prompt.place(model)])
    with_prefix = plain_logits(model, texts, shared=Shared(1, prompt.prefix(model).detach()))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    torch.testing.assert_close(with_prefix, want, rtol=0, atol=1e-5)
    assert not with_prefix.requires_grad


@pytest.mark.parametrize("family", ["bert", "t5"])
@pytest.mark.parametrize("prompt", [SoftPrompt(2), DeepPrompt(2)], ids=["soft", "deep"])
def test_no_prefix_on_bidirectional_models(family: str, prompt: Prompt) -> None:
    model, prompt = hooked(family), prompt.copy()
    with pytest.raises(PromptError, match=r"causal models only.*via='hooks'"):
        model.logits(ragged(family).input_ids, prompt=prompt, via="prefix")
    with pytest.raises(PromptError, match=r"causal models only.*prompt\.hooks"):
        prompt.prefix(model)
