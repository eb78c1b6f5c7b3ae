"""Why it is cheap, as counts: each variant's prompt once for all data, texts without padding, logits at targets."""

import pytest
import torch

import promptscope as ps
from promptscope.interventions import importance
from promptscope.models import HookedModel
from tests.engine.counting import Counts, counting
from tests.training.toy import toy_model, toy_task

N, BATCH, TARGETS = 7, 3, 2  # records in three batches; a label and an end token each


def count(family: str, prompt: ps.Prompt, how: str, **options: int) -> tuple[HookedModel, Counts]:
    model = toy_model(family)
    prompt.bind(model)
    ps.evaluate(model, prompt, toy_task(), limit=1, progress=False)  # what is measured once per model is over
    with counting(model) as counts:
        importance(model, prompt, toy_task(), how=how, limit=N, batch_size=BATCH, progress=False, **options)
    return model, counts


def text_rows(family: str) -> int:
    """Return how many rows the records need: on causal models not the common `<s>`, nor the end, which nobody reads."""
    model = toy_model(family)
    task = toy_task()
    lengths = [len(one.input_ids) for one in task.encode(model.tokenizer, model.family.kind, "test", limit=N)]
    return sum(lengths) - 2 * N if family != "bert" else sum(lengths)


@pytest.mark.parametrize("k", [8, 16])
@pytest.mark.parametrize("how", ["zero", "mean", "remove", "cut"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_causal_prompts_run_once_for_all_data(family: str, how: str, k: int) -> None:
    _, counts = count(family, ps.SoftPrompt(k), how, variants_per_pass=4)
    # Behind each variant's own rows stands the token with which all texts begin. Shorter variants are a second group.
    fronts = (k + 1) * (k + 1) if how in ("zero", "mean") else (k + 1) + k * k
    assert sum(counts.body) == fronts + (k + 1) * text_rows(family)
    assert sum(counts.logits) == (k + 1) * N * TARGETS
    naive = (k + 1) * (N * k + text_rows(family) + 2 * N)  # without counting its padding
    assert sum(counts.body) < naive / 2


def test_deep_prompts_add_no_rows_but_the_common_beginning() -> None:
    _, counts = count("gpt2", ps.DeepPrompt(8), "zero", variants_per_pass=3)
    assert sum(counts.body) == 9 + 9 * text_rows("gpt2")
    assert len(counts.body) == 1 + 3 * 3  # the common token, then three passes over each of three batches


@pytest.mark.parametrize(("how", "rows"), [("zero", 9 * 8), ("remove", 8 + 8 * 7), ("cut", 8 + 8 * 7)])
def test_masked_models_run_no_padding_and_no_cut_rows(how: str, rows: int) -> None:
    _, counts = count("bert", ps.SoftPrompt(8), how, variants_per_pass=9)
    assert sum(counts.through("attention")) == rows * N + 9 * text_rows("bert")
    assert len(counts.through("attention")) == (3 if how == "zero" else 6)


def test_passes_are_what_the_knob_says() -> None:
    for variants_per_pass, passes in ((1, 9), (4, 3), (9, 1)):
        _, counts = count("gpt2", ps.SoftPrompt(8), "zero", variants_per_pass=variants_per_pass)
        assert len(counts.body) == 1 + 3 * passes


def test_memory_holds_a_bounded_number_of_prompt_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptscope.interventions.measuring._ROWS_AT_ONCE", 24)  # three variants of eight
    _, counts = count("gpt2", ps.SoftPrompt(8), "zero", variants_per_pass=9)
    assert max(counts.body) <= max(24 + 3, 4 * text_rows("gpt2"))
    assert counts.body[0] == 27
    assert torch.tensor(counts.body).sum() > 81 + 9 * text_rows("gpt2")  # the whole prompt again with each three
