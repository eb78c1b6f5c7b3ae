"""Masked-LM classification with a `[MASK]` that nothing attends to: as bare Hugging Face runs it in a pad slot."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.inference.batches import encode_split
from promptscope.inference.targets import target_logits
from promptscope.interventions import HOWS, cut, mean, remove, zero
from promptscope.probes.plan import data_hash
from promptscope.tasks import IGNORED, Batch, Encoded, Task, Template, collate, concatenate
from promptscope.tasks.show import tokens_as_text
from promptscope.training.gradient import accumulate_gradient
from tests.training.toy import MASK, PAD, toy_model, toy_task, toy_truth

K = 3
MAKE = {"v1": lambda: ps.SoftPrompt(K, seed=2), "v2": lambda: ps.DeepPrompt(K, seed=2)}


def unattended(task: Task | None = None) -> Task:
    task = toy_task() if task is None else task
    return replace(task, template=replace(task.template, mask_attended=False))


def examples(task: Task | None = None) -> list[Encoded]:
    return list(encode_split(toy_model("bert", torch.float64), None, unattended(task), "train"))


def batch_of(records: list[Encoded]) -> Batch:
    return collate(records, PAD)


def bare(batch: Batch, vectors: Tensor | None) -> Tensor:
    """Return the logits at `[MASK]` of the plain model, whose attention mask is 0 there as on the padding behind."""
    model = toy_truth("bert", torch.float64)
    seen = ((batch.input_ids != MASK) & (batch.input_ids != PAD)).long()
    embeddings = model.get_input_embeddings()(batch.input_ids)
    where = batch.input_ids == MASK
    if vectors is None:
        return model(inputs_embeds=embeddings, attention_mask=seen).logits[where]
    inputs = torch.cat([vectors.expand(len(batch), -1, -1), embeddings], dim=1)
    mask = torch.cat([torch.ones(len(batch), len(vectors)), seen], dim=1)
    return model(inputs_embeds=inputs, attention_mask=mask).logits[:, len(vectors) :][where]


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 4])  # one text has no padding, and needs a mask all the same
@pytest.mark.parametrize("way", ["packed", "hooks"])
def test_logits_are_those_of_a_mask_in_a_pad_slot(n: int, way: str) -> None:
    model, batch = toy_model("bert", torch.float64), batch_of(examples()[:n])
    prompt = ps.SoftPrompt(K, seed=2).bind(model)
    with ps.execution(packed=way == "packed"):
        got = target_logits(model, batch, [prompt])
        alone = target_logits(model, batch)
    close(got, bare(batch, prompt.vectors()))
    close(alone, bare(batch, None))
    attended = replace(batch, unseen=None)
    assert (target_logits(model, attended, [prompt]) - got).abs().max() > 1e-3
    hooked = model.logits(batch.input_ids, batch.attention_mask, prompt, via="hooks", unseen=batch.unseen)
    close(hooked[batch.targets != IGNORED], got)


@pytest.mark.parametrize("name", list(MAKE))
def test_both_ways_have_one_gradient(name: str) -> None:
    model, found = toy_model("bert", torch.float64), []
    parts = [batch_of(examples()[:3]), batch_of(examples()[3:7])]
    for packed in (True, False):
        prompt = MAKE[name]().bind(model)
        with ps.execution(packed=packed):
            loss = accumulate_gradient(model, prompt, parts)
        found.append((loss, torch.cat([number.grad.flatten() for number in prompt.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    close(found[0][1], found[1][1])


def test_several_prompts_in_one_pass_and_the_gradient_of_the_bare_model() -> None:
    model, task = toy_model("bert", torch.float64), unattended()
    prompt = ps.SoftPrompt(K, seed=2).bind(model)
    vectors = prompt.vectors().detach().clone().requires_grad_()
    batch = batch_of(examples())
    accumulate_gradient(model, prompt, [batch])
    torch.nn.functional.cross_entropy(bare(batch, vectors), batch.targets[batch.targets != IGNORED]).backward()
    close(next(iter(prompt.parameters())).grad, vectors.grad)
    config = ps.TrainConfig(steps=2, batch_size=4, learning_rate=0.05)
    grid = {str(seed): ps.GridRun(ps.SoftPrompt(K, seed=seed), task, config) for seed in (1, 2)}
    together = ps.train_grid(model, grid, progress=False)["2"]
    alone = ps.train(model, ps.SoftPrompt(K, seed=2), task, config, progress=False)
    close(together.prompt.vectors(), alone.prompt.vectors())


def test_the_mask_reads_and_is_not_read() -> None:
    model, batch = toy_model("bert", torch.float64), batch_of(examples()[:4])
    prompt = ps.SoftPrompt(K, seed=2).bind(model)
    patterns: list[Tensor] = []
    assert batch.label_start is not None
    hooks = [(point, lambda x, hook: patterns.append(x)) for point in model.site("attn.hook_pattern")]
    model.forward_hooked(batch.input_ids, batch.attention_mask, prompt, hooks, unseen=batch.unseen)
    rows = torch.arange(len(batch))
    for pattern in patterns:
        assert pattern[rows, :, :, K + batch.label_start].abs().max() == 0
        reads = pattern[rows, :, K + batch.label_start]
        torch.testing.assert_close(reads.sum(dim=-1), torch.ones_like(reads[..., 0]))
    assert len(patterns) == model.shape.n_layers


@pytest.mark.parametrize("how", list(HOWS))
def test_importance_is_what_evaluations_give(how: str) -> None:
    model, task = toy_model("bert", torch.float64), unattended()
    prompt = ps.SoftPrompt(K, seed=2).bind(model)
    change = {"zero": zero, "mean": mean, "remove": remove, "cut": cut}[how]
    found = ps.importance(model, prompt, task, how, progress=False)
    for token in range(K):
        with ps.execution(packed=False):
            scores = ps.evaluate(model, change(prompt, token), task, progress=False)
        assert float(found.loss.values[0, token]) == pytest.approx(scores["loss"], rel=1e-6)
    plain = ps.importance(model, prompt, toy_task(), how, progress=False)
    assert np.abs(plain.loss.values - found.loss.values).max() > 1e-4


def test_probes_see_the_reading() -> None:
    model = toy_model("bert", torch.float64)
    tasks = (toy_task(), unattended())
    plain, hidden = (
        ps.probe(model, ps.SoftPrompt(K, seed=2).bind(model), task, "attention_mass", progress=False)["attention_mass"]
        for task in tasks
    )
    assert float(np.abs(plain.values - hidden.values).max()) > 1e-4
    hashes = [data_hash(encode_split(model, None, task, "train", with_label=False)) for task in tasks]
    assert hashes[0] != hashes[1]


def test_the_template_says_it_and_other_kinds_do_not_mind() -> None:
    template = replace(toy_task().template, mask_attended=False)
    assert not template.for_kind("masked").mask_attended
    assert Template(**template.to_json()) == template
    assert "mask_attended" not in toy_task().template.to_json()
    assert toy_task().data_hash("train") != unattended().data_hash("train")
    causal = toy_model("gpt2")
    assert list(encode_split(causal, None, unattended(), "train")) == list(
        encode_split(causal, None, toy_task(), "train")
    )
    masked = toy_model("bert", torch.float64)
    assert "attended by nothing" in tokens_as_text(unattended(), masked, n=1)
    assert "attended by nothing" not in tokens_as_text(toy_task(), masked, n=1)


def test_batches_of_both_readings_stand_below_each_other() -> None:
    hidden, plain = (
        batch_of(examples()[:2]),
        batch_of(list(encode_split(toy_model("bert"), None, toy_task(), "train"))[2:5]),
    )
    whole = concatenate([plain, hidden])
    assert whole.unseen is not None
    assert whole.unseen.sum(dim=1).tolist() == [0, 0, 0, 1, 1]
    assert bool((whole.input_ids[whole.unseen] == MASK).all())
    assert concatenate([plain, plain]).unseen is None


def test_unseen_tokens_are_for_masked_models(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.ones(1, 3, dtype=torch.long)
    for run in (toy_model("gpt2").forward_hooked, toy_model("gpt2").logits):
        with pytest.raises(ModelError, match="a causal model"):
            run(ids, unseen=ids.bool())
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape checks of tests would come first
    with pytest.raises(ModelError, match=r"\(1, 3\), got \(1, 2\)"):
        toy_model("bert").logits(ids, unseen=ids[:, :2].bool())
