"""Models that are handed in as objects: unwrapped, or refused for what would go on acting in the hooked model."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
)

import promptscope as ps
from promptscope.errors import ModelError
from tests.tiny_models import FAMILIES, bare, hooked, tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer

# Of PyTorch itself, when it compiles.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
IDS = torch.tensor([[5, 9, 3, 8]])
LAYER, LINEAR = "model.layers.1", "model.layers.1.mlp.up_proj"


def logits(model: ps.HookedModel) -> Tensor:
    return model.logits(IDS)


def expected(family: str = "llama") -> Tensor:
    return hooked(family).logits(IDS)


def steer(module: nn.Module, inputs: Any, output: Any) -> Any:
    return output


def double(module: nn.Module, inputs: Any) -> Any:
    return inputs


class Adapter(nn.Module):
    """What people write when they add LoRA by hand."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.a = base, nn.Linear(base.in_features, base.out_features)
        self.weight = base.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.a(x)


def forward_hook(model: Any) -> None:
    model.get_submodule(LAYER).register_forward_hook(steer)


def forward_pre_hook(model: Any) -> None:
    model.get_submodule(LAYER).register_forward_pre_hook(double)


def hook_on_the_whole(model: Any) -> None:
    model.register_forward_hook(steer)


def hook_without_a_name(model: Any) -> None:
    model.get_submodule(LINEAR).register_forward_hook(lambda module, inputs, output: output * 2)


def full_backward_hook(model: Any) -> None:
    model.get_submodule(LAYER).register_full_backward_hook(lambda module, before, after: None)


def noise(model: Any) -> None:
    from transformers.integrations.neftune import neftune_post_forward_hook

    model.get_input_embeddings().register_forward_hook(neftune_post_forward_hook)


def hook_in_the_name_of_transformers(model: Any) -> None:
    @functools.wraps(PreTrainedModel.get_input_embeddings)
    def halve(module: Any, inputs: Any, output: Any) -> Any:
        return output / 2

    model.get_submodule(LINEAR).register_forward_hook(halve)


def pruning(model: Any) -> None:
    prune.random_unstructured(model.get_submodule(LINEAR), "weight", amount=0.5)


def replaced_forward(model: Any) -> None:
    layer = model.get_submodule(LINEAR)
    layer.forward = MethodType(lambda self, x: nn.functional.linear(x, self.weight) * 2, layer)


def accelerate_hook(model: Any) -> None:
    model.get_submodule(LINEAR)._hf_hook = SimpleNamespace()


def adapter_by_hand(model: Any) -> None:
    model.get_submodule(LAYER).mlp.up_proj = Adapter(model.get_submodule(LINEAR))


def module_more(model: Any) -> None:
    model.get_submodule(LAYER).steering = nn.Linear(2, 2)


def compiled_layer(model: Any) -> None:
    model.model.layers[1] = torch.compile(model.model.layers[1])


def weight_norm(model: Any) -> None:
    nn.utils.parametrizations.weight_norm(model.get_submodule(LINEAR))


def not_a_number(model: Any) -> None:
    model.get_submodule(LINEAR).weight.data[1, 2] = float("nan")


def two_types(model: Any) -> None:
    model.model.norm.double()


def offloaded_weight(model: Any) -> None:
    layer = model.get_submodule(LINEAR)
    layer.weight = nn.Parameter(layer.weight.to("meta"), requires_grad=False)


