"""What is measured when a model is loaded holds for other numbers too: large prompts, edited weights."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import promptscope as ps
from promptscope.engine import Texts
from promptscope.engine.packed import packed_logits
from promptscope.models.measuring import model_head
from tests.models.zoo import architecture_of, config_of, make

IDS = torch.tensor([[5, 9, 13, 8], [7, 6, 14, 12]])


def fresh(name: str, **options: Any) -> Any:
    """Build a model as its class initialises it: norms of ones, biases of zeros, small logits."""
    config = config_of(name)
    for option, value in options.items():
        setattr(config, option, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, architecture_of(name))(config).eval()


@torch.no_grad()
def edit_all_weights(model: ps.HookedModel) -> None:
    generator = torch.Generator().manual_seed(1)
    for weight in model.twin.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) * (0.5 if weight.ndim > 1 else 1))


def check_all_ways(model: ps.HookedModel, prompt: ps.Prompt, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for numbers in prompt.bind(model).parameters():
            numbers.copy_(torch.randn(numbers.shape, generator=generator) * size)
    expected = model.logits(IDS, None, prompt, via="hooks")
    mask = torch.ones_like(IDS)
    packed = packed_logits(model, Texts(IDS, mask, mask.bool()), [prompt.place(model)])
    for got in (model.logits(IDS, None, prompt), packed.view_as(expected)):
        assert_close(got, expected)


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", ["olmo", "olmoe"])
@pytest.mark.parametrize("clip", [8.0, 30.0])
def test_keys_and_values_larger_than_the_model_lets_through(name: str, clip: float) -> None:
    config = config_of(name)
    config.clip_qkv = clip
    source = getattr(transformers, architecture_of(name))(config)
    source.load_state_dict(make(name).state_dict())
    model = ps.load_model(source.eval())
    for size in (1, 10, 100):
        check_all_ways(model, ps.DeepPrompt(3), size)


def test_norms_that_were_all_one_when_the_model_was_loaded() -> None:
    """Turning keys and norming them is the same in either order until the norm weighs dimensions differently."""
    model = ps.load_model(fresh("hunyuan"))
    check_all_ways(model, ps.DeepPrompt(3), 1)
    edit_all_weights(model)
    check_all_ways(model, ps.DeepPrompt(3), 1)


@pytest.mark.parametrize(("name", "options"), [("gemma2", {"final_logit_softcapping": 30.0}), ("nanochat", {})])
def test_a_soft_cap_that_small_logits_do_not_reach(name: str, options: dict[str, Any]) -> None:
    model = ps.load_model(fresh(name, **options))
    assert model.facts.head == "model"
    edit_all_weights(model)
    with torch.no_grad():
        assert_close(model.logits(IDS), model.twin(input_ids=IDS).logits)


@pytest.mark.parametrize("name", ["opt_proj", "gemma2", "modernbert"])
def test_the_head_runs_alone_wherever_the_model_calls_its_body(name: str) -> None:
    model = ps.load_model(make(name))
    hidden = model.twin.base_model(input_ids=IDS).last_hidden_state
    expected = model.twin(input_ids=IDS).logits
    assert_close(model_head(model.twin)(hidden), expected)
    assert_close(model.unembed(hidden), expected)


def test_embeddings_of_targets_are_those_that_the_decoder_makes_of_ids() -> None:
    """MVP multiplies the embeddings of ids, and takes `decoder_inputs_embeds` as they are."""
    model = ps.load_model(fresh("mvp", scale_embedding=True))
    assert model.facts.target_scale != 1
    with torch.no_grad():
        embeds = model.inputs(model.embed(IDS))
        got = model.twin(inputs_embeds=embeds, decoder_inputs_embeds=model.embed_targets(IDS)).logits
        assert_close(got, model.twin(input_ids=IDS, decoder_input_ids=IDS).logits)


def test_weights_that_were_edited_under_hooks_are_measured_once_the_hooks_are_gone() -> None:
    model = ps.load_model(fresh("hunyuan"))
    edit_all_weights(model)
    with model.hooks([("embed.hook_out", lambda x, hook: x)]):
        model.logits(IDS)
    check_all_ways(model, ps.DeepPrompt(3), 1)
