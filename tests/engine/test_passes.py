"""How records are divided into passes changes no gradient."""

from collections.abc import Callable

import pytest
import torch

import promptscope as ps
from promptscope.inference.batches import batches, encode_split
from promptscope.tasks import Batch
from promptscope.training.gradient import accumulate_gradient, accumulate_gradients
from promptscope.training.grid import fill_passes
from tests.engine.ways import EVERY, assert_exact
from tests.tiny_models import CAUSAL, FAMILIES
from tests.training.toy import toy_model, toy_task

NAMES = ("v1", "v2 untied", "v2 tied", "v2 in some layers")


def records(family: str, prompt: ps.Prompt, size: int, n: int = 8) -> list[Batch]:
    model = toy_model(family, torch.float64)
    return list(batches(model, encode_split(model, prompt, toy_task(), "train", limit=n), size))


def result(prompt: ps.Prompt, run: Callable[[], float]) -> torch.Tensor:
    """Return loss and gradient of *run* as one vector, and empty the gradient."""
    prompt.zero_grad()
    loss = run()
    gradient = torch.cat([number.grad.flatten() for number in prompt.parameters()])
    prompt.zero_grad()
    return torch.cat([torch.tensor([loss], dtype=torch.float64), gradient])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_accumulation_is_one_large_batch(family: str, name: str) -> None:
    model = toy_model(family, torch.float64)
    prompt = EVERY[name]().bind(model)
    (whole,) = records(family, prompt, 8)

    def plainly() -> float:
        with ps.execution(packed=False):
            return accumulate_gradient(model, prompt, [whole])

    expected = result(prompt, plainly)
    assert expected.abs().max() > 1e-3
    for size in (8, 2, 3):
        parts = records(family, prompt, size)
        got = result(prompt, lambda parts=parts: accumulate_gradient(model, prompt, parts))
        assert_exact(got, expected, family)


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("name", ["v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", [*CAUSAL, "bert", "t5"])
def test_prompts_together_have_the_gradients_that_they_have_alone(family: str, name: str, packed: bool | None) -> None:
    """Three runs of different batch sizes, in passes of at most 1, 7 and 64 records."""
    model = toy_model(family, torch.float64)
    prompts = [EVERY[name](seed).bind(model) for seed in range(3)]
    parts = [records(family, prompts[i], size, n) for i, (size, n) in enumerate([(2, 4), (3, 7), (5, 5)])]
    alone = [
        result(prompt, lambda prompt=prompt, mine=mine: accumulate_gradient(model, prompt, mine))
        for prompt, mine in zip(prompts, parts, strict=True)
    ]
    for rows_per_pass, n_passes in ((1, 6), (7, 3), (64, 1)):
        passes = fill_passes(parts, rows_per_pass)
        assert len(passes) == n_passes
        with ps.execution(packed=packed):
            losses = accumulate_gradients(model, prompts, passes)
        for prompt, loss, expected in zip(prompts, losses, alone, strict=True):
            got = result_of(prompt, loss)
            assert_exact(got, expected, family)


def result_of(prompt: ps.Prompt, loss: float) -> torch.Tensor:
    gradient = torch.cat([number.grad.flatten() for number in prompt.parameters()])
    prompt.zero_grad()
    return torch.cat([torch.tensor([loss], dtype=torch.float64), gradient])


def test_a_run_whose_numbers_are_infinite_spoils_no_other() -> None:
    model = toy_model("gpt2", torch.float64)
    prompts = [EVERY["v1"](seed).bind(model) for seed in range(2)]
    parts = [records("gpt2", prompt, 4) for prompt in prompts]
    expected = result(prompts[1], lambda: accumulate_gradient(model, prompts[1], parts[1]))
    with torch.no_grad():
        prompts[0].embedding.fill_(float("inf"))
    for rows_per_pass in (1, 64):
        losses = accumulate_gradients(model, prompts, fill_passes(parts, rows_per_pass))
        assert losses[0] != losses[0]
        assert_exact(result_of(prompts[1], losses[1]), expected, "gpt2")
        prompts[0].zero_grad()


def test_passes_are_filled_in_order_and_no_batch_is_divided() -> None:
    model = toy_model("gpt2")
    prompt = EVERY["v1"]().bind(model)
    examples = encode_split(model, prompt, toy_task(), "train")
    every = list(batches(model, examples, 3))  # 3, 3, 3, 1
    sizes = {
        rows: [[(number, len(batch)) for number, batch in one] for one in fill_passes([every, every[:1]], rows)]
        for rows in (1, 6, 7, 100)
    }
    assert sizes[1] == [[(0, 3)], [(0, 3)], [(0, 3)], [(0, 1)], [(1, 3)]]
    assert sizes[6] == [[(0, 3), (0, 3)], [(0, 3), (0, 1)], [(1, 3)]]
    assert sizes[7] == [[(0, 3), (0, 3)], [(0, 3), (0, 1), (1, 3)]]
    assert sizes[100] == [[(0, 3), (0, 3), (0, 3), (0, 1), (1, 3)]]
