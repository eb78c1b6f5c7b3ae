"""One forward per condition and batch for all probes together; none the second time."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing.reductions import StorageWeakRef

import promptscope as ps
from promptscope.errors import StoreError
from promptscope.probes import AttentionKL, AttentionVariability, Entries, Probe, probe
from promptscope.store import ActivationStore, Capture
from tests.probe_inputs import LENGTHS, Residual, TokenNorms, counting, encoded
from tests.tiny_models import CAUSAL, hooked

ALL = [AttentionKL(), AttentionKL("per_query"), AttentionVariability(7)]
BATCHES = 3  # of 7 inputs, 3 at a time


def prompts():
    return {"v1": ps.SoftPrompt(4), "v2": ps.DeepPrompt(3)}


def run(model, probes, named, store, **options):
    options = {"batch_size": 3, "progress": False} | options
    return probe(model, named, encoded(), probes, store=store, **options)


def test_all_probes_share_one_forward_per_condition_and_batch(tmp_path):
    model, passes = counting()
    run(model, ALL, prompts(), tmp_path)
    assert len(passes) == 3 * BATCHES  # plain, v1, v2
    assert [p["size"] for p in passes[:3]] == [3, 3, 3]
    assert sum(p["size"] for p in passes) == 3 * len(LENGTHS)


def test_a_second_call_costs_no_forward_and_gives_the_same_numbers(tmp_path):
    model, passes = counting()
    first = run(model, ALL, prompts(), tmp_path)
    passes.clear()
    second = run(model, ALL, prompts(), tmp_path, batch_size=8)
    assert not passes
    for name, result in first.items():
        np.testing.assert_array_equal(result.values, second[name].values)
        np.testing.assert_array_equal(result.data["low"], second[name].data["low"])


def test_inputs_of_like_lengths_share_a_batch(tmp_path, monkeypatch):
    model, forward, widths = hooked("gpt2"), type(hooked("gpt2")).forward_hooked, []

    def counted(self, input_ids, *arguments, **options):
        widths.append(input_ids.shape[1])
        return forward(self, input_ids, *arguments, **options)

    monkeypatch.setattr(type(model), "forward_hooked", counted)
    run(model, [AttentionKL()], {"v1": ps.SoftPrompt(4)}, tmp_path)
    by_length = sorted(LENGTHS, reverse=True)
    assert widths == [by_length[start] for start in (0, 0, 3, 3, 6, 6)]  # plain and prompted, batch by batch


def test_tokens_that_no_capture_reads_do_not_run(tmp_path, monkeypatch):
    model, forward, widths = hooked("gpt2"), type(hooked("gpt2")).forward_hooked, []

    def counted(self, input_ids, *arguments, **options):
        widths.append(input_ids.shape[1])
        return forward(self, input_ids, *arguments, **options)

    monkeypatch.setattr(type(model), "forward_hooked", counted)
    run(model, [AttentionVariability(5)], None, tmp_path / "alone")
    assert max(LENGTHS) > 5 == max(widths)
    run(model, [AttentionVariability(5), AttentionKL()], prompts(), tmp_path / "both")
    assert max(widths) == max(LENGTHS)  # the other probe reads everything


def test_the_pass_is_as_long_as_the_capture_that_reads_furthest(tmp_path):
    probes = [AttentionVariability(3, "short"), AttentionVariability(7, "long")]
    together = run(hooked("gpt2"), probes, None, tmp_path / "both")
    for one in probes:
        alone = run(hooked("gpt2"), [one], None, tmp_path / one.name)[one.name]
        np.testing.assert_allclose(together[one.name].values, alone.values, atol=1e-6)


def test_only_what_is_missing_is_run(tmp_path):
    model, passes = counting()
    named = prompts()
    run(model, [AttentionVariability(7)], None, tmp_path)
    assert [p["prompt"] for p in passes] == [None] * BATCHES
    passes.clear()
    run(model, [AttentionVariability(5)], None, tmp_path)  # another N is another capture
    assert len(passes) == BATCHES
    passes.clear()
    run(model, [AttentionKL()], {"v1": named["v1"]}, tmp_path)
    assert [p["prompt"] for p in passes] == [None, named["v1"]] * BATCHES
    passes.clear()
    run(model, [AttentionKL(), AttentionVariability(7)], named, tmp_path)  # the plain pass is there
    assert [p["prompt"] for p in passes] == [named["v2"]] * BATCHES
    passes.clear()
    with torch.no_grad():
        named["v1"].embedding[0, 0] += 1.0  # trained on: another prompt
    run(model, [AttentionKL()], named, tmp_path)
    assert [p["prompt"] for p in passes] == [named["v1"]] * BATCHES


def test_a_paired_capture_runs_the_plain_pass_once_for_all_prompts(tmp_path):
    model, passes = counting()
    named = prompts()
    run(model, AttentionKL("per_query"), named, tmp_path)
    assert [p["prompt"] for p in passes] == [None, named["v1"], named["v2"]] * BATCHES


def test_other_inputs_and_another_model_never_share_an_entry(tmp_path):
    model, passes = counting()
    run(model, AttentionVariability(3), None, tmp_path)
    passes.clear()
    probe(model, None, encoded(seed=1), AttentionVariability(3), store=tmp_path, progress=False, batch_size=3)
    assert len(passes) == BATCHES
    result = probe(hooked("gpt2", seed=5), None, encoded(), AttentionVariability(3), store=tmp_path, progress=False)
    assert len(ActivationStore(tmp_path).entries()) == 3
    other = run(model, AttentionVariability(3), None, tmp_path)
    assert np.abs(result["attention_variability"].values - other["attention_variability"].values).max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_batch_and_shard_size_change_nothing(tmp_path, family):
    named = prompts()
    inputs = encoded(family=family)
    results = [
        probe(
            hooked(family),
            named,
            inputs,
            ALL,
            store=ActivationStore(tmp_path / str(i), shard),
            batch_size=b,
            progress=False,
        )
        for i, (b, shard) in enumerate([(1, 64), (3, 2), (7, 4)])
    ]
    for name, result in results[0].items():
        for other in results[1:]:
            for variable in result.data.data_vars:  # intervals, which leave inputs out, too
                found = other[name].data[variable]
                np.testing.assert_allclose(result.data[variable], found, atol=2e-6, err_msg=f"{name}, {variable}")


def test_order_of_the_inputs_changes_nothing_but_their_order():
    named, inputs = prompts(), encoded()
    there = probe(hooked("gpt2"), named, inputs, ALL, progress=False)
    back = probe(hooked("gpt2"), named, inputs[::-1], ALL, progress=False)
    for name, result in there.items():
        np.testing.assert_allclose(result.values, back[name].values, atol=1e-6)
    examples = back["attention_kl"].data["per_example"]
    assert examples["example"].values.tolist() == [example.id for example in inputs[::-1]]
    np.testing.assert_allclose(
        examples.sel(example="x2"), there["attention_kl"].data["per_example"].sel(example="x2"), atol=1e-6
    )


def test_limit_takes_the_first_inputs(tmp_path):
    model, passes = counting()
    result = run(model, AttentionKL(), {"v1": ps.SoftPrompt(2)}, tmp_path, limit=3)["attention_kl"]
    assert result.data["example"].values.tolist() == ["x0", "x1", "x2"]
    assert sum(p["size"] for p in passes) == 6


def test_a_deleted_shard_alone_is_computed_anew(tmp_path):
    model, passes = counting()
    store = ActivationStore(tmp_path, shard_size=3)
    first = run(model, AttentionVariability(3), None, store)
    next(tmp_path.glob("*/shard-00001.safetensors")).unlink()
    passes.clear()
    second = run(model, AttentionVariability(3), None, store)
    assert [p["size"] for p in passes] == [3]
    np.testing.assert_array_equal(first["attention_variability"].values, second["attention_variability"].values)


def test_an_altered_shard_is_refused_by_name(tmp_path):
    run(hooked("gpt2"), AttentionVariability(3), None, tmp_path)
    (path,) = tmp_path.glob("*/shard-00000.safetensors")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-00000\.safetensors was truncated or changed"):
        run(hooked("gpt2"), AttentionVariability(3), None, tmp_path)


def test_half_precision_is_kept_in_single(tmp_path):
    named = {"v1": ps.SoftPrompt(4, init=ps.init.Uniform(-2.0, 2.0))}
    half = run(hooked("gpt2", torch.bfloat16), ALL, named, tmp_path)
    named = {"v1": ps.SoftPrompt(4, init=ps.init.Uniform(-2.0, 2.0))}
    full = run(hooked("gpt2"), ALL, named, tmp_path)
    for name, result in half.items():
        relative = np.abs(result.values - full[name].values).max() / full[name].values.max()
        assert 1e-6 < relative < 0.1
    parts = [load_file(path)["values"] for path in tmp_path.glob("*/*.safetensors")]
    assert len(parts) == 8 and all(part.dtype == torch.float32 for part in parts)


class Both(Probe):
    """Keeps token norms and the residual where the label is predicted, of both passes."""

    name = "both"

    def captures(self):
        return {"norms": TokenNorms(), "residual": Residual()}

    def compute(self, entries: Entries):
        self.seen = {name: list(entries.pairs(name, "v1")) for name in self.captures()}
        norms = entries.paired("residual", "v1", lambda a, b: np.linalg.norm(a["values"] - b["values"], axis=-1))
        return entries.result({"v1": norms}, dims=("layer",))


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5"])
def test_what_lands_in_the_store_is_what_the_model_computes_alone(family):
    """Ragged captures and picked positions, with and without a prompt, against each input run by itself."""
    model, inputs, prompt = hooked(family), encoded(family=family), ps.SoftPrompt(4).bind(hooked(family))
    if family == "bert":  # a mask in the middle, where the label is predicted
        inputs = [type(e)(**(vars(e) | {"label_start": len(e.input_ids) // 2})) for e in inputs]
    keeper = Both()
    probe(model, {"v1": prompt}, inputs, keeper, batch_size=3, progress=False)
    names = model.site("hook_resid_post")
    for side, made in enumerate((prompt, None)):
        k = 4 if made is not None else 0
        norms = [part[side] for part in keeper.seen["norms"]]
        rows = [(part["values"][i], part["lengths"][i]) for part in norms for i in range(len(part["lengths"]))]
        residuals = np.concatenate([part[side]["values"] for part in keeper.seen["residual"]])
        for example, (kept, length), residual in zip(inputs, rows, residuals, strict=True):
            alone = {}
            decoder = torch.tensor([example.decoder_input_ids]) if example.decoder_input_ids else None
            hooks = [(n, lambda x, hook, to=alone, n=n: to.__setitem__(n, x[0])) for n in names]
            with torch.no_grad():
                model.forward_hooked(
                    torch.tensor([example.input_ids]), prompt=made, hooks=hooks, decoder_input_ids=decoder
                )
            truth = torch.stack([alone[name] for name in names])[:, k:]
            assert length == len(example.input_ids)
            np.testing.assert_allclose(kept[:, :length], truth.norm(dim=-1), atol=1e-4)
            answer = {"bert": length // 2, "t5": 0}.get(family, length - 1)
            np.testing.assert_allclose(residual, truth[:, answer], atol=1e-4)


@pytest.mark.parametrize("family", CAUSAL)
def test_no_activation_outlives_its_layer(tmp_path, family):
    """Neither the model nor a view of it may keep a pattern alive: memory would grow with depth and batches."""
    storages: list[StorageWeakRef] = []
    alive: list[int] = []

    @dataclass(frozen=True)
    class Corner(Capture):
        site: str = "attn.hook_pattern"

        def reduce(self, x, layer, view):
            alive.append(sum(not storage.expired() for storage in storages))
            storages.append(StorageWeakRef(x.untyped_storage()))
            return x[:, 0, 0, :1]

    class Corners(Probe):
        name = "corners"
        conditions = "plain"

        def captures(self):
            return {"corner": Corner()}

        def compute(self, entries):
            return entries.result(np.concatenate([p["values"] for p in entries.plain("corner")]), dims=("layer", "one"))

    run(hooked(family), Corners(), None, tmp_path)
    assert len(alive) == 3 * BATCHES
    assert max(alive) == 0
