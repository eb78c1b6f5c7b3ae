"""Details of single families that the other fast tests do not reach, against the code and configs of transformers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from einops import repeat
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AlbertConfig, AlbertForMaskedLM

import promptscope as ps
from promptscope.engine.attention import How
from promptscope.engine.rows import Rows
from promptscope.engine.seq2seq import Sources
from promptscope.engine.seq2seq_decode import _Step
from promptscope.models.context import context_of
from promptscope.models.facts import Facts
from promptscope.models.falcon import FalconAdapter
from promptscope.models.frozen import FrozenModel
from promptscope.models.keys import cached, written
from promptscope.models.splitting import untie_layers
from tests.models.zoo import SIZES, config_of, filled, make

IDS = torch.tensor([[5, 9, 13, 8]])


@torch.no_grad()
def test_layers_of_an_albert_with_several_groups_are_those_of_their_groups() -> None:
    options = SIZES | {"embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2}
    model = filled(AlbertForMaskedLM(AlbertConfig(**options)))
    before = model(input_ids=IDS).logits
    untie_layers(model)
    assert len(model.base_model.encoder.albert_layer_groups) == 4
    torch.testing.assert_close(model(input_ids=IDS).logits, before, rtol=0, atol=0)


@torch.no_grad()
def test_falcons_fused_projection_is_split_as_it_splits_it_itself() -> None:
    attention: Any = make("falcon_40b").base_model.h[0].self_attention
    x = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    theirs = attention._split_heads(attention.query_key_value(x))  # (1, 3, head, d_head), each key and value repeated
    adapter: Any = SimpleNamespace(_is_new_arch=True)
    query, key, value = (linear(x) for linear in FalconAdapter._split_falcon_qkv(adapter, attention))
    n = attention.num_heads // attention.num_kv_heads
    ours = [query.view(theirs[0].shape)]
    ours += [repeat(one, "b t (head d) -> b t (head n) d", n=n, d=attention.head_dim) for one in (key, value)]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    ("rope", "zero", "context"),
    [
        (None, 0, 64),
        (None, 2, 62),  # RoBERTa's first position is 2
        ({"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 24}, 0, 24),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 24}, 0, 64),
        ({"full": {"rope_type": "longrope", "original_max_position_embeddings": 24}, "sliding": {}}, 0, 24),
    ],
)
def test_the_context_ends_where_angles_begin_to_depend_on_the_length(rope: Any, zero: int, context: int) -> None:
    model = make("llama")
    model.config.rope_parameters = rope
    assert context_of(model, zero) == context


@pytest.mark.parametrize(("name", "start"), [("t5", 0), ("bart", 2), ("t5gemma", 2)])
def test_answers_begin_with_the_decoders_start(name: str, start: int) -> None:
    """T5Gemma's config has no token for it: its decoder begins with <bos>."""
    model: Any = SimpleNamespace(twin=SimpleNamespace(config=config_of(name)), family=SimpleNamespace(kind="seq2seq"))
    found: Any = FrozenModel.decoder_start_id
    assert found.fget(model) == start


@pytest.mark.parametrize("window", [10, 80])
def test_a_window_is_measured_or_taken_from_the_configuration(window: int) -> None:
    """The model has 64 positions, so that the wider one hides nothing from any query."""
    source = make("mistral_win")
    source.config.sliding_window = window
    assert ps.load_model(source).facts.window == window


def test_keys_that_are_stretched_as_they_are_turned_are_turned_back() -> None:
    source = make("llama")
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 16}
    source.config.rope_parameters = yarn
    model = ps.load_model(type(source)(source.config).eval())
    keys = torch.randn(1, model.shape.n_kv_heads, 5, model.shape.d_head, generator=torch.Generator().manual_seed(0))
    turned, _ = cached(keys, keys, [1], model)
    assert turned.norm() > 1.1 * keys.norm()
    torch.testing.assert_close(written(turned, [1], model), keys)


def test_new_tokens_of_a_decoder_with_a_window_attend_within_it() -> None:
    """T5Gemma's decoder: seven tokens, of which five are in the cache, and a reach of three tokens back."""
    module = nn.Identity()
    facts = Facts(bands={"decoder": ((3, 0),)}, parts={module: ("decoder", 0)})
    rows = Rows.even(1, 2, torch.device("cpu"))
    q, k, v = torch.randn(3, 1, 7, 2, 4, generator=torch.Generator().manual_seed(0))  # (1, token, head, d_head)
    step = _Step(Sources(None, rows, {}, None), rows, {}, {0: (k[:, :5], v[:, :5])}, facts)
    got = step.attend(module, q[0, 5:], k[0, 5:], v[0, 5:], How())
    distance = torch.arange(7)[:, None] - torch.arange(7)
    whole = scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), (distance >= 0) & (distance <= 3))
    torch.testing.assert_close(got, whole.transpose(1, 2)[0, 5:])


@torch.no_grad()
def test_a_model_that_scales_embeddings_after_its_hook_point_scales_prompts_too() -> None:
    """Granite: the vectors of a prompt are those that the model scales, whichever way they go in."""
    model = ps.load_model(make("granite"))
    assert model.facts.hook_scale != 1
    prompt = ps.SoftPrompt(3, seed=1).bind(model)
    expected = model.twin(**prompt.inputs_embeds(model, IDS)).logits[:, 3:]
    torch.testing.assert_close(model.logits(IDS, None, prompt, via="hooks"), expected)
    deep = ps.DeepPrompt(3, init=ps.init.FromPrompt(prompt)).bind(model)
    torch.testing.assert_close(model.logits(IDS, None, deep, via="hooks"), expected)


def test_windows_of_attention_in_a_models_own_code_count_cut_tokens() -> None:
    """GPT-Neo has windows that nothing tells of, so that no cache may leave out what is cut."""
    model = ps.load_model(make("llama"))
    whole = ps.SoftPrompt(4).place(model)
    assert not model.needs_hooks([whole]) and not model.needs_hooks([whole.cut([1])])
    model.facts = replace(model.facts, why_inlined="it computes attention in its own way")
    assert not model.needs_hooks([whole]) and model.needs_hooks([whole.cut([1])])


@torch.no_grad()
def test_keys_of_a_cache_are_written_behind_the_norm_of_keys() -> None:
    """A norm cannot be undone: PEFT's keys, which a cache holds, go in after it."""
    model = ps.load_model(make("qwen3"))
    prompt = ps.DeepPrompt(3, seed=1).bind(model)
    prompt.keys_after_rotary = True
    expected = model.logits(IDS, None, prompt, via="prefix")
    torch.testing.assert_close(model.logits(IDS, None, prompt, via="hooks"), expected)
    with pytest.raises(ps.PromptError, match="norm or clip keys"):
        ps.interventions.zero(prompt, [1]).place(model)
