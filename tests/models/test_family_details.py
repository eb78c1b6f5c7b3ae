"""Details of single families that the other fast tests do not reach, against the code and configs of transformers."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from einops import repeat
from transformers import AlbertConfig, AlbertForMaskedLM

import promptscope as ps
from promptscope.models.context import context_of
from promptscope.models.falcon import FalconAdapter
from promptscope.models.frozen import FrozenModel
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
