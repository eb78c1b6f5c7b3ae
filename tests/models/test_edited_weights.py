"""A weight that is edited after loading is edited for every way of running the model, or refused by name."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import promptscope as ps
from promptscope.engine import execution
from promptscope.models import HookedModel
from tests.tiny_models import CAUSAL, FAMILIES, tiny_hf_model

VOCAB = 60


def first_weight(model: nn.Module) -> tuple[nn.Module, str]:
    """The first attention projection, fused where the family fuses it."""
    names = ("c_attn", "query_key_value", "q_proj", "query", "q")
    return next((m, "weight") for name, m in nn.Module.named_modules(model) if name.rsplit(".", 1)[-1] in names)


def in_place(module: nn.Module, name: str) -> None:
    with torch.no_grad():
        getattr(module, name).mul_(-3)


def through_data(module: nn.Module, name: str) -> None:
    getattr(module, name).data.mul_(-3)


def other_data(module: nn.Module, name: str) -> None:
    weight = getattr(module, name)
    weight.data = weight.data * -3


def replaced(module: nn.Module, name: str) -> None:
    setattr(module, name, nn.Parameter(getattr(module, name).detach() * -3))


def permuted(module: nn.Module, name: str) -> None:
    getattr(module, name).data.copy_(getattr(module, name).data.flip(0))


def some_signs(module: nn.Module, name: str) -> None:
    getattr(module, name).data[:2].neg_()


EDITS: list[Callable[[nn.Module, str], None]] = [in_place, through_data, other_data, replaced, permuted, some_signs]


def every_way(model: HookedModel, prompt: ps.Prompt) -> dict[str, torch.Tensor]:
    ids = torch.arange(5, 23).reshape(2, 9)
    found = {"hooks": model.logits(ids, prompt=prompt, via="hooks"), "auto": model.logits(ids, prompt=prompt)}
    if model.family.kind == "causal":
        found["prefix"] = model.logits(ids, prompt=prompt, via="prefix")
    with execution(packed=False):
        found["unpacked"] = model.logits(ids, prompt=prompt)
    return {name: logits.detach() for name, logits in found.items()}


@pytest.mark.parametrize("where", ["twin", "caller"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_follows(family: str, edit: Callable[[nn.Module, str], None], where: str) -> None:
    mine = tiny_hf_model(family, vocab=VOCAB, layers=2)
    model = ps.load_model(mine)
    prompt = ps.SoftPrompt(3).bind(model)
    before, hash_before = every_way(model, prompt)["auto"], model.weights_hash
    edit(*first_weight(model.twin if where == "twin" else mine))
    found = every_way(model, prompt)

    other = tiny_hf_model(family, vocab=VOCAB, layers=2)
    edit(*first_weight(other))
    expected = ps.load_model(other).logits(torch.arange(5, 23).reshape(2, 9), prompt=prompt, via="hooks")
    for way, logits in found.items():
        torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=2e-5, msg=way)
    assert (found["auto"] - before).abs().max() > 5e-4
    assert model.weights_hash != hash_before


def test_an_edit_of_the_bridge_s_own_copy_is_refused() -> None:
    model = ps.load_model(tiny_hf_model("gpt_neox", vocab=VOCAB, layers=2))  # the family whose weights are copied
    shared = {tensor.untyped_storage().data_ptr() for tensor in model.twin.parameters()}
    copies = [p for _, m in nn.Module.named_modules(model.bridge) for p in m._parameters.values() if p is not None]
    own = next(p for p in copies if p.untyped_storage().data_ptr() not in shared)
    own.data.mul_(2)
    with pytest.raises(ps.ModelError, match=r"of model\.bridge was edited.*Edit the weight on model\.twin"):
        model.logits(torch.arange(5, 14)[None], via="hooks")


@pytest.mark.parametrize("family", CAUSAL)
def test_a_finished_run_is_not_another_model_s(family: str, tmp_path) -> None:
    from tests.tiny_tokenizer import tiny_tokenizer
    from tests.training.toy import VOCAB as TOY
    from tests.training.toy import toy_task

    model = ps.load_model(tiny_hf_model(family, vocab=TOY, layers=2), tokenizer=tiny_tokenizer())
    config = ps.TrainConfig(steps=2, batch_size=4)
    start = ps.SoftPrompt(3)
    run = ps.train(model, start, toy_task(), config, out=tmp_path / "run", progress=False)
    again = ps.train(model, start, toy_task(), config, out=tmp_path / "run", progress=False)
    assert again.history.equals(run.history)
    for name, weight in model.twin.named_parameters():
        if "mlp" in name or "dense" in name:
            weight.data.mul_(3)
    with pytest.raises(ps.RunError, match="weights_hash"):
        ps.train(model, start, toy_task(), config, out=tmp_path / "run", progress=False)
