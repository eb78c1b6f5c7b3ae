"""Weights that are edited after loading: both halves of the model have them, or the edit is refused by name."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.models import HookedModel
from tests.tiny_models import FAMILIES, tiny_hf_model

Edit = Callable[[nn.Module, str], None]
ATTENTION = {
    "gpt2": "transformer.h.1.attn.c_attn",
    "llama": "model.layers.1.self_attn.q_proj",
    "gpt_neox": "gpt_neox.layers.1.attention.query_key_value",
    "bert": "bert.encoder.layer.1.attention.self.value",
    "t5": "encoder.block.1.layer.0.SelfAttention.v",
}
FEED_FORWARD = {
    "gpt2": "transformer.h.2.mlp.c_fc",
    "llama": "model.layers.2.mlp.down_proj",
    "gpt_neox": "gpt_neox.layers.2.mlp.dense_h_to_4h",
    "bert": "bert.encoder.layer.2.intermediate.dense",
    "t5": "decoder.block.2.layer.2.DenseReluDense.wi",
}


@torch.no_grad()
def in_place(model: nn.Module, path: str) -> None:
    model.get_submodule(path).weight.mul_(-3)


def through_data(model: nn.Module, path: str) -> None:
    model.get_submodule(path).weight.data.mul_(-3)


def other_data(model: nn.Module, path: str) -> None:
    weight = model.get_submodule(path).weight
    weight.data = weight.data * -3


def other_parameter(model: nn.Module, path: str) -> None:
    module = model.get_submodule(path)
    module.weight = nn.Parameter(module.weight.detach() * -3)


def permuted(model: nn.Module, path: str) -> None:
    weight = model.get_submodule(path).weight
    weight.data.copy_(weight.data.flip(0))


def loaded_state(model: nn.Module, path: str) -> None:
    model.load_state_dict({name: x * -3 if name == f"{path}.weight" else x for name, x in model.state_dict().items()})


EDITS = [in_place, through_data, other_data, other_parameter, permuted, loaded_state]


WORDS = torch.tensor([[5, 6, 7]])


def texts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


def ways(model: HookedModel) -> list[Tensor]:
    """Return logits of the plain model, of the bridge and, behind a prompt, of all ways there are."""
    ids, mask = texts()
    decoder = {"decoder_input_ids": ids[:, :3]} if model.family.kind == "seq2seq" else {}
    real = mask.bool() if not decoder else torch.ones(3, 3, dtype=torch.bool)
    prompt = ps.SoftPrompt(3, seed=1).bind(model)
    prompt_ways = ("hooks", "prefix") if model.family.kind == "causal" else ("hooks",)
    plain = [model.logits(ids, mask, via=via, **decoder)[real] for via in ("auto", "hooks")]
    return plain + [model.logits(ids, mask, prompt, via=via, **decoder)[real] for via in prompt_ways]


@torch.no_grad()
def truth(model: PreTrainedModel, family: str) -> Tensor:
    ids, mask = texts()
    if family == "t5":
        return model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids[:, :3]).logits.flatten(0, 1)
    return model(input_ids=ids, attention_mask=mask).logits[mask.bool()]


# GPT-NeoX is the family whose bridge holds copies.
CELLS = [
    pytest.param(family, edit, marks=() if family == "gpt_neox" or edit is other_parameter else pytest.mark.slow)
    for family in FAMILIES
    for edit in EDITS
]


@pytest.mark.parametrize(("family", "edit"), CELLS)
def test_every_way_follows_an_edit(family: str, edit: Edit) -> None:
    model, expected = ps.load_model(tiny_hf_model(family)), tiny_hf_model(family)
    for path in (ATTENTION[family], FEED_FORWARD[family]):
        before, hash_before = ways(model), model.weights_hash
        edit(model.twin, path)
        edit(expected, path)
        after = ways(model)
        for i, one in enumerate(after):
            assert not torch.allclose(one, before[i], atol=1e-2)
            torch.testing.assert_close(one, truth(expected, family) if i < 2 else after[2], atol=2e-4, rtol=1e-3)
        assert model.weights_hash != hash_before
        assert not any(parameter.requires_grad for parameter in model.bridge.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_embeddings_are_followed(family: str) -> None:
    model, expected = ps.load_model(tiny_hf_model(family)), tiny_hf_model(family)
    for one in (model.twin, expected):
        embedding = one.get_input_embeddings()
        embedding.weight.data = embedding.weight.data.flip(0) * 1.5
    for one in ways(model)[:2]:
        torch.testing.assert_close(one, truth(expected, family), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_of_the_model_that_was_handed_in_is_followed_or_refused(family: str) -> None:
    own = tiny_hf_model(family)
    model, expected = ps.load_model(own), tiny_hf_model(family)
    for one in (own, expected):
        in_place(one, FEED_FORWARD[family])
    for one in ways(model)[:2]:
        torch.testing.assert_close(one, truth(expected, family), atol=2e-4, rtol=1e-3)
    other_parameter(own, FEED_FORWARD[family])
    with pytest.raises(ModelError, match="handed in.*" + FEED_FORWARD[family].rpartition(".")[2]):
        ways(model)


def test_a_copy_in_the_bridge_that_is_edited_is_refused_by_name() -> None:
    model = ps.load_model(tiny_hf_model("gpt_neox"))
    ids, mask = texts()
    model.bridge.blocks[1].attn.q.weight.data.mul_(2)
    with pytest.raises(ModelError, match=r"blocks\.1\.attention\.q\.weight.*model\.twin"):
        model.logits(ids, mask)
    model.bridge.blocks[1].attn.q.weight.data.div_(2)
    assert torch.isfinite(model.logits(ids, mask)).all()


def test_an_edit_reaches_hooks_that_were_attached_before() -> None:
    model = ps.load_model(tiny_hf_model("gpt_neox"))
    ids, mask = texts()
    seen: list[Tensor] = []
    with model.hooks([("blocks.1.attn.hook_q", lambda x, hook: seen.append(x.detach().clone()))]):
        model.logits(ids, mask)
        in_place(model.twin, ATTENTION["gpt_neox"])
        model.logits(ids, mask)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2)


@pytest.mark.parametrize(
    ("match", "edit"),
    [
        ("is float64, and was float32", lambda model: model.twin.double()),
        ("is bfloat16, and was float32", lambda model: model.twin.transformer.h[1].mlp.to(torch.bfloat16)),
        ("bias' of model.twin is not there", lambda model: setattr(model.twin.transformer.h[2].mlp.c_fc, "bias", None)),
    ],
)
def test_other_types_and_other_weights_are_refused_by_name(match: str, edit: Callable[[HookedModel], object]) -> None:
    model = ps.load_model(tiny_hf_model("gpt2"))
    edit(model)
    with pytest.raises(ModelError, match=match):
        model.logits(WORDS)


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_a_copied_model_has_weights_of_its_own(family: str) -> None:
    source = tiny_hf_model(family)
    model = ps.load_model(source)
    copied = copy.deepcopy(model)
    before = model.logits(WORDS)
    torch.testing.assert_close(copied.logits(WORDS), before, rtol=0, atol=0)
    through_data(copied.twin, ATTENTION[family])
    edited = copied.logits(WORDS)
    torch.testing.assert_close(copied.logits(WORDS, via="hooks"), edited)
    assert not torch.allclose(edited, before, atol=1e-2)
    torch.testing.assert_close(model.logits(WORDS), before, rtol=0, atol=0)
    through_data(source, ATTENTION[family])
    torch.testing.assert_close(copied.logits(WORDS), edited, rtol=0, atol=0)
    torch.testing.assert_close(model.logits(WORDS), edited)
