"""Products in bfloat16: what is rounded, what is not, and that a run says so."""

import pytest
import torch
from torch.nn.functional import linear

import promptscope as ps
from promptscope.engine import can_prepack, execution
from promptscope.engine.linears import PackedWeight
from promptscope.inference.batches import batches, encode_split
from promptscope.training.gradient import accumulate_gradient
from tests.tiny_models import FAMILIES
from tests.training.toy import toy_model, toy_task

pytestmark = pytest.mark.skipif(
    not (can_prepack(torch.nn.Linear(1, 1)) and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this processor or PyTorch has no bfloat16 products",
)


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().double()


@pytest.mark.parametrize("bias", [False, True])
def test_one_product(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x, dy = (torch.randn(shape, generator=generator) for shape in ((24, 16), (5, 16), (5, 24)))
    b = torch.randn(24, generator=generator) if bias else None
    x.requires_grad_()
    y = PackedWeight(weight, torch.bfloat16)(x, b)
    y.backward(dy)
    want = rounded(linear(rounded(x), rounded(weight))) + (0 if b is None else b.double())
    assert y.dtype == torch.float32 and x.grad is not None and x.grad.dtype == torch.float32
    torch.testing.assert_close(y.detach().double(), want.detach(), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(x.grad.double(), rounded(rounded(dy) @ rounded(weight)), rtol=1e-2, atol=1e-3)
    assert (y.detach() - linear(x, weight, b)).abs().max() > 1e-4  # it was rounded


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_near_float32(family: str) -> None:
    model, task = toy_model(family), toy_task()
    found = {}
    for matmul in ("float32", "bf16"):
        prompt = ps.SoftPrompt(4, seed=1).bind(model)
        parts = list(batches(model, encode_split(model, prompt, task, "train")[:8], 8))
        with execution(matmul=matmul):
            loss = accumulate_gradient(model, prompt, parts)
        assert prompt.embedding.grad is not None and prompt.embedding.grad.dtype == torch.float32
        found[matmul] = loss, prompt.embedding.grad
    assert found["bf16"][0] == pytest.approx(found["float32"][0], rel=2e-2)
    difference = (found["bf16"][1] - found["float32"][1]).norm() / found["float32"][1].norm()
    assert 1e-5 < difference < 0.1


def test_a_run_says_so(tmp_path) -> None:
    model, task, config = toy_model("llama"), toy_task(), ps.TrainConfig(steps=2, batch_size=4)
    with execution(matmul="bf16"):
        run = ps.train(model, ps.SoftPrompt(3), task, config, out=tmp_path / "run", progress=False)
        again = ps.train(model, ps.SoftPrompt(3), task, config, out=tmp_path / "run", progress=False)
    assert again.history.equals(run.history)
    assert '"matmul": "bf16"' in (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(ps.RunError, match=r"execution\.matmul"):
        ps.train(model, ps.SoftPrompt(3), task, config, out=tmp_path / "run", progress=False)


def test_probes_stay_in_float32() -> None:
    model, task = toy_model("llama"), toy_task()
    exact = ps.probe(model, ps.SoftPrompt(3), task, "attention_kl", progress=False)["attention_kl"].values
    with execution(matmul="bf16"):
        same = ps.probe(model, ps.SoftPrompt(3), task, "attention_kl", progress=False)["attention_kl"].values
    assert (exact == same).all()


def test_edits_are_noticed() -> None:
    model, task = toy_model("llama"), toy_task()
    model = ps.load_model(model.twin, tokenizer=model.tokenizer)
    with execution(matmul="bf16"):
        before = ps.score_labels(model, ps.SoftPrompt(3), task, progress=False)
        kept = model.twin.model.layers[0].mlp.up_proj.weight.clone()
        model.twin.model.layers[0].mlp.up_proj.weight.data.mul_(-5)
        after = ps.score_labels(model, ps.SoftPrompt(3), task, progress=False)
        model.twin.model.layers[0].mlp.up_proj.weight.data.copy_(kept)
        back = ps.score_labels(model, ps.SoftPrompt(3), task, progress=False)
    assert (before - after).abs().max() > 1e-3
    torch.testing.assert_close(back, before)


def test_where_it_does_not_exist() -> None:
    with pytest.raises(ps.ModelError, match="'float32', 'bf16' or None"), execution(matmul="int8"):
        pass
    model, task = ps.load_model("embedded-causal", dtype="float64"), ps.load_task("continent_en")
    with execution(matmul="bf16"), pytest.raises(ps.ModelError, match="load the model in bfloat16"):
        ps.evaluate(model, None, task, limit=2, progress=False)
