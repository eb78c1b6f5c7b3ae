"""Texts that are read once and go on have the logits of the whole text, written out alone in front of the bridge."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.engine import continue_, share
from promptscope.engine.plain import DecodedAgain, ReadAgain
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from tests.engine.ways import CASES, EVERY, assert_exact, texts
from tests.inference.test_generate import lively
from tests.tiny_models import CAUSAL, hooked
from tests.training.toy import toy_model, toy_task

WRITERS = [(family, name) for family, name in CASES if family != "bert"]
WRITERS += [(family, "none") for family in (*CAUSAL, "t5")]
FIRST, SECOND, OTHER = (
    torch.tensor(rows) for rows in ([[5, 6]] * 3, [[7], [8], [9]], [[3, 1, 4], [1, 5, 9], [2, 6, 5]])
)


def alone(model: HookedModel, row: Tensor, new: Sequence[int], prompt: Prompt | None) -> Tensor:
    """Return the logits behind *row* and behind each of the *new* tokens, from the hooked bridge."""
    if model.family.kind == "seq2seq":
        target = torch.tensor([[0, *new]])
        return model.logits(row[None], prompt=prompt, via="hooks", decoder_input_ids=target)[0]
    ids = torch.cat([row, torch.tensor(list(new), dtype=torch.long)])[None]
    return model.logits(ids, prompt=prompt, via="hooks")[0, len(row) - 1 :]


@pytest.mark.parametrize(("family", "name"), WRITERS)
def test_reading_on_and_going_back(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    prompt = EVERY[name]().bind(model) if name != "none" else None
    with torch.no_grad():
        going = continue_(model, batch.input_ids, batch.attention_mask, [] if prompt is None else [prompt], 3)
        first, second = going.read(FIRST), going.read(SECOND)
        going.rewind()
        other = going.read(OTHER)
        going.rewind()
        again = going.read(FIRST)
        for i, row in enumerate(batch.rows):
            expected = alone(model, row, [*FIRST[i].tolist(), *SECOND[i].tolist()], prompt)
            assert_exact(torch.cat([going.last[i : i + 1], first[i], second[i]]), expected, family)
            assert_exact(other[i], alone(model, row, OTHER[i].tolist(), prompt)[1:], family)
        assert torch.equal(again, first)


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("name", ["v1", "v2 untied"])
def test_reading_on_after_a_prompt_with_a_cut_token(name: str, packed: bool | None) -> None:
    """Positions go on from the whole prompt's length, though a cache holds fewer keys."""
    model, batch = hooked("gpt2", torch.float64), texts("gpt2")
    prompt = ps.interventions.cut(EVERY[name]().bind(model), [1])
    with torch.no_grad(), ps.execution(packed=packed):
        going = continue_(model, batch.input_ids, batch.attention_mask, [prompt], 3)
        first, second = going.read(FIRST), going.read(SECOND)
        for i, row in enumerate(batch.rows):
            expected = alone(model, row, [*FIRST[i].tolist(), *SECOND[i].tolist()], prompt)
            assert_exact(torch.cat([going.last[i : i + 1], first[i], second[i]]), expected, "gpt2")


@pytest.mark.parametrize("name", ["none", "v1", "v2 untied"])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_reading_on_and_going_back_under_hooks(family: str, name: str) -> None:
    """Every step then reads the whole text anew."""
    model, batch = hooked(family, torch.float64), texts(family)
    prompt = EVERY[name]().bind(model) if name != "none" else None
    with torch.no_grad(), model.hooks([(model.family.embedding, lambda x, hook: x * 1)]):
        going = continue_(model, batch.input_ids, batch.attention_mask, [] if prompt is None else [prompt], 3)
        assert isinstance(going, ReadAgain if family == "gpt2" else DecodedAgain)
        first, second = going.read(FIRST), going.read(SECOND)
        going.rewind()
        again = going.read(FIRST)
        for i, row in enumerate(batch.rows):
            expected = alone(model, row, [*FIRST[i].tolist(), *SECOND[i].tolist()], prompt)
            assert_exact(torch.cat([going.last[i : i + 1], first[i], second[i]]), expected, family)
        assert torch.equal(again, first)


@pytest.mark.parametrize("name", ["v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", CAUSAL)
def test_reading_on_behind_what_is_shared(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    prompt = EVERY[name]().bind(model)
    ids = batch.input_ids.clone()
    ids[:, :2] = torch.tensor([11, 12])
    with torch.no_grad():
        shared = share(model, [prompt], [row[:2].tolist() for row in ids])
        assert shared.n_template == (2 if name != "v2 in some layers" else 0)
        going = continue_(model, ids, batch.attention_mask, [prompt], 2, shared)
        got = going.read(FIRST)
        for i, length in enumerate(batch.attention_mask.sum(1).tolist()):
            expected = alone(model, ids[i, :length], FIRST[i].tolist(), prompt)
            assert_exact(torch.cat([going.last[i : i + 1], got[i]]), expected, family)


@pytest.mark.parametrize("name", ["none", "v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_generation_writes_what_the_plain_way_writes(family: str, name: str) -> None:
    """And what each row gets alone; tests/training/test_generate.py compares with a loop over whole texts."""
    model, batch, prompt = lively(family), texts(family), EVERY[name](3) if name != "none" else None
    packed = ps.generate(model, prompt, batch.input_ids, batch.attention_mask, max_new_tokens=6)
    with ps.execution(packed=False):
        assert ps.generate(model, prompt, batch.input_ids, batch.attention_mask, max_new_tokens=6) == packed
    assert [ps.generate(model, prompt, row[None], None, max_new_tokens=6)[0] for row in batch.rows] == packed
    assert len({tuple(row) for row in packed}) > 1


@pytest.mark.parametrize("name", ["none", "v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_words_of_several_tokens_score_as_on_the_plain_way(family: str, name: str) -> None:
    model = toy_model(family, torch.float64)
    prompt = EVERY[name]().bind(model) if name != "none" else None
    task = toy_task({"good": "very very good", "bad": "is dull"})
    packed = ps.score_labels(model, prompt, task, batch_size=4, progress=False)
    with ps.execution(packed=False):
        plain = ps.score_labels(model, prompt, task, batch_size=4, progress=False)
    assert_exact(packed, plain, family)
    assert (packed[:, 0] - packed[:, 1]).abs().min() > 1e-3


def test_masked_language_models_do_not_go_on() -> None:
    batch = texts("bert")
    with pytest.raises(ps.ModelError, match="cannot continue texts"):
        continue_(hooked("bert"), batch.input_ids, batch.attention_mask, [], 1)


def test_there_must_be_room_for_new_tokens() -> None:
    batch = texts("gpt2")
    with pytest.raises(ps.PromptError, match="64"):
        continue_(hooked("gpt2"), batch.input_ids, batch.attention_mask, [ps.SoftPrompt(50)], 8)
    continue_(hooked("gpt2"), batch.input_ids, batch.attention_mask, [ps.SoftPrompt(50)], 7)
