"""Padding on the left that counts as positions: bare models and PEFT on the padded rows, written out."""

from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import promptscope as ps
from promptscope.inference.batches import batches, encode_split
from promptscope.inference.evaluate import Evaluator
from promptscope.tasks import Task
from promptscope.training.gradient import accumulate_gradient
from tests.tiny_models import CAUSAL, tiny_hf_model
from tests.training import references
from tests.training.toy import PAD, VOCAB, WORD, toy_model, toy_rows, toy_task, toy_truth, writing_task

EXACT = {"gpt2": 1e-9, "gpt_neox": 1e-9, "llama": 1e-5}  # Llama's norm rounds to float32 whatever the dtype
BATCHES = (4, 4, 2)


def padded(rows: list[dict[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and labels of one batch, with the padding in front."""
    encoded = [references.encode("gpt2", row["text"], WORD[row["label"]]) for row in rows]
    width = max(len(ids) for ids, _ in encoded)
    ids = torch.tensor([[PAD] * (width - len(ids)) + ids for ids, _ in encoded])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in encoded])
    labels = torch.tensor([[-100] * (width - len(ids)) + labels for ids, labels in encoded])
    return ids, mask, labels


def naive_loss(family: str, prompt: Tensor) -> Tensor:
    """Return the mean loss over all targets of ten records in batches of four: positions are those of the row."""
    truth, k = toy_truth(family, torch.float64), len(prompt)
    losses = []
    for start in range(0, 10, 4):
        ids, mask, labels = padded(toy_rows()[start : start + 4])
        whole = torch.cat([prompt.expand(len(ids), -1, -1), truth.get_input_embeddings()(ids)], dim=1)
        seen = torch.cat([mask.new_ones(len(ids), k), mask], dim=1)
        positions = torch.arange(whole.shape[1]).expand(len(ids), -1)
        logits = truth(inputs_embeds=whole, attention_mask=seen, position_ids=positions).logits[:, k - 1 : -1]
        losses.append(cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"))
    every = torch.cat(losses)
    return every.sum() / (every != 0).sum()


def left(model: ps.HookedModel, task: Task, prompt: ps.Prompt, size: int = 4, padding: Any = "left") -> list[Any]:
    return list(batches(model, encode_split(model, prompt, task, "train"), size, padding=padding))


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("family", CAUSAL)
def test_loss_and_gradient_are_those_of_the_padded_rows(family: str, packed: bool | None) -> None:
    model, prompt = toy_model(family, torch.float64), ps.SoftPrompt(3, seed=1)
    prompt.bind(model)
    with ps.execution(packed=packed):
        loss = accumulate_gradient(model, prompt, left(model, toy_task(), prompt))
    vectors = prompt.embedding.detach().clone().requires_grad_()
    expected = naive_loss(family, vectors)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=EXACT[family])
    torch.testing.assert_close(prompt.embedding.grad, vectors.grad, rtol=EXACT[family], atol=EXACT[family])
    with ps.execution(packed=packed):
        right = accumulate_gradient(model, prompt, left(model, toy_task(), prompt, padding="right"))
    assert abs(right - loss) > 1e-4, "it moves the text"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
def test_the_loss_is_that_of_peft() -> None:
    truth = peft.get_peft_model(
        tiny_hf_model("gpt2", torch.float64, vocab=VOCAB),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ).eval()
    model, prompt = toy_model("gpt2", torch.float64), ps.SoftPrompt(3, seed=1)
    prompt.bind(model)
    with torch.no_grad():
        truth.prompt_encoder["default"].embedding.weight.copy_(prompt.vectors())
    ids, mask, labels = padded(toy_rows()[:4])
    theirs = truth(input_ids=ids, attention_mask=mask, labels=labels).loss
    ours = accumulate_gradient(model, prompt, left(model, toy_task(), prompt)[:1])
    assert ours == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("family", CAUSAL)
def test_one_record_alone_has_no_padding(family: str) -> None:
    model, prompt = toy_model(family, torch.float64), ps.SoftPrompt(3, seed=1)
    prompt.bind(model)
    losses = [
        accumulate_gradient(model, prompt, left(model, toy_task(), prompt, 1, side)) for side in ("left", "right")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def naive_text(family: str, task: Task, prompt: Tensor, n_new: int) -> list[str]:
    """Write on from padded rows with the whole text at every step."""
    truth, k = toy_truth(family, torch.float64), len(prompt)
    tokenizer = toy_model(family, torch.float64).tokenizer
    rows = [references.encode(family, record.text("text"), "good")[0][:-2] for record in task.split("test")]
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    for _ in range(n_new):
        whole = torch.cat([prompt.expand(len(ids), -1, -1), truth.get_input_embeddings()(ids)], dim=1)
        seen = torch.cat([mask.new_ones(len(ids), k), mask], dim=1)
        positions = torch.arange(whole.shape[1]).expand(len(ids), -1)
        logits = truth(inputs_embeds=whole, attention_mask=seen, position_ids=positions).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(ids), 1)], dim=1)
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids[:, width:].tolist()]


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("family", CAUSAL)
def test_text_is_written_behind_the_padded_rows(family: str, packed: bool | None) -> None:
    model, task = toy_model(family, torch.float64), writing_task()
    texts = []
    for seed in range(5):
        prompt = ps.SoftPrompt(3, seed=seed).bind(model)
        with ps.execution(packed=packed), torch.no_grad():
            evaluator = Evaluator(model, prompt, task, batch_size=8, max_new_tokens=4, padding="left")
            evaluator.end = []  # all four tokens
            texts.append((evaluator.texts(progress=False), naive_text(family, task, prompt.vectors(), 4)))
    assert all(ours == theirs for ours, theirs in texts)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_grid_pads_each_run_for_itself(family: str, tmp_path: Any) -> None:
    model, dtype = toy_model(family, torch.float64), {"gpt2": 1e-9, "llama": 1e-5}
    config = ps.TrainConfig(steps=3, batch_size=4, learning_rate=0.05, padding="left", evaluate_every=2)
    tasks = {"one": toy_task(), "another": toy_task(n=6), "long": toy_task({"good": "very very good", "bad": "dull"})}
    runs = {name: ps.GridRun(ps.SoftPrompt(3, seed=4), task, config) for name, task in tasks.items()}
    done = ps.train_grid(model, runs, tmp_path, rows_per_pass=8, progress=False)
    for name, task in tasks.items():
        alone = ps.train(model, ps.SoftPrompt(3, seed=4), task, config, progress=False)
        tolerance = {"rtol": dtype[family], "atol": dtype[family]}
        torch.testing.assert_close(done[name].prompt.state_dict(), alone.prompt.state_dict(), **tolerance)
        assert done[name].config.padding == "left"


def test_runs_without_it_are_described_as_before() -> None:
    assert "padding" not in ps.TrainConfig(steps=1).to_json()
    config = ps.TrainConfig(steps=1, padding="left")
    assert ps.TrainConfig.from_json(config.to_json()) == config
    assert ps.TrainConfig.from_json(ps.TrainConfig(steps=1).to_json()).padding == "right"


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_it_is_refused_where_it_would_move_nothing(family: str) -> None:
    config = ps.TrainConfig(steps=1, padding="left")
    with pytest.raises(ps.RunError, match="causal models"):
        ps.train(toy_model(family), ps.SoftPrompt(3), toy_task(), config, progress=False)
    with pytest.raises(ps.RunError, match="causal models"):
        ps.evaluate(toy_model(family), None, toy_task(), padding="left", progress=False)
