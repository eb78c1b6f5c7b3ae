"""Importances against evaluations of each transformed prompt, one by one."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ArgumentError, ModelError, ProbeError, PromptError, TaskError
from promptscope.interventions import Importance, importance
from promptscope.interventions.measuring import Measured, measure
from promptscope.interventions.summary import summarise
from promptscope.interventions.tokens import without_each
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Encoded, Task
from tests.interventions.variants import HOWS, PROMPTS, K, by_hooks, examples
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import LONG_WORD, VOCAB, toy_model, toy_task, word_id


def run(family: str, prompt: Prompt, **options: Any) -> Importance:
    model = toy_model(family, torch.float64)
    return importance(model, prompt.bind(model), toy_task(), limit=5, progress=False, **options)


@pytest.mark.parametrize("name", ["v1", "v2 tied"])
@pytest.mark.parametrize("how", ["zero", "mean", "remove"])
@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_losses_are_those_of_evaluate(family: str, how: str, name: str) -> None:
    model, prompt = toy_model(family, torch.float64), PROMPTS[name]()
    result = run(family, prompt, how=how)

    def loss(other: Prompt) -> float:
        return ps.evaluate(model, other, toy_task(), limit=5, progress=False)["loss"]

    without = np.array([loss(HOWS[how](prompt, i)) for i in range(K)])
    whole = loss(prompt)
    np.testing.assert_allclose(result.loss.values.values[0], without, rtol=1e-9)
    np.testing.assert_allclose(result.whole.values.values, [whole], rtol=1e-9)
    np.testing.assert_allclose(result.difference.values.values[0], without - whole, atol=1e-9)
    np.testing.assert_allclose(result.ratio.values.values[0], without / whole, rtol=1e-9)
    assert np.abs(without - whole).max() > 1e-4


@pytest.mark.parametrize("output", ["vocabulary", "labels"])
@pytest.mark.parametrize("how", HOWS)
def test_kl_by_hand(how: str, output: str) -> None:
    model, prompt = toy_model("gpt2", torch.float64), ps.SoftPrompt(K, seed=4)
    result = run("gpt2", prompt, how=how, output=output)
    words = [word_id("positive"), word_id("negative")]

    def probabilities(other: Prompt) -> np.ndarray:
        records = examples(model, 5)
        logits = by_hooks(model, records, other).detach().unflatten(0, (len(records), -1))[:, 0]
        return logits[:, words if output == "labels" else slice(None)].softmax(-1).numpy()

    p = probabilities(prompt)
    by_hand = []
    for i in range(K):
        q = probabilities(HOWS[how](prompt, [i]))
        by_hand.append((p * np.log(p / q)).sum(axis=1).mean())
    np.testing.assert_allclose(result.kl.values.values[0], by_hand, rtol=1e-6)
    assert max(by_hand) > 1e-5


def test_cut_losses_are_those_of_the_hooks() -> None:
    model, prompt = toy_model("bert", torch.float64), ps.SoftPrompt(K, seed=4)
    result = run("bert", prompt, how="cut")
    records = examples(model, 5)
    targets = torch.tensor([target for record in records for target in record.targets if target != IGNORED])
    for i in range(K):
        logits = by_hooks(model, records, HOWS["cut"](prompt, [i]))
        loss = torch.nn.functional.cross_entropy(logits, targets).item()
        np.testing.assert_allclose(result.loss.values.values[0, i], loss, rtol=1e-9)


@pytest.mark.parametrize("how", HOWS)
def test_how_the_work_is_divided_changes_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = ps.SoftPrompt(K, seed=4)
    whole = run("llama", prompt, how=how, batch_size=5, variants_per_pass=5)
    parts = run("llama", prompt, how=how, batch_size=2, variants_per_pass=3)
    monkeypatch.setattr("promptscope.interventions.measuring._ROWS_AT_ONCE", 9)  # two variants' rows in memory
    chunks = run("llama", prompt, how=how, batch_size=3, variants_per_pass=1)
    for other in (parts, chunks):
        for name in ("loss", "difference", "kl", "whole"):
            theirs, ours = getattr(whole, name).data, getattr(other, name).data
            np.testing.assert_allclose(ours["values"], theirs["values"], atol=1e-6)
            np.testing.assert_allclose(ours["low"], theirs["low"], atol=1e-6)


def test_nothing_is_divided_by_a_loss_of_zero() -> None:
    losses = np.array([[[0.0, 1.0, 2.0]], [[0.0, 3.0, 2.0]]])  # (example, model, whole and each of two tokens)
    coords = {"model": ["m"], "token": ["a", "b"], "example": ["x", "y"]}
    found = summarise(losses, np.full((2, 1), 2.0), np.zeros((2, 1, 2)), coords, "zeroed", {})
    assert np.isnan(found.ratio.values).all()
    assert found.difference.values.values.tolist() == found.loss.values.values.tolist() == [[1.0, 1.0]]


def test_intervals_are_over_examples() -> None:
    result = run("gpt2", ps.SoftPrompt(K, seed=4))
    for one in (result.loss, result.difference, result.ratio, result.kl, result.whole):
        low, value, high = (one.data[name].values for name in ("low", "values", "high"))
        assert (low < value).all()
        assert (value < high).all()
    each = result.loss.data["per_example"]
    assert each.dims == ("model", "token", "example")
    # Every toy record has two target tokens, so that the mean over tokens is that over records.
    np.testing.assert_allclose(each.mean("example"), result.loss.values, rtol=1e-6)
    assert each["example"].values.tolist() == [record.id for record in examples(toy_model("gpt2"), 5)]


@pytest.mark.parametrize("batch_size", [2, 5])
def test_every_example_has_its_own_numbers(batch_size: int) -> None:
    """Batches take the longest texts first; the mean over examples would not notice if they were mixed up."""
    model, prompt = toy_model("gpt2", torch.float64), ps.SoftPrompt(K, seed=4)
    records = examples(model, 5)
    lengths = [len(record.input_ids) for record in records]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))
    result = run("gpt2", prompt, batch_size=batch_size)
    alone = np.empty((K, len(records)))
    for i in range(K):
        for x, record in enumerate(records):
            targets = torch.tensor([target for target in record.targets if target != IGNORED])
            logits = by_hooks(model, [record], HOWS["zero"](prompt, [i]))
            alone[i, x] = torch.nn.functional.cross_entropy(logits, targets).item()
    np.testing.assert_allclose(result.loss.data["per_example"].values[0], alone, rtol=1e-6)

    def measured(mine: list[Encoded]) -> Measured:
        distribution = partial(torch.log_softmax, dim=-1)
        return measure(model, prompt.bind(model), "zero", without_each(K), mine, batch_size, 3, distribution, False)

    together, one_by_one = measured(records).kl, [measured([record]).kl for record in records]
    np.testing.assert_allclose(together, np.concatenate(one_by_one, axis=1), rtol=1e-6, atol=1e-12)


def another(d_model: int = 32, seed: int = 1, words: tuple[str, ...] | None = None) -> ps.HookedModel:
    tokenizer = tiny_tokenizer() if words is None else tiny_tokenizer(words)
    return ps.load_model(tiny_hf_model("gpt2", torch.float64, seed, d_model=d_model, vocab=VOCAB), tokenizer=tokenizer)


def test_several_models_are_each_measured_as_if_alone() -> None:
    first, second = toy_model("gpt2", torch.float64), another()
    prompt = ps.SoftPrompt(K, seed=4).bind(first)
    options: dict[str, Any] = {"limit": 4, "progress": False}
    both = importance(
        {"first": first, "second": second, "masked": toy_model("bert", torch.float64)}, prompt, toy_task(), **options
    )
    assert both.loss.values["model"].values.tolist() == ["first", "second", "masked"]
    elsewhere = prompt.copy()
    elsewhere.strict = False
    alone = importance(second, elsewhere, toy_task(), **options)
    for name in ("loss", "difference", "ratio", "kl", "whole"):
        ours, theirs = getattr(both, name).data.sel(model="second"), getattr(alone, name).data.isel(model=0)
        for variable in ("values", "low", "high"):
            np.testing.assert_allclose(ours[variable], theirs[variable], atol=1e-12)
    best = both.difference.values.values.argmax(axis=0)
    assert both.assignment("difference").tolist() == best.tolist()
    assert prompt.strict  # the caller's prompt still belongs to its own model


def test_tables_files_and_figures(tmp_path: Path) -> None:
    result = run("gpt2", ps.SoftPrompt(K, seed=4))
    table = result.to_dataframe()
    assert len(table) == K
    assert table["whole_loss"].nunique() == 1
    assert table["ratio_low"].tolist() == result.ratio.data["low"].values.ravel().tolist()
    result.save(tmp_path / "importance")
    again = ps.load_result(tmp_path / "importance")
    assert again.kl.data.identical(result.kl.data)
    assert repr(again) == repr(result)
    difference, ratio = result.plot(), result.plot("ratio")
    np.testing.assert_array_equal(difference.data[0].z, result.difference.values.values)
    axis = difference.layout.coloraxis
    assert axis.cmin == -axis.cmax or axis.cmin >= 0
    np.testing.assert_allclose(2 ** np.array(ratio.data[0].z), result.ratio.values.values)
    assert ratio.layout.coloraxis.cmin == -ratio.layout.coloraxis.cmax
    assert "[" in difference.data[0].text[0][0]


def ask(prompt: Prompt | None = None, models: Any = None, task: Task | None = None, **options: Any) -> Importance:
    model = toy_model("gpt2")
    prompt = ps.SoftPrompt(K).bind(model) if prompt is None else prompt
    return importance(
        model if models is None else models, prompt, task or toy_task(), limit=2, progress=False, **options
    )


def test_bad_input_is_named_before_anything_runs() -> None:
    model = toy_model("gpt2")
    with pytest.raises(ProbeError, match=r"how must be one of zero.*got 'zeros'\. Did you mean 'zero'"):
        ask(how="zeros")
    with pytest.raises(ArgumentError, match="variants_per_pass must be at least 1"):
        ask(variants_per_pass=0)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        ask(batch_size=0)
    with pytest.raises(ProbeError, match="'vocabulary' or 'labels'"):
        ask(output="words")
    with pytest.raises(PromptError, match="unbound"):
        ask(ps.SoftPrompt(K))
    with pytest.raises(PromptError, match="only token"):
        ask(ps.SoftPrompt(1).bind(model), how="remove")
    with pytest.raises(TaskError, match=r"label 'good' is 3 tokens.*'very', 'very', 'good'"):
        ask(task=toy_task(LONG_WORD), output="labels")
    narrow = ps.SoftPrompt(K).bind(another(16))
    narrow.strict = False
    with pytest.raises(PromptError, match="16 dimensions"):
        ask(narrow)
    with pytest.raises(ModelError, match="d_model 'wide': 32, 'narrow': 16"):
        ask(models={"wide": model, "narrow": another(16)})
    with pytest.raises(ModelError, match="vocabulary of 'b' is not that of 'a'"):
        ask(models={"a": model, "b": another(words=("the", "film"))})
    with pytest.raises(ModelError, match="two models have the name 'GPT2LMHeadModel'"):
        ask(models=[model, another()])
    with pytest.raises(ModelError, match="at least one model"):
        ask(models=[])
    with pytest.raises(ProbeError, match=r"got 'los'\. Did you mean 'loss'"):
        ask().measure("los")
