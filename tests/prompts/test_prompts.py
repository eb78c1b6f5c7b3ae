"""Parameter counts, binding, and prompts together with the user's own hooks."""

from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from tests.tiny_models import FAMILIES, bare, hooked, tiny_hf_model


class Sizes(nn.Module):
    """A bridge that has a shape and runs nothing."""

    def __init__(self, d_model: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.cfg = SimpleNamespace(d_model=d_model, n_heads=n_heads, d_head=d_model // n_heads)
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(n_layers))
        self.hook_dict: dict[str, object] = {}


def test_counts_on_mgpts_shape() -> None:
    """d = 2048, L = 24, k = 20: the paper's 40,960 and 983,040 parameters."""
    twin = GPT2LMHeadModel(GPT2Config(n_embd=2048, n_layer=0, n_head=16, vocab_size=16, n_positions=32))
    gpt2 = hooked("gpt2")
    model = HookedModel(Sizes(2048, 24, 16), twin, gpt2.family, None, "mGPT", None, gpt2.facts)
    assert SoftPrompt(20).bind(model).n_parameters == 40_960
    assert DeepPrompt(20, tied=True).bind(model).n_parameters == 983_040
    assert DeepPrompt(20).bind(model).n_parameters == 2 * 983_040
    assert DeepPrompt(20, tied=True, layers=range(6)).bind(model).n_parameters == 983_040 // 4


def test_counts_on_the_other_families() -> None:
    k, layers, d = 5, 3, 32
    for family in FAMILIES:
        assert SoftPrompt(k).bind(hooked(family)).n_parameters == k * d
    assert DeepPrompt(k).bind(hooked("llama")).n_parameters == 2 * k * layers * d // 2  # 2 of 4 heads have keys
    assert DeepPrompt(k).bind(hooked("bert")).n_parameters == 2 * k * layers * d
    assert DeepPrompt(k).bind(hooked("t5")).n_parameters == 3 * 2 * k * layers * d
    assert DeepPrompt(k, parts=["cross"], tied=True).bind(hooked("t5")).n_parameters == k * layers * d


def test_bind_is_idempotent_and_creates_once() -> None:
    model, prompt = hooked("gpt2"), SoftPrompt(3)
    assert not prompt.is_bound and prompt.n_parameters == 0 and "unbound" in repr(prompt)
    bound = prompt.bind(model)
    assert bound is prompt and prompt.is_bound
    parameter = prompt.embedding
    assert prompt.bind(model).embedding is parameter
    assert prompt.provenance["embedding_hash"] == model.embedding_hash
    assert "for 'GPT2LMHeadModel'" in repr(prompt)


def test_logits_binds_by_itself_and_reaches_the_prompt_only() -> None:
    model, prompt = hooked("llama"), DeepPrompt(3)
    model.logits(torch.tensor([[4, 5, 6]]), prompt=prompt).sum().backward()
    assert all(number.grad is not None for number in prompt.parameters())
    assert all(weight.grad is None for weight in model.twin.parameters())


def test_parameters_of_the_model_are_not_the_prompts() -> None:
    prompt = SoftPrompt(3).bind(hooked("gpt2"))
    assert [name for name, _ in prompt.named_parameters()] == ["embedding"]
    copy = prompt.copy()
    with torch.no_grad():
        copy.embedding.add_(1)
    assert copy.content_hash() != prompt.content_hash()


@pytest.mark.parametrize(
    ("family", "prompt", "message"),
    [
        ("gpt2", DeepPrompt(2, layers=[0, 3]), r"layers must name some of 0\.\.2, .* got \[0, 3\]"),
        ("gpt2", DeepPrompt(2, layers=[-1]), "layers must name"),
        ("gpt2", DeepPrompt(2, layers=[]), "layers must name"),
        ("gpt2", DeepPrompt(2, parts=["encoder"]), r"parts must name some of \['self'\].* got \['encoder'\]"),
        ("t5", DeepPrompt(2, parts=["self"]), r"parts must name some of \['encoder', 'decoder', 'cross'\]"),
    ],
)
def test_layers_and_parts_that_do_not_exist(family: str, prompt: Prompt, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompt.bind(hooked(family))


@pytest.mark.parametrize("length", [0, -3])
def test_no_positions(length: int) -> None:
    with pytest.raises(PromptError, match=f"at least one, got length={length}"):
        SoftPrompt(length)


@pytest.mark.parametrize("length", [2.5, "20"])
def test_length_is_a_whole_number(length: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the type checks of tests would come first
    with pytest.raises(PromptError, match=f"length must be a whole number.*got {length!r}"):
        SoftPrompt(length)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt", [SoftPrompt(2), DeepPrompt(2)], ids=["soft", "deep"])
def test_composes_with_the_users_own_hooks(family: str, prompt: Prompt) -> None:
    """In one `with model.hooks(prompt.hooks(m) + [...])`, the user's hook at the prompt's own point sees the prompt."""
    model, prompt = hooked(family), prompt.copy().bind(hooked(family))
    text = torch.tensor([[7, 8, 9]])
    k = prompt.length
    seen: list[Tensor] = []
    attention = next(iter(model.family.attentions.values()))
    site = "embed.hook_out" if isinstance(prompt, SoftPrompt) else f"{attention.stack}.1.{attention.module}.hook_v"

    def look(x: Tensor, hook: object) -> None:
        seen.append(x[0, :k].detach())

    def silence_head(z: Tensor, hook: object) -> Tensor:
        return torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, 1:]], dim=2)

    own = [(site, look), (f"{attention.stack}.1.{attention.module}.hook_z", silence_head)]
    ids = torch.cat([torch.zeros(1, k, dtype=torch.long), text], dim=1)
    extra = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)} if family == "t5" else {}
    if family == "t5" and isinstance(prompt, DeepPrompt):
        extra["decoder_input_ids"] = torch.zeros(1, k + 1, dtype=torch.long)
    with torch.no_grad(), model.hooks(prompt.hooks(model) + own):
        together = model.bridge(ids, **extra)
    written = (
        prompt.vectors() if isinstance(prompt, SoftPrompt) else prompt.values(next(iter(model.family.attentions)))[1]
    )
    assert len(seen) == 1 and torch.equal(seen[0].flatten(1), written.flatten(1).detach())
    decoder = torch.zeros(1, 1, dtype=torch.long) if family == "t5" else None
    with torch.no_grad():
        same = model.forward_hooked(text, prompt=prompt, hooks=own, decoder_input_ids=decoder)
        without = model.forward_hooked(text, prompt=prompt, decoder_input_ids=decoder)
    assert len(seen) == 2 and torch.equal(seen[1], seen[0])
    torch.testing.assert_close(together, same, rtol=0, atol=1e-6)
    assert (together - without).abs().max() > 1e-4


