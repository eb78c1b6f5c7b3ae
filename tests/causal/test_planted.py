"""The answer is planted: what each measurement must find in a model made by hand."""

import numpy as np
import pytest
import torch
import xarray as xr

import promptscope as ps
from promptscope.causal.carriers import carriers_on
from promptscope.causal.components import components
from promptscope.causal.cuts import cut_layers_on
from promptscope.causal.effect import effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.patching import patch_on, patch_places
from promptscope.causal.paths import paths_on
from promptscope.causal.shifts import shift_on
from promptscope.causal.swaps import swap_layers_on
from promptscope.causal.tokens import keep_tokens_on, redundancy
from tests.causal.planted import UNSEEN, planted_model, planted_prompt, planted_task

EVERY = {(layer, head) for layer in range(2) for head in range(2)}


def effect_of(model, prompt, task=None):
    return effect_on(model, prompt, make_inputs(model, prompt, task or planted_task()))


@pytest.fixture(scope="module")
def one_head():
    """A v1 prompt in a model in which only layer 0, head 1 writes anything."""
    model = planted_model(alive={(0, 1)})
    prompt = ps.SoftPrompt(2, init="text: good great").bind(model)
    prompt.embedding.data *= 6
    effect = effect_of(model, prompt)
    assert effect.size.is_clear
    return model, prompt, effect


@pytest.mark.parametrize("direction", ["restore", "destroy"])
def test_the_one_head_that_acts_has_the_whole_effect(one_head, direction):
    model, prompt, effect = one_head
    shares = patch_on(model, prompt, effect, "heads", direction).values.values
    assert shares[0, 1] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(np.delete(shares.ravel(), 1), 0, atol=1e-4)


def test_the_smallest_set_is_that_head_and_the_paths_go_through_it(one_head):
    model, prompt, effect = one_head
    order = patch_on(model, prompt, effect, "heads")
    found = carriers_on(model, prompt, effect, order, n_random=4)
    assert [(one.layer, one.head) for one in found.heads] == [(0, 1)]
    assert found.table["share"].iloc[0] == pytest.approx(1, abs=1e-4)
    paths = paths_on(model, prompt, effect, components(model, "heads"))
    whole = paths.values.sel(token=-1)
    assert float(whole.sel(head="layer 0, head 1")) == pytest.approx(1, abs=1e-4)
    assert all(
        abs(float(whole.sel(head=str(h)))) < 1e-4 for h in components(model, "heads") if (h.layer, h.head) != (0, 1)
    )


def test_the_search_ends_at_the_smallest_set(one_head):
    """The head that acts is third in the order: after 1, 2 and 4 heads, 3 are tried."""
    model, prompt, effect = one_head
    order = patch_on(model, prompt, effect, "heads")
    order.data["nats"] = np.sign(effect.size.mean) * xr.DataArray([[4.0, 2.0], [3.0, 1.0]], dims=("layer", "head"))
    found = carriers_on(model, prompt, effect, order, n_random=0)
    assert [(one.layer, one.head) for one in found.heads] == [(0, 0), (1, 0), (0, 1)]
    assert found.table["size"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found.table["share"], [0, 0, 1, 1], atol=1e-4)


def test_other_seeds_draw_other_sets(one_head):
    model, prompt, effect = one_head
    order = patch_on(model, prompt, effect, "heads")
    random = [carriers_on(model, prompt, effect, order, n_random=1, seed=seed).table["random"][0] for seed in range(12)]
    assert {abs(round(share)) for share in random} == {0, 1}  # one of four heads: it is the one, or not


def test_the_prompt_is_read_in_layer_0_only(one_head):
    model, prompt, effect = one_head
    np.testing.assert_allclose(cut_layers_on(model, prompt, effect, "from").values, [0, 1], atol=1e-4)
    np.testing.assert_allclose(cut_layers_on(model, prompt, effect, "up_to").values, [0, 0], atol=1e-4)
    np.testing.assert_allclose(cut_layers_on(model, prompt, effect, "window", width=1).values, [0, 1], atol=1e-4)


def test_only_the_reading_position_matters_where_nothing_moves_on(one_head):
    model, prompt, effect = one_head
    places = patch_places(model, prompt, effect).values
    np.testing.assert_allclose(places.sel(place="answer"), 1, atol=1e-4)
    np.testing.assert_allclose(places.drop_sel(place="answer"), 0, atol=1e-4)


