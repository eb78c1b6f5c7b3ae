"""Greedy generation: rows of a batch as alone, and as a plain argmax loop over the model's logits."""

from functools import cache

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

import promptscope as ps
from promptscope.prompts import Prompt
from tests.batches import ragged
from tests.tiny_models import CAUSAL, bare, hooked, tiny_hf_model

PROMPTS = {
    "none": lambda: None,
    "soft": lambda: ps.SoftPrompt(4, seed=3),
    "deep": lambda: ps.DeepPrompt(4, seed=3),
    "deep-in-some-layers": lambda: ps.DeepPrompt(4, layers=[0, 2], seed=3),
}
NEW = 8


@cache
def lively(family: str) -> ps.HookedModel:
    """Load a tiny model whose greedy text does not repeat one token: large weights, a final norm without a bias."""
    hf_model = tiny_hf_model(family)
    with torch.no_grad():
        for name, parameter in hf_model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(10 if "wpe" in name else 2)
            elif name.endswith("weight"):
                parameter.fill_(1)
            elif name.endswith(("ln_f.bias", "final_layer_norm.bias")):
                parameter.zero_()
    return ps.load_model(hf_model)


def naive(model: ps.HookedModel, row: Tensor, prompt: Prompt | None) -> list[int]:
    """Take the argmax of the logits of the whole text so far, again and again, without a cache."""
    new: list[int] = []
    for _ in range(NEW):
        if model.family.kind == "causal":
            ids = torch.cat([row, torch.tensor(new, dtype=torch.long)])[None]
            logits = model.logits(ids, prompt=prompt)
        else:
            logits = model.logits(row[None], prompt=prompt, decoder_input_ids=torch.tensor([[0, *new]]))
        new.append(int(logits[0, -1].argmax()))
    return new


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_padded_rows_get_the_tokens_that_they_get_alone(family: str, kind: str) -> None:
    model, prompt = lively(family), PROMPTS[kind]()
    rows = ragged(family).rows
    expected = [naive(model, row, prompt) for row in rows]
    assert len({tuple(row) for row in expected}) == 3  # the models do say something
    assert sum(len(set(row)) for row in expected) > 4
    for row, tokens in zip(rows, expected, strict=True):
        assert ps.generate(model, prompt, row[None], max_new_tokens=NEW) == [tokens]
    for side in ("left", "right"):
        batch = ragged(family, side)
        assert ps.generate(model, prompt, batch.input_ids, batch.attention_mask, max_new_tokens=NEW) == expected, side


@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_without_a_prompt_it_is_hugging_faces_greedy_search(family: str) -> None:
    for row in ragged(family).rows:
        settings = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0)
        theirs = bare(family)
        theirs.generation_config.eos_token_id = None  # else Hugging Face takes the model's
        settings.decoder_start_token_id = 0
        out = theirs.generate(
            input_ids=row[None], attention_mask=torch.ones_like(row[None]), generation_config=settings
        )
        new = out[0, len(row) if family != "t5" else 1 :].tolist()
        assert ps.generate(hooked(family), None, row[None], max_new_tokens=NEW) == [new]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_each_row_ends_at_its_own_stop_token(family: str) -> None:
    model, prompt, batch = lively(family), ps.DeepPrompt(4, seed=3), ragged(family)
    free = ps.generate(model, prompt, batch.input_ids, batch.attention_mask, max_new_tokens=NEW)
    stop = [free[0][2], free[1][-1]]
    expected = [row[: min((row.index(s) for s in stop if s in row), default=NEW)] for row in free]
    assert (
        ps.generate(model, prompt, batch.input_ids, batch.attention_mask, max_new_tokens=NEW, stop_ids=stop) == expected
    )
    assert len({len(row) for row in expected}) > 1


def test_settings_beside_the_weights_do_not_come_in() -> None:
    """A model's generation_config.json may hold a repetition penalty or an end token; neither is asked for here."""
    model, row = hooked("llama"), ragged("llama").rows[0][None]
    before = ps.generate(model, None, row, max_new_tokens=NEW)
    saved = model.twin.generation_config
    try:
        model.twin.generation_config = GenerationConfig(eos_token_id=before[0][1], repetition_penalty=50.0)
        assert ps.generate(model, None, row, max_new_tokens=NEW) == before
    finally:
        model.twin.generation_config = saved


def test_what_cannot_be_generated() -> None:
    with pytest.raises(ps.TaskError, match="masked language model"):
        ps.generate(hooked("bert"), None, torch.tensor([[1, 2]]))
    with pytest.raises(ps.PromptError, match="64"):
        ps.generate(hooked("gpt2"), ps.SoftPrompt(50), torch.tensor([[1, 2]]), max_new_tokens=13)
    with pytest.raises(ps.TaskError, match="at least one"):
        ps.generate(hooked("gpt2"), None, torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 1], [0, 0]]))