def test_two_prompts_on_one_model_do_not_meet() -> None:
    model, ids = hooked("gpt2"), torch.tensor([[7, 8, 9]])
    first, second = SoftPrompt(2, seed=1), SoftPrompt(2, seed=2)
    with torch.no_grad():
        before = model.logits(ids, prompt=first, via="hooks")
        model.logits(ids, prompt=second, via="hooks")
        assert torch.equal(model.logits(ids, prompt=first, via="hooks"), before)
        torch.testing.assert_close(model.logits(ids), bare("gpt2")(ids).logits, rtol=0, atol=1e-5)


def test_generation_with_hooks_and_a_cache() -> None:
    """Cached decoding steps see one new token: the hooks must leave it alone."""
    model = hooked("llama")
    hf, ids = bare("llama"), torch.tensor([[7, 8, 9]])
    prompt = SoftPrompt(4).bind(model)
    with torch.no_grad():
        embeds = torch.cat([prompt.vectors()[None], hf.get_input_embeddings()(ids)], dim=1)
        want = hf.generate(inputs_embeds=embeds, attention_mask=torch.ones(1, 7), max_new_tokens=6, do_sample=False)
        padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], dim=1)
        with model.hooks(prompt.hooks(model)):
            tokens = padded
            cache = None
            for _ in range(6):
                step = tokens if cache is None else tokens[:, -1:]
                outputs = model.bridge.original_model(input_ids=step, past_key_values=cache, use_cache=True)
                cache = outputs.past_key_values
                tokens = torch.cat([tokens, outputs.logits[:, -1:].argmax(-1)], dim=1)
    assert tokens[0, 7:].tolist() == want[0].tolist()[: len(tokens[0, 7:])]


def test_yarn_keys_turn_back() -> None:
    """YaRN stretches keys besides turning them; what an adapter holds must still come back exactly."""
    from promptscope.models.keys import cached, written

    hf = tiny_hf_model("llama")
    config = hf.config
    config.rope_parameters = {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 16,
    }
    yarn = type(hf)(config)
    assert yarn.model.rotary_emb.attention_scaling != 1
    model = hooked("llama")
    stretched = HookedModel(model.bridge, yarn, model.family, None, "yarn", None, model.facts)
    keys, values = torch.randn(2, 3, 2, 5, 8)
    turned, kept = cached(keys, values, range(3), stretched)
    assert torch.equal(kept, values)
    assert (turned.norm() / keys.norm() - 1).abs() > 0.05
    torch.testing.assert_close(written(turned, range(3), stretched), keys)
