"""Causal measurements against their definitions, written out one record at a time."""

import numpy as np
import pytest
import torch
import xarray as xr

import promptscope as ps
from promptscope.causal.attribution import attribution_on, patch_error
from promptscope.causal.components import components
from promptscope.causal.effect import answers, effect_on
from promptscope.causal.faithfulness import faithfulness_on, hard_prompt
from promptscope.causal.inputs import make_inputs
from promptscope.causal.patching import arranged
from promptscope.causal.running import Condition, plain
from promptscope.causal.shifts import shift_on
from promptscope.causal.tokens import attribution_of_tokens
from promptscope.causal.words import compare_with_words_on
from promptscope.prompts import random_like
from promptscope.tasks import IGNORED
from tests.causal.naive import captured, gold_of
from tests.causal.planted import planted_model, planted_task
from tests.training.toy import toy_model

EPSILON = 1e-3
WORDS = ["the", "film", "is", "very", "good", "bad", "dull", "great", "a", "story", "Korea"]


def made(kind, model):
    init = ps.init.Uniform(-2.0, 2.0)
    return (ps.SoftPrompt(3, init=init) if kind == "v1" else ps.DeepPrompt(3, init=init)).bind(model)


def toy(labels=("pos",), n=6):
    """Texts of 1 to 4 words that differ from split to split; the labels take turns."""
    rows = {
        split: [
            {
                "text": " ".join(WORDS[(seed + 3 * i + 5 * j) % 11] for j in range(1 + i % 4)),
                "label": labels[i % len(labels)],
            }
            for i in range(n)
        ]
        for seed, split in enumerate(("train", "test"))
    }
    words = {"pos": "positive", "neg": "negative", "korea": "Korea"}
    return ps.Task.from_records(rows, template=("{text}", "{label}"), verbalizer=words)


def reading_position(example):
    (at,) = [i for i, target in enumerate(example.targets) if target != IGNORED]
    return at


@pytest.mark.parametrize("direction", ["restore", "destroy"])
@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_attribution_is_the_slope_of_patching(kind, direction):
    model = toy_model("gpt2", torch.float64)
    prompt = made(kind, model)
    effect = effect_on(model, prompt, make_inputs(model, prompt, toy(), limit=3))
    without, within = plain(model, prompt), Condition(prompt)
    base, other = (without, within) if direction == "restore" else (within, without)
    to, of = base.offsets(model)["encoder"], other.offsets(model)["encoder"]
    every = components(model, "heads")
    found = attribution_on(model, prompt, effect, "heads", direction, batch_size=2).data["nats_per_example"].values
    for one in every[1::5]:
        for i, example in enumerate(effect.inputs.examples):
            mine, theirs = (captured(model, example, c, one.point) for c in (base, other))
            change = theirs[:, of:, one.head] - mine[:, to:, one.head]

            def gold(step, example=example, one=one, change=change):
                def write(x, hook):
                    x = x.clone()
                    x[:, to:, one.head] += step * change
                    return x

                return gold_of(model, example, base, [(one.point, write)])

            slope = (gold(EPSILON) - gold(-EPSILON)) / (2 * EPSILON)
            place = arranged(np.arange(len(every), dtype=float)[None], every)[0] == every.index(one)
            expected = slope if direction == "restore" else -slope
            assert found[i][place].item() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert np.abs(found).max() > 0.03


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_a_tokens_attribution_is_the_slope_of_the_loss_in_its_size(kind):
    model = toy_model("gpt2", torch.float64)
    prompt = made(kind, model)
    inputs = make_inputs(model, prompt, toy(), limit=5)
    found = attribution_of_tokens(model, prompt, inputs, batch_size=2)

    def gold(token, size):
        scaled = prompt.copy()
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter[..., token, :] *= size
        return np.mean([gold_of(model, example, Condition(scaled)) for example in inputs.examples])

    slopes = [(gold(i, 1 + EPSILON) - gold(i, 1 - EPSILON)) / (2 * EPSILON) for i in range(3)]
    np.testing.assert_allclose(found, slopes, rtol=1e-2, atol=1e-4)
    assert np.abs(found).max() > 0.01


def test_the_error_of_an_estimate_is_the_mean_distance():
    def result(nats):
        return ps.ProbeResult(
            "patch", xr.Dataset({"values": ("layer", nats), "nats": ("layer", nats)}, {"layer": range(4)})
        )

    found = patch_error(result([1.0, -2.0, 4.0, 0.0]), result([1.0, -2.0, 1.0, 0.0]))
    assert found["mean_error"] == pytest.approx(3 / 4) and found["largest"] == 4.0
    assert found["top_agree"] == 1.0  # fewer than ten: all