@pytest.mark.parametrize(("layer", "head"), sorted(EVERY))
def test_a_deep_prompt_in_one_layer_and_one_head(layer, head):
    model = planted_model(alive=EVERY)
    prompt = planted_prompt(model, layer, [head])
    effect = effect_of(model, prompt)
    assert effect.size.is_clear
    shares = patch_on(model, prompt, effect, "heads").values
    last = layer == 1  # of layer 0, layer 1 hands things on: its heads carry some, and only together with it
    assert float(shares.sel(layer=layer, head=head)) == pytest.approx(1, abs=1e-3)
    if last:
        np.testing.assert_allclose(np.delete(shares.values.ravel(), 2 * layer + head), 0, atol=1e-4)
    else:
        np.testing.assert_allclose(shares.sel(layer=0, head=1 - head), 0, atol=1e-4)
    if last:
        found = carriers_on(model, prompt, effect, patch_on(model, prompt, effect, "heads"), n_random=2)
        assert [(one.layer, one.head) for one in found.heads] == [(layer, head)]


def test_a_prompt_that_adds_a_constant_is_a_direction_at_that_layer_and_not_before():
    model = planted_model(alive={(1, 0)}, own_values=False)
    prompt = planted_prompt(model, 1, [0])
    task = planted_task()
    effect = effect_of(model, prompt, task)
    found = shift_on(model, prompt, effect, make_inputs(model, prompt, task, "train"), others={})
    assert float(found.values.sel(shift="rank 1", layer=1)) == pytest.approx(1, abs=1e-4)
    assert float(found.values.sel(shift="rank 1", layer=0)) == pytest.approx(0, abs=1e-4)
    assert abs(float(found.values.sel(shift="random direction", layer=1)) - 1) > 0.1


def one_of_two_tokens(seed=1):
    """A deep prompt in layer 1 whose second token is seen, and whose first is not."""
    model = planted_model(alive={(1, 0)}, own_values=False)
    prompt = planted_prompt(model, 1, [0], seed=seed)
    with torch.no_grad():
        prompt.numbers["self_keys"].view(2, 2, -1)[0, :, 0] = UNSEEN
    return model, prompt, effect_of(model, prompt)


def test_a_window_of_one_layer_is_that_layer():
    model, prompt, effect = one_of_two_tokens()
    np.testing.assert_allclose(cut_layers_on(model, prompt, effect, "window", width=1).values, [1, 0], atol=1e-4)


def test_the_edge_of_a_token_is_its_own():
    model, prompt, effect = one_of_two_tokens()
    paths = paths_on(model, prompt, effect, components(model, "heads")[2:3])
    assert paths.data["token"].values.tolist() == [-1, 0, 1]
    np.testing.assert_allclose(paths.values.values[0], [1, 0, 1], atol=1e-4)


@pytest.mark.parametrize(("seed", "sign"), [(5, 1), (1, -1)])
def test_the_best_token_is_the_one_that_acts_whether_it_helps_or_harms(seed, sign):
    model, prompt, effect = one_of_two_tokens(seed)
    assert effect.size.is_clear and sign * effect.size.mean > 0
    table = keep_tokens_on(model, prompt, effect, sizes=[1], n_random=1, greedy=1).set_index("way")
    for way in ("importance", "greedy"):
        assert table["tokens"][way] == "1" and table["share"][way] == pytest.approx(1, abs=1e-4)


def test_tokens_that_do_the_same_stand_in_for_each_other():
    model = planted_model(alive={(1, 0)}, own_values=False)
    prompt = planted_prompt(model, 1, [0])
    with torch.no_grad():
        values = prompt.numbers["self_values"].view(2, 2, -1)
        values[0] = values[1]
    found = redundancy(model, prompt, effect_of(model, prompt))
    assert found == pytest.approx({"alone": 2, "missing": 0}, abs=1e-3)
    found = redundancy(*one_of_two_tokens())
    assert found == pytest.approx({"alone": 1, "missing": 1}, abs=1e-3)


def test_keys_route_and_values_store_where_they_are_made_to():
    model = planted_model(alive={(1, 0)}, own_values=False)
    prompt = planted_prompt(model, 1, [0])
    other = planted_prompt(model, 1, [0], seed=7)  # the same keys, other values
    lost = swap_layers_on(model, prompt, effect_of(model, prompt), other).values.sel(layer=-1)
    assert float(lost.sel(role="keys")) == pytest.approx(0, abs=1e-5)
    assert abs(float(lost.sel(role="values"))) > 0.1


def test_a_prompt_that_does_nothing_has_no_shares_and_no_claims():
    model, task = planted_model(alive=EVERY), planted_task()
    prompt = planted_prompt(model, 0, [])  # nobody sees it
    effect = effect_of(model, prompt, task)
    np.testing.assert_allclose(effect.gold, 0, atol=1e-5)
    assert not effect.size.is_clear
    assert np.isnan(patch_on(model, prompt, effect, "heads").values).all()
    account = ps.explain(model, prompt, task, settings=ps.account.Settings(few=8, n_random=1))
    assert "no clear effect" in account["answers"].sentences[0]
    assert "number of heads" not in " ".join(account["routes"].sentences)
    assert not account["routes"].numbers and not account["direction"].numbers
    assert any("undefined" in reason for reason in account["routes"].omitted)