REFUSED: dict[Callable[[Any], None], str] = {
    forward_hook: rf"{LAYER}.*forward_hook.*steer.*handle\.remove\(\)",
    forward_pre_hook: rf"{LAYER}.*forward_pre_hook.*double",
    hook_on_the_whole: "the model.*forward_hook",
    hook_without_a_name: f"{LINEAR}.*forward_hook",
    full_backward_hook: f"{LAYER}.*backward_hook",
    noise: "embed_tokens.*forward_hook.*neftune",
    hook_in_the_name_of_transformers: f"{LINEAR}.*forward_hook",
    pruning: LINEAR,
    replaced_forward: f"forward method of.*{LINEAR}.*was replaced",
    accelerate_hook: f"{LINEAR}.*remove_hook_from_module",
    adapter_by_hand: f"{LINEAR}.*is a Adapter.*Linear",
    module_more: f"{LAYER}.steering.*is a Linear.*no module of this name",
    compiled_layer: rf"{LAYER}.*compile.*_orig_mod",
    weight_norm: rf"{LINEAR}.*remove_parametrizations",
    not_a_number: f"1 weights.*NaN.*{LINEAR}",
    two_types: r"several dtypes.*float32.*float64.*dtype=",
    offloaded_weight: f"1 weights.*meta.*{LINEAR}",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_refused_with_the_place_and_the_way_out(change: Callable[[Any], None]) -> None:
    model = tiny_hf_model("llama")
    change(model)
    with pytest.raises(ModelError, match=REFUSED[change]):
        ps.load_model(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hook_of_any_kind_on_any_family(family: str) -> None:
    model = tiny_hf_model(family)
    name, module = [*model.named_modules()][7]
    for kind in ("register_forward_hook", "register_forward_pre_hook"):
        handle = getattr(module, kind)(lambda *args: None)
        with pytest.raises(ModelError, match=name):
            ps.load_model(model)
        handle.remove()
    torch.testing.assert_close(logits(ps.load_model(model)), expected(family))


def compiled(model: PreTrainedModel) -> Any:
    return torch.compile(model)


def compiled_in_place(model: PreTrainedModel) -> Any:
    model.compile()
    return model


def data_parallel(model: PreTrainedModel) -> Any:
    return nn.DataParallel(model)


def asked_for_hidden_states(model: PreTrainedModel) -> Any:
    model(IDS, output_hidden_states=True)  # transformers leaves hooks of its own, which only look
    return model


def in_training(model: PreTrainedModel) -> Any:
    return model.train()


def checkpointing(model: PreTrainedModel) -> Any:
    model.enable_input_require_grads()
    return model


def tuples(model: PreTrainedModel) -> Any:
    model.config.return_dict = False
    return model


@pytest.mark.parametrize(
    "wrap",
    [compiled, compiled_in_place, data_parallel, asked_for_hidden_states, in_training, checkpointing, tuples],
    ids=lambda wrap: wrap.__name__,
)
def test_taken_as_the_model_it_is(wrap: Callable[[PreTrainedModel], Any]) -> None:
    model = ps.load_model(wrap(tiny_hf_model("llama")))
    for via in ("auto", "hooks"):
        torch.testing.assert_close(model.logits(IDS, via=via), bare("llama")(IDS).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_tuples_in_every_family(family: str) -> None:
    own = tuples(tiny_hf_model(family))
    torch.testing.assert_close(logits(ps.load_model(own)), expected(family))
    assert own.config.return_dict is False


def test_looking_at_the_twin_does_not_stop_the_model() -> None:
    model = ps.load_model(tiny_hf_model("llama"))
    model.twin(IDS, output_hidden_states=True)
    torch.testing.assert_close(logits(model), expected())


def test_what_is_no_model() -> None:
    model = hooked("llama")
    for wrong, said in [
        (model.bridge, "TransformerBridge.*was made"),
        (nn.Linear(2, 2), "transformers model, not.*Linear"),
        (copy.deepcopy(model.bridge.original_model), "another TransformerBridge"),
    ]:
        with pytest.raises(ModelError, match=said):
            ps.load_model(wrong)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of PEFT's
def test_peft_models() -> None:
    peft = pytest.importorskip("peft")
    lora = peft.get_peft_model(tiny_hf_model("llama"), peft.LoraConfig(target_modules=["up_proj"]))
    with pytest.raises(ModelError, match=r"PeftModel.*merge_and_unload\(\)"):
        ps.load_model(lora)
    with pytest.raises(ModelError, match=r"PEFT adapter.*merge_and_unload\(\)"):
        ps.load_model(lora.get_base_model())
    torch.testing.assert_close(logits(ps.load_model(lora.merge_and_unload())), expected(), atol=1e-5, rtol=1e-4)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(ModelError, match=r"load_prompt"):
        ps.load_model(peft.get_peft_model(tiny_hf_model("llama"), config))


def test_weights_that_are_not_here() -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(tiny_hf_model("llama").config)
    with pytest.raises(ModelError, match=r"have no values.*meta"):
        ps.load_model(model)
    with torch.inference_mode():
        made_inside = tiny_hf_model("llama")
    with pytest.raises(ModelError, match="inference_mode"):
        ps.load_model(made_inside)


def test_options_that_the_bridge_does_not_know() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with pytest.raises(ModelError, match="attention_bias"):
        ps.load_model(GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, vocab_size=99, attention_bias=False)))
    with pytest.raises(ModelError, match="add_cross_attention"):
        ps.load_model(
            GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=99, add_cross_attention=True))
        )
    with pytest.raises(ModelError, match="is_decoder"):
        ps.load_model(BertForMaskedLM(BertConfig(**sizes, vocab_size=99, is_decoder=True)))


def test_a_tokenizer_by_its_folder(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    for name in (tmp_path, str(tmp_path)):
        assert (
            ps.load_model(tiny_hf_model("gpt2"), tokenizer=name).tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
        )
    assert ps.load_model(tiny_hf_model("gpt2"), tokenizer="embedded-causal").has_tokenizer
    with pytest.raises(ModelError, match="no tokenizer at 'nowhere'"):
        ps.load_model(tiny_hf_model("gpt2"), tokenizer="nowhere")


def test_a_hook_on_all_modules_is_a_hook_on_this_model() -> None:
    model, clean = hooked("gpt2"), expected("gpt2")

    def halve(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output / 2 if isinstance(module, nn.LayerNorm) else None

    handle = nn.modules.module.register_module_forward_hook(halve)
    try:
        assert [hook.point for hook in model.active_hooks()] == ["every module"]
        assert "hooks" in model.identity
        assert not torch.allclose(logits(model), clean, atol=1e-2)
    finally:
        handle.remove()
    torch.testing.assert_close(logits(model), clean)


@pytest.mark.parametrize(
    "name", ["transformers.utils", "transformer_lens.model_bridge.bridge", "torch.nn.modules.module"]
)
def test_whose_hook_it_is_is_told_by_its_code_and_not_by_its_name(name: str) -> None:
    model = hooked("gpt2")

    def halve(module: Any, inputs: Any, output: Any) -> Any:
        return output / 2

    halve.__module__ = name
    handles = [
        model.bridge.hook_dict["blocks.0.hook_resid_post"].register_forward_hook(halve),
        nn.modules.module.register_module_forward_hook(halve),
    ]
    try:
        assert [hook.point.split(".")[-1] for hook in model.active_hooks()] == ["hook_out", "every module"]
    finally:
        for handle in handles:
            handle.remove()


def test_loading_leaves_the_callers_random_numbers_and_types_alone() -> None:
    for source in ("embedded-causal", tiny_hf_model("t5")):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        torch.set_default_dtype(torch.float64)
        try:
            assert ps.load_model(source).dtype == torch.float32
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(torch.get_rng_state(), before)