def test_answers_compare_the_gold_label_with_the_best_other():
    model, task = toy_model("gpt2"), toy(("pos", "neg", "korea"))
    inputs = make_inputs(model, None, task, limit=6)
    found = answers(model, inputs, Condition(), batch_size=4)
    for i, example in enumerate(inputs.examples):
        at = reading_position(example)
        with torch.no_grad():
            logits = model.twin(torch.tensor([example.input_ids])).logits[0, at]
        gold = example.targets[at]
        others = [float(logits[label]) for label in inputs.labels if label != gold]
        assert found.difference[i] == pytest.approx(float(logits[gold]) - max(others), abs=1e-4)
        assert found.gold[i] == pytest.approx(float(logits.log_softmax(-1)[gold]), abs=1e-4)
        assert found.correct[i] == (float(logits[gold]) > max(others))
    assert 0 < found.correct.mean() < 1


@pytest.mark.parametrize("positions", ["shared", "own"])
def test_the_run_without_a_prompt_has_the_text_where_it_was_asked_to_be(positions):
    model = toy_model("gpt2")
    prompt = made("v1", model)
    inputs = make_inputs(model, prompt, toy(), limit=4)
    effect = effect_on(model, prompt, inputs, positions)
    for i, example in enumerate(inputs.examples):
        ids, at = torch.tensor([example.input_ids]), reading_position(example)
        places = torch.arange(ids.shape[1])[None] + (prompt.length if positions == "shared" else 0)
        with torch.no_grad():
            logits = model.twin(ids, position_ids=places).logits[0, at]
        assert effect.plain.gold[i] == pytest.approx(float(logits.log_softmax(-1)[example.targets[at]]), abs=1e-4)


def log_p(model, example, condition):
    """Return the log-probabilities where the answer is predicted, of one record alone."""
    stream = captured(model, example, condition, "unembed.hook_in")[0]
    at = condition.offsets(model)["encoder"] + reading_position(example)
    return model.unembed(stream[at]).log_softmax(-1)


def test_faithfulness_is_that_of_each_record_alone():
    model, task = planted_model(alive={(0, 0), (0, 1), (1, 0), (1, 1)}), planted_task()
    prompt = ps.SoftPrompt(2, init="text: good great").bind(model)
    prompt.embedding.data *= 6
    effect = effect_on(model, prompt, make_inputs(model, prompt, task, limit=8))
    assert effect.size.is_clear
    table = faithfulness_on(model, prompt, effect, {"its own": [9, 12], "other": [7]}, batch_size=3, n_random=0)
    rows = table.set_index("reading")
    readings = {"the prompt": prompt, "its own": hard_prompt(model, [9, 12]), "other": hard_prompt(model, [7])}
    for name, one in (readings | {"no prompt": None}).items():
        kls, golds = [], []
        for example in effect.inputs.examples:
            p, q = (log_p(model, example, Condition(made)).double() for made in (prompt, one))
            kls.append(float((p.exp() * (p - q)).sum()))
            golds.append(gold_of(model, example, Condition(one)))
        assert rows["kl"][name] == pytest.approx(np.mean(kls), rel=1e-3, abs=1e-5)
        share = np.mean(golds - effect.plain.gold) / effect.gold.mean()
        assert rows["share"][name] == pytest.approx(share, rel=1e-3, abs=1e-4)
    assert rows["share"]["the prompt"] == pytest.approx(1) and rows["kl"].drop("the prompt").min() > 0.01


