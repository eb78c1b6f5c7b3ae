"""A packed pass is the hooked bridge: logits and the prompt's gradient, whatever the prompt."""

import pytest
import torch

import promptscope as ps
from tests.engine.ways import (
    CASES,
    EVERY,
    K,
    assert_exact,
    assert_rounded,
    by_hooks,
    by_packing,
    gradient,
    logits_where,
    texts,
    wanted,
)
from tests.tiny_models import FAMILIES, hooked

WHICH = torch.tensor([1, 0, 1])


@pytest.mark.parametrize(("family", "name"), CASES)
def test_exact_in_float64(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    prompt, where = EVERY[name]().bind(model), wanted(batch)
    expected, got = by_hooks(model, batch, prompt, where), by_packing(model, batch, [prompt], where)
    assert_exact(got, expected, family)
    assert_exact(gradient(got, prompt), gradient(expected, prompt), family)
    assert (got - by_packing(model, batch, [], where)).abs().max() > 1e-3, "the prompt does something"


@pytest.mark.parametrize("prepacked", [False, True], ids=["as it is", "prepacked"])
@pytest.mark.parametrize(("family", "name"), CASES)
def test_rounded_in_float32(family: str, name: str, prepacked: bool) -> None:
    model, batch = hooked(family), texts(family)
    prompt, where = EVERY[name]().bind(model), wanted(batch)
    expected = by_hooks(model, batch, prompt, where)
    with ps.execution(prepacked=prepacked):
        got = by_packing(model, batch, [prompt], where)
        ours = gradient(got, prompt)
    assert_rounded(got, expected)
    assert_rounded(ours, gradient(expected, prompt))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_prompt(family: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    for where in (wanted(batch), torch.ones_like(wanted(batch)) if family == "t5" else batch.attention_mask.bool()):
        assert_exact(by_packing(model, batch, [], where), by_hooks(model, batch, None, where), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_runs_packed(family: str) -> None:
    """Rounding of half precision is no reason to fall back; a warning would be an error here."""
    model, batch = hooked(family, torch.bfloat16), texts(family)
    where = wanted(batch)
    got = logits_where(model, where, batch.input_ids, batch.attention_mask, [], None, batch.decoder_input_ids)
    expected = by_hooks(model, batch, None, where)
    assert (got - expected).float().norm() <= 0.05 * expected.float().norm()


PLAINLY = [(family, name, False) for family, name in CASES if name in ("v1", "v2 in some layers")]


@pytest.mark.parametrize(("family", "name", "packed"), [*((*case, None) for case in CASES), *PLAINLY])
def test_several_prompts_in_one_pass(family: str, name: str, packed: bool | None) -> None:
    """Text r stands behind prompt `which[r]`; a third prompt has no text, and gets no gradient."""
    model, batch = hooked(family, torch.float64), texts(family)
    prompts, where = [EVERY[name](seed).bind(model) for seed in range(3)], wanted(batch)
    with ps.execution(packed=packed):
        got = logits_where(model, where, batch.input_ids, batch.attention_mask, prompts, WHICH, batch.decoder_input_ids)
    every = [by_hooks(model, batch, prompt, where) for prompt in prompts]
    of_row = WHICH[where.nonzero()[:, 0]]
    expected = torch.where((of_row == 0)[:, None], every[0], every[1])
    assert_exact(got, expected, family)
    assert (every[0] - every[1]).abs().max() > 1e-3
    for prompt in prompts[:2]:
        ours = gradient_kept(got, prompt)
        assert_exact(ours, gradient_kept(expected, prompt), family)
    assert all(number.grad is None or not number.grad.any() for number in prompts[2].parameters())


def gradient_kept(logits: torch.Tensor, prompt: ps.Prompt) -> torch.Tensor:
    """Return the gradient of one of several prompts; the graph stays for the others."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    loss = (logits * weights).sum()
    return torch.cat([x.flatten() for x in torch.autograd.grad(loss, list(prompt.parameters()), retain_graph=True)])


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_one_position_and_a_text_of_one_token(family: str, packed: bool | None) -> None:
    model, prompt = hooked(family, torch.float64), ps.SoftPrompt(1, seed=3)
    ids, decoder = torch.tensor([[7]]), torch.tensor([[0]]) if family == "t5" else None
    where = torch.tensor([[True]])
    with ps.execution(packed=packed):
        got = logits_where(model, where, ids, torch.ones_like(ids), [prompt], None, decoder)
    assert_exact(got, model.logits(ids, None, prompt, via="hooks", decoder_input_ids=decoder)[where], family)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bert"])
def test_prompt_and_text_must_fit_the_context(family: str) -> None:
    model = hooked(family)
    for name in ("v1", "v2 untied"):
        ids = torch.ones(2, 64 - K + 1, dtype=torch.long)
        where = torch.zeros_like(ids, dtype=torch.bool)
        where[:, -1] = True
        with pytest.raises(ps.PromptError, match="64"), ps.execution(prepacked=False):
            logits_where(model, where, ids, torch.ones_like(ids), [EVERY[name]()])
        fits = logits_where(model, where[:, 1:], ids[:, 1:], torch.ones_like(ids[:, 1:]), [EVERY[name]()])
        assert fits.shape == (2, 200)
