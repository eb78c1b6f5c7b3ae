"""Verbalizer scores against the logits of each record alone, on bare models."""

import numpy as np
import pytest
import torch

import promptscope as ps
from tests.tiny_models import FAMILIES
from tests.training import references
from tests.training.toy import LONG_WORD, WORD, toy_model, toy_rows, toy_task, toy_truth, writing_task

BOTH_LONG = {"good": "very very good", "bad": "is dull"}  # the second is read where the first was


@pytest.mark.parametrize("with_prompt", [False, True])
@pytest.mark.parametrize("words", [WORD, LONG_WORD, BOTH_LONG], ids=["one-token", "several-tokens", "both-several"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_each_record_alone(family: str, words: dict[str, str], with_prompt: bool) -> None:
    if family == "bert" and words is not WORD:
        with pytest.raises(ps.TaskError, match=r"one token.*very very good"):
            ps.score_labels(toy_model(family), None, toy_task(words), progress=False)
        return
    model, truth = toy_model(family), toy_truth(family)
    prompt = ps.SoftPrompt(3, seed=1).bind(model) if with_prompt else None
    scores = ps.score_labels(model, prompt, toy_task(words), batch_size=4, progress=False)
    vectors = prompt.embedding.detach() if prompt is not None else None
    expected = [
        [references.label_score(truth, family, row["text"], word, vectors) for word in words.values()]
        for row in toy_rows()
    ]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("words", [WORD, LONG_WORD], ids=["one-token", "several-tokens"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_deep_prompt_scores_do_not_depend_on_the_batch(family: str, words: dict[str, str]) -> None:
    model = toy_model(family)
    prompt = ps.DeepPrompt(3, layers=[0, 2], seed=1).bind(model)
    together = ps.score_labels(model, prompt, toy_task(words), batch_size=10, progress=False)
    alone = ps.score_labels(model, prompt, toy_task(words), batch_size=1, progress=False)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    plain = ps.score_labels(model, None, toy_task(words), batch_size=10, progress=False)
    assert (together - plain).abs().max() > 0.01


@pytest.mark.parametrize("words", [WORD, LONG_WORD], ids=["one-token", "several-tokens"])
def test_scores_do_not_see_the_records_own_label(words: dict[str, str]) -> None:
    rows = toy_rows()
    swapped = [row | {"label": {"good": "bad", "bad": "good"}[row["label"]]} for row in rows]
    scores = [
        ps.score_labels(toy_model("gpt2"), None, ps.Task.from_records({"test": r}, verbalizer=words), progress=False)
        for r in (rows, swapped)
    ]
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)


def test_text_cut_to_the_context_still_leaves_room_for_every_word() -> None:
    rows = toy_rows(4)
    for row in rows:
        row["text"] = "the story is " * 40
    task = ps.Task.from_records({"test": rows}, verbalizer=LONG_WORD)
    prompt = ps.SoftPrompt(20)
    scores = ps.score_labels(toy_model("gpt2"), prompt, task, progress=False)
    assert scores.shape == (4, 2)
    assert torch.isfinite(scores).all()
    # 64 positions - 20 of the prompt - bos, sep - "very very good", end
    cut = " ".join(("the story is " * 40).split()[: 64 - 20 - 2 - 4])
    vectors = prompt.embedding.detach()
    expected = [references.label_score(toy_truth("gpt2"), "gpt2", cut, word, vectors) for word in LONG_WORD.values()]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)


def test_a_generation_task_has_no_labels_to_score() -> None:
    with pytest.raises(ps.TaskError, match="no label words"):
        ps.score_labels(toy_model("gpt2"), None, writing_task(), progress=False)