def test_skill_neurons_are_chosen_on_fit_and_scored_on_the_others():
    model, task = toy_model("gpt2"), toy(("pos", "neg"), n=10)
    prompt = made("v1", model)
    found = ps.causal.skill_neurons(model, prompt, task, share=0.05, limit=10, n_random=1, batch_size=3)
    points = [f"blocks.{layer}.mlp.hook_post" for layer in range(model.shape.n_layers)]
    activations, labels = {}, {}
    for split in ("train", "test"):
        rows = []
        for example in make_inputs(model, prompt, task, split, limit=10).examples:
            at, row = prompt.length + reading_position(example), []
            keep = [(point, lambda x, hook, at=at, row=row: row.append(x[0, at].numpy())) for point in points]
            gold_of(model, example, Condition(prompt), keep)
            rows.append(row)
        activations[split] = np.array(rows)
        labels[split] = np.array([record.label == found.labels[1] for record in task.split(split)])

    def told(split):
        agree = (activations[split] > activations["train"].mean(0)) == labels[split][:, None, None]
        return np.maximum(agree.mean(0), 1 - agree.mean(0))

    np.testing.assert_allclose(found.accuracy, told("test"))
    on_fit = told("train")
    n = round(0.05 * on_fit.size)
    assert len(found.top) == n and {on_fit[neuron] for neuron in found.top} <= set(np.sort(on_fit.ravel())[-n:])
    assert not np.array_equal(np.argsort(-on_fit.ravel(), kind="stable")[:n], np.argsort(-found.accuracy.ravel())[:n])


def shifts_of(model, inputs, before, after, layer):
    """Return (record, d): how the residual stream where the answer is predicted moves, record by record."""
    point, rows = f"blocks.{layer}.hook_resid_post", []
    for example in inputs.examples:
        at = reading_position(example)
        moved, left = (
            captured(model, example, c, point)[0, c.offsets(model)["encoder"] + at].numpy() for c in (after, before)
        )
        rows.append(moved - left)
    return np.array(rows)


def test_shifts_of_a_rank_are_those_of_a_singular_value_decomposition():
    """After the last layer nothing follows but the head: what a shift does there is written out."""
    model = toy_model("gpt2", torch.float64)
    prompt, task, last = made("v2", model), toy(), model.shape.n_layers - 1
    inputs, fitted = (make_inputs(model, prompt, task, split, limit=6) for split in ("test", "train"))
    effect = effect_on(model, prompt, inputs)
    found = shift_on(model, prompt, effect, fitted, layers=[last], ranks=(1, 2, 4), batch_size=4)
    before, after = plain(model, prompt), Condition(prompt)
    own, theirs = (shifts_of(model, some, before, after, last) for some in (inputs, fitted))
    mean = theirs.mean(0)
    directions = np.linalg.svd(theirs - mean)[2]
    for rank in (1, 2, 4):
        basis = directions[: rank - 1]
        added = mean + (own - mean) @ basis.T @ basis
        golds = []
        for example, vector in zip(inputs.examples, added, strict=True):
            at = reading_position(example)
            left = captured(model, example, before, f"blocks.{last}.hook_resid_post")[0, at]
            logits = model.unembed(model.twin.transformer.ln_f(left + torch.tensor(vector)))
            golds.append(float(logits.log_softmax(-1)[example.targets[at]]))
        got = found.data["nats_per_example"].sel(shift=f"rank {rank}", layer=last).values
        np.testing.assert_allclose(got, np.array(golds) - effect.plain.gold, rtol=1e-4, atol=1e-5)
    by_rank = found.data["nats"].sel(layer=last)
    assert abs(float(by_rank.sel(shift="rank 2") - by_rank.sel(shift="rank 1"))) > 1e-4


def test_words_are_compared_by_the_mean_shifts():
    model = toy_model("gpt2", torch.float64)
    prompt, task, layer = made("v1", model), toy(), 1
    words = hard_prompt(model, [9, 12])
    inputs, fitted = (make_inputs(model, prompt, task, split, limit=3) for split in ("test", "train"))
    effect = effect_on(model, prompt, inputs)
    found = compare_with_words_on(model, prompt, effect, fitted, {"words": words}, layers=[layer], batch_size=2)
    random = random_like(prompt, 0).bind(model, strict=False)
    mine, theirs, null = (
        shifts_of(model, fitted, plain(model, one), Condition(one), layer).mean(0) for one in (prompt, words, random)
    )

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    (row,) = found.cosine.itertuples(index=False)
    assert row.cosine == pytest.approx(cosine(mine, theirs), abs=1e-5)
    assert row.random_prompt == pytest.approx(cosine(mine, null), abs=1e-5)
    assert abs(cosine(mine, null) - cosine(theirs, null)) > 1e-3
    said = found.heads.iloc[0]
    golds = [gold_of(model, e, Condition(words)) - gold_of(model, e, plain(model, words)) for e in inputs.examples]
    assert said["effect"] == pytest.approx(np.mean(golds), abs=1e-5)
    assert said["expected"] == pytest.approx(said["top"] ** 2 / len(components(model, "heads")))
