"""Loss and gradient of one step against bare Hugging Face models."""

import pytest
import torch
from transformers import DynamicCache

import promptscope as ps
from promptscope.inference.batches import batches, encode_split
from promptscope.training.gradient import accumulate_gradient
from tests.tiny_models import FAMILIES
from tests.training import references
from tests.training.toy import toy_model, toy_rows, toy_task, toy_truth

FP32, FP64 = {"rtol": 1e-4, "atol": 1e-6}, {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_those_of_the_models_own_loss(family: str, dtype: torch.dtype) -> None:
    model, truth = toy_model(family, dtype), toy_truth(family, dtype)
    prompt = ps.SoftPrompt(4, seed=1).bind(model)
    examples = encode_split(model, prompt, toy_task(), "train")
    loss = accumulate_gradient(model, prompt, list(batches(model, examples, 4)))

    vectors = prompt.embedding.detach().clone().requires_grad_()
    expected = references.loss(truth, family, toy_rows(), vectors)
    expected.backward()
    # Llama's norm rounds to float32 whatever the dtype.
    tolerance = FP64 if dtype == torch.float64 and family != "llama" else FP32
    torch.testing.assert_close(torch.tensor(loss, dtype=dtype), expected.detach(), **tolerance)
    torch.testing.assert_close(prompt.embedding.grad, vectors.grad, **tolerance)


def test_deep_prompt_on_gpt2_is_trained_through_keys_and_values() -> None:
    model, truth = toy_model("gpt2", torch.float64), toy_truth("gpt2", torch.float64)
    prompt = ps.DeepPrompt(4, seed=1).bind(model)
    rows = toy_rows(2)
    examples = encode_split(model, prompt, toy_task(), "train", limit=2)
    loss = accumulate_gradient(model, prompt, list(batches(model, examples, 2)))

    keys = prompt.keys().detach().clone().requires_grad_()
    values = prompt.values().detach().clone().requires_grad_()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        ids, labels = references.encode("gpt2", row["text"], references.WORD[row["label"]])
        cache = DynamicCache()
        for layer in range(3):  # (k, d) -> (1, head, k, d_head)
            heads = [x[layer].unflatten(-1, (4, -1)).transpose(0, 1)[None] for x in (keys, values)]
            cache.update(heads[0], heads[1], layer)
        n = sum(label != -100 for label in labels)
        mask = torch.ones(1, 4 + len(ids), dtype=torch.long)
        out = truth(torch.tensor([ids]), attention_mask=mask, past_key_values=cache, labels=torch.tensor([labels]))
        total, count = total + n * references.own_loss(out, labels, "gpt2"), count + n
    (total / count).backward()
    assert loss == pytest.approx((total / count).item(), rel=1e-9)
    torch.testing.assert_close(prompt.keys().grad, keys.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(prompt.values().grad, values.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_prompt_gets_a_gradient(family: str) -> None:
    model = toy_model(family)
    prompt = ps.DeepPrompt(4).bind(model)
    examples = encode_split(model, prompt, toy_task(), "train")
    accumulate_gradient(model, prompt, list(batches(model, examples, 16)))
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in prompt.parameters())
    for module in (model.twin, model.bridge):
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
