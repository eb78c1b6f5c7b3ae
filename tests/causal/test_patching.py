"""Patching against the loop that it replaces, on every kind of model and prompt."""

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.causal import shifts
from promptscope.causal.components import components
from promptscope.causal.cuts import cut_layers_on
from promptscope.causal.effect import effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.patching import arranged, patch_on
from promptscope.causal.paths import paths_on
from promptscope.causal.running import Condition, can_start_anywhere, plain
from promptscope.causal.shifts import shift_on
from tests.causal.naive import gold_of, patched_gold

MODELS = {"embedded-causal": "continent_en", "embedded-masked-0": "continent_en", "embedded-seq2seq": "capital_en"}


@pytest.fixture(scope="module", params=[(name, kind) for name in MODELS for kind in ("v1", "v2")], ids=str)
def case(request):
    name, kind = request.param
    model, task = ps.load_model(name), ps.load_task(MODELS[name])
    prompt = (ps.SoftPrompt(3, init="vocab") if kind == "v1" else ps.DeepPrompt(3)).bind(model)
    return model, prompt, effect_on(model, prompt, make_inputs(model, prompt, task, limit=3))


def test_the_effect_is_that_of_each_record_alone(case):
    model, prompt, effect = case
    for i, example in enumerate(effect.inputs.examples):
        with_prompt, without = (gold_of(model, example, c) for c in (Condition(prompt), plain(model, prompt)))
        assert effect.prompted.gold[i] == pytest.approx(with_prompt, abs=2e-4)
        assert effect.plain.gold[i] == pytest.approx(without, abs=2e-4)


@pytest.mark.parametrize("at", ["heads", "residual"])
@pytest.mark.parametrize("direction", ["restore", "destroy"])
def test_patching_is_the_loop_over_components_and_inputs(case, at, direction):
    model, prompt, effect = case
    found = patch_on(model, prompt, effect, at, direction, batch_size=2)
    within, without = Condition(prompt), plain(model, prompt)
    base, source = (without, within) if direction == "restore" else (within, without)
    every = components(model, at)
    chosen = every[:: max(1, len(every) // 5)]
    table = found.data["nats_per_example"].values
    assert np.abs(table[np.isfinite(table)]).max() > 1e-3  # something was patched
    for one in chosen:
        column = np.flatnonzero([c == one for c in every])[0]
        place = arranged(np.arange(len(every), dtype=float)[None], every)[0] == column
        for i, example in enumerate(effect.inputs.examples):
            gold = patched_gold(model, example, base, source, one)
            moved = gold - effect.plain.gold[i] if direction == "restore" else effect.prompted.gold[i] - gold
            assert table[i][place].item() == pytest.approx(moved, abs=3e-4), (one, i)


def test_an_edge_is_cut_for_the_text_and_for_no_row_of_the_prompt(case):
    model, prompt, effect = case
    head = next(one for one in components(model, "heads") if one.layer == 1)
    attention = model.family.attentions[head.part]
    k, text = (prompt.slots(model)[stream] for stream in (attention.keys, attention.queries))
    found = paths_on(model, prompt, effect, [head], tokens=[1])

    def cut(columns):
        def hook_scores(x, hook):
            x = x.clone()
            x[:, head.head, text:, columns] = torch.finfo(x.dtype).min
            return x

        return head.point.replace("hook_z", "hook_attn_scores"), hook_scores

    for token, columns in ((-1, slice(0, k)), (1, [1])):
        golds = [gold_of(model, one, Condition(prompt), [cut(columns)]) for one in effect.inputs.examples]
        lost = effect.prompted.gold.mean() - np.mean(golds)
        assert float(found.data["nats"].sel(token=token).isel(head=0)) == pytest.approx(lost, abs=2e-5)
        assert abs(lost) > 1e-5


def test_layers_are_cut_for_the_text_and_for_no_row_of_the_prompt(case):
    model, prompt, effect = case
    stack = model.family.stacks[0]
    attention = next(one for one in model.family.attentions.values() if one.stack == stack)
    k, text = (prompt.slots(model)[stream] for stream in (attention.keys, attention.queries))
    found = cut_layers_on(model, prompt, effect, "up_to", layers=[1])

    def hide(x, hook):
        x = x.clone()
        x[:, :, text:, :k] = torch.finfo(x.dtype).min
        return x

    hooks = [(f"{stack}.{layer}.{attention.module}.hook_attn_scores", hide) for layer in (0, 1)]
    golds = [gold_of(model, one, Condition(prompt), hooks) for one in effect.inputs.examples]
    assert float(found.data["nats"].isel(layer=0)) == pytest.approx(np.mean(golds) - effect.plain.gold.mean(), abs=2e-5)
    assert abs(np.mean(golds) - effect.prompted.gold.mean()) > 1e-4


def test_a_shift_is_the_same_from_the_layer_that_it_enters_and_in_whole_runs(case, monkeypatch):
    model, prompt, effect = case
    stack = model.family.stacks[-1]
    layers = [0, 1, model.layers[stack] - 1]
    fast = shift_on(model, prompt, effect, effect.inputs, layers, ranks=(1, 2))
    monkeypatch.setattr(shifts, "can_start_anywhere", lambda model: False)
    whole = shift_on(model, prompt, effect, effect.inputs, layers, ranks=(1, 2))
    np.testing.assert_allclose(fast.data["nats"], whole.data["nats"], atol=2e-5)
    assert np.ptp(whole.data["nats"].values) > 1e-4


def test_the_residual_after_the_last_layer_is_the_whole_effect(case):
    model, prompt, effect = case
    if model.family.kind == "seq2seq":
        return  # what the decoder leaves is compared below
    found = patch_on(model, prompt, effect, "residual")
    np.testing.assert_allclose(found.data["nats_per_example"].values[:, -1], effect.gold, atol=2e-4)


def test_layers_below_are_not_run_again(case):
    model, prompt, effect = case
    if model.family.kind == "seq2seq":
        return  # its layers hand each other more than the residual stream: they are run again
    assert can_start_anywhere(model)  # measured at its first use: not to be counted
    calls = []
    stack = model.family.stacks[0]
    handles = [
        block.original_component.register_forward_hook(lambda *_, i=i: calls.append(i))
        for i, block in enumerate(getattr(model.bridge, stack))
    ]
    try:
        patch_on(model, prompt, effect, "residual", layers=[model.layers[stack] - 1], batch_size=8)
    finally:
        for handle in handles:
            handle.remove()
    assert calls.count(0) == 2 and calls.count(max(calls)) == 3  # both runs whole, then the variant
    assert torch.is_grad_enabled()


def test_undefined_shares_say_nothing_but_nats_do():
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    prompt = ps.SoftPrompt(2, init="vocab").bind(model)
    with torch.no_grad():
        prompt.embedding.zero_()
    effect = effect_on(model, prompt, make_inputs(model, prompt, task, limit=6))
    still = ps.causal.PromptEffect(effect.inputs, effect.plain, effect.plain, "shared")
    found = patch_on(model, prompt, still, "residual")
    assert not still.size.is_clear
    assert np.isnan(found.values.values).all() and np.isfinite(found.data["nats"].values).all()
