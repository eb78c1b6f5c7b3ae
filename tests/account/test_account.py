"""The whole account, on every kind of model; bad input is named, not drawn."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import promptscope as ps
from promptscope.account import PARTS, Settings, account_page, compare
from promptscope.account.figures import figures_of
from promptscope.account.page import _rounded
from promptscope.account.parts.answers import _verdicts
from promptscope.account.parts.routes import routes_part
from promptscope.account.subject import Subject
from promptscope.account.wording import effect_sentence
from promptscope.causal.effect import PromptEffect
from promptscope.causal.inputs import Answers, make_inputs
from promptscope.errors import ProbeError, PromptError
from promptscope.statistics import Effect

SETTINGS = Settings(limit=8, few=8, layers=2, n_random=1, shots=2, batch_size=8)


@pytest.fixture(scope="module")
def prompts():
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    return model, task, ps.SoftPrompt(3, init="vocab").bind(model), ps.DeepPrompt(3).bind(model)


@pytest.fixture(scope="module")
def deep(prompts):
    model, task, _, prompt = prompts
    return ps.explain(model, prompt, task, name="deep", instruction="The continent", settings=SETTINGS)


def test_all_parts_are_there_and_speak(deep, tmp_path):
    assert list(deep.parts) == list(PARTS)
    for part in deep.parts.values():
        assert part.sentences or part.omitted
        for figure, caption in figures_of(part):
            assert caption and any(np.isfinite(np.asarray(_numbers(trace), float)).any() for trace in figure.data)
    deep.save(tmp_path)
    said = json.loads((tmp_path / "account.json").read_text())
    assert said["parts"]["readings"]["omitted"]  # a deep prompt is no text
    assert (tmp_path / "routes-heads_restore.csv").is_file()
    html = deep.page().html()
    assert "What this page does not show" in html and "How long each part took" in html


def _numbers(trace):
    return trace.z if trace.type == "heatmap" else trace.x if trace.mode == "markers" else trace.y


def test_numbers_on_the_page_are_no_finer_than_they_are():
    table = pd.DataFrame({"a": [-1.234, 0.004], "a_low": [-2.0, 0.0], "a_high": [1.0, 1.0],
                          "p_value": [0.000999, float("nan")], "n": [3, 4], "gain": [float("nan"), -0.5]})  # fmt: skip
    shown = _rounded(table)
    assert shown["a"].tolist() == ["−1.23 (−2.00 to 1.00)", "0.004 (0.00 to 1.00)"]
    assert shown["p value"].tolist() == ["< 0.001", ""]
    assert shown["n"].tolist() == [3, 4] and shown["gain"].tolist() == ["", "−0.50"]


def test_several_runs_side_by_side(deep, prompts):
    model, task, prompt, _ = prompts
    other = ps.explain(model, prompt, task, name="soft", parts=["answers", "routes"], settings=SETTINGS)
    found = compare([deep, other])
    assert found.heads is not None and {"deep", "soft"} <= set(found.numbers.columns)
    assert "All accounts" in account_page([deep, other]).html()


@pytest.mark.parametrize("name", [pytest.param("embedded-masked-0", marks=pytest.mark.slow), "embedded-seq2seq"])
@pytest.mark.parametrize("kind", ["v1", pytest.param("v2", marks=pytest.mark.slow)])
def test_other_families(name, kind):
    model, task = ps.load_model(name), ps.load_task("continent_en")
    prompt = (ps.SoftPrompt(2, init="vocab") if kind == "v1" else ps.DeepPrompt(2)).bind(model)
    account = ps.explain(model, prompt, task, settings=SETTINGS)
    for key, part in account.parts.items():
        assert not part.is_empty or (kind, key) == ("v2", "readings"), part.omitted
    assert "Account of" in repr(account)


def test_a_task_without_labels_says_which_parts_do_not_run(prompts):
    model, _, prompt, _ = prompts
    account = ps.explain(model, prompt, ps.load_task("capital_en"), parts=["answers", "neurons"], settings=SETTINGS)
    assert account["neurons"].is_empty and "no labels" in account["neurons"].omitted[0]
    assert "logit_difference" not in account["answers"].tables["scores"]
    assert figures_of(account["neurons"]) == []


def test_an_effect_that_is_clear_on_all_inputs_but_not_on_the_first_few(prompts):
    """Sets of heads are searched on few inputs: where the effect is unclear there, they are left out, not divided."""
    model, task, prompt, _ = prompts
    inputs = make_inputs(model, prompt, task, limit=8)
    none = np.zeros(8)
    gold = np.array([-0.5, 0.5, -0.4, 0.4, 2.0, 2.1, 1.9, 2.0])
    effect = PromptEffect(inputs, Answers(none, none, none), Answers(gold, none, none), "shared")
    subject = Subject(model, prompt, task, effect, None, replace(SETTINGS, few=4))
    assert effect.size.is_clear and not subject.small.size.is_clear
    found = routes_part(subject)
    assert found.sentences and "sets" not in found.tables
    assert any(reason.startswith("Sets of heads") for reason in found.omitted)


def test_few_inputs_are_no_verdict_whatever_their_interval_says():
    """Of n differences of one sign, a paired test gives 2 / 2^n at best: four inputs decide nothing."""
    for n, verdict in ((4, "not clearly different from"), (8, "better than")):
        there, without = (Answers(np.full(n, gold) - np.arange(n) / 50, *np.zeros((2, n))) for gold in (-0.1, -2.0))
        said = _verdicts({"without a prompt": without, "the instruction": without, "the prompt": there})[-1]
        assert f"It is {verdict} the instruction" in said
        assert ("4 inputs cannot give less than 0.12" in said) == (n == 4)


def test_one_input_has_no_interval(prompts):
    model, task, prompt, _ = prompts
    account = ps.explain(model, prompt, task, parts=["answers"], settings=Settings(limit=1, n_random=1))
    assert any("no interval" in reason for reason in account["answers"].omitted)
    assert not np.isfinite(account["answers"].tables["scores"]["log_p_low"]).any()


def test_nothing_to_fit_on_says_why(prompts):
    model, task, prompt, _ = prompts
    for fit, why in (("test", "both would come from the split 'test'"), ("dev", "the task has no split 'dev'")):
        settings = Settings(limit=4, few=4, n_random=1, fit=fit)
        account = ps.explain(model, prompt, task, parts=["direction"], settings=settings)
        assert why in account["direction"].omitted[0]


def test_bad_requests(prompts):
    model, task, prompt, _ = prompts
    with pytest.raises(ProbeError, match="Did you mean 'tokens'"):
        ps.explain(model, prompt, task, parts=["token"])
    with pytest.raises(PromptError, match="must be bound to a model"):
        ps.explain(model, ps.SoftPrompt(2), task)


def test_only_numbers_get_a_minus_sign() -> None:
    said = effect_sentence(Effect(0.1, -0.5, 0.7, 3))
    assert "log-probability" in said and "−0.50 to +0.70" in said
