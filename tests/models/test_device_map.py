"""`device_map=`: weights that lie on disk give the numbers and gradients of those in memory."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.probes import AttentionMass
from tests.probes.inside import inputs
from tests.tiny_models import tiny_hf_model

K = 3
ROOTS = {
    "gpt2": ("transformer.wte transformer.wpe transformer.drop transformer.ln_f lm_head", "transformer.h"),
    "llama": ("model.embed_tokens model.norm model.rotary_emb lm_head", "model.layers"),
    "bert": ("bert.embeddings cls", "bert.encoder.layer"),
}


def spread(family):
    """Everything in memory but the layers from the second on."""
    rest, layers = ROOTS[family]
    return dict.fromkeys(rest.split(), "cpu") | {f"{layers}.{i}": "disk" if i else "cpu" for i in range(3)}


@pytest.fixture
def both(request, tmp_path):
    family = request.param
    tiny_hf_model(family).save_pretrained(tmp_path / "model")
    here = ps.load_model(str(tmp_path / "model"))
    there = ps.load_model(
        str(tmp_path / "model"), backend="nnsight", device_map=spread(family), offload_folder=tmp_path / "off"
    )
    return here, there, family


@pytest.mark.parametrize("both", [pytest.param(f, marks=pytest.mark.slow) for f in ROOTS], indirect=True)
def test_numbers_and_gradients_are_those_of_weights_in_memory(both):
    here, there, family = both
    on_disk = [name for name, weight in there.bridge.original_model.named_parameters() if weight.is_meta]
    assert any(".1." in name for name in on_disk) and not any(".0." in name for name in on_disk)
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 4:] = mask[1, :1] = 0
    for make in (ps.SoftPrompt, ps.DeepPrompt):
        prompt = make(K, init=ps.init.Uniform(-1.0, 1.0)).bind(here)
        found = []
        for model, one in ((here, prompt.copy()), (there, prompt.copy())):
            logits, cache = model.run_with_cache(ids, mask, one)
            model.logits(ids, mask, one, via="hooks")[mask.bool()].log_softmax(-1)[:, 5].mean().backward()
            found.append((logits.detach(), cache, [p.grad for p in one.parameters()]))
        torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
        for point in there.hook_points()["name"]:
            if not point.endswith("hook_attn_scores"):
                torch.testing.assert_close(found[0][1][point], found[1][1][point], atol=1e-5, rtol=1e-4)
        for mine, theirs in zip(found[0][2], found[1][2], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-3)
    prompts = {"v1": ps.SoftPrompt(K, seed=1)}
    results = [ps.probe(model, prompts, inputs(family), AttentionMass(), progress=False) for model in (here, there)]
    np.testing.assert_allclose(*(result["attention_mass"].values for result in results), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("both", ["llama"], indirect=True)
def test_the_rest_runs_and_what_cannot_is_refused(both, tmp_path):
    here, there, _ = both
    ids = torch.tensor([[5, 6, 7]])
    prompt = ps.SoftPrompt(K, seed=2).bind(here)
    assert ps.generate(there, prompt, ids, max_new_tokens=3) == ps.generate(here, prompt, ids, max_new_tokens=3)
    with pytest.raises(ModelError, match="not in this memory"):
        there.hidden(ids)
    with pytest.raises(ModelError, match="not in this memory"):
        prompt.past_key_values(there, {"input_ids": ids})
    with pytest.raises(ModelError, match="not in this memory"):
        there.twin(ids)
    # Keys of PEFT's prefix tuning are turned by positions, for which the configuration is enough.
    deep = ps.DeepPrompt(K, init=ps.init.Uniform(-1.0, 1.0)).bind(here)
    ps.write_peft(here, deep, tmp_path / "adapter")
    loaded = ps.load_prompt(tmp_path / "adapter", there)
    torch.testing.assert_close(there.logits(ids, prompt=loaded), here.logits(ids, prompt=deep), atol=1e-5, rtol=1e-4)
    # The same checkpoint, placed otherwise, is the same model: what a store holds is taken from it.
    again = ps.load_model(there.name, backend="nnsight", device_map="cpu")
    assert again.identity == there.identity


def test_a_map_that_names_no_device_is_refused():
    with pytest.raises(ModelError, match=r"cannot place .* with device_map='nowhere'"):
        ps.load_model("embedded-causal", backend="nnsight", device_map="nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.to(torch.int32), "must be floating-point numbers"),
        (lambda weight: weight[:-1], "have other sizes"),
        (lambda weight: None, "lack 1 of a GPT2LMHeadModel"),
    ],
)
def test_damaged_weights_are_refused_as_those_in_memory_are(change, message, tmp_path):
    tiny_hf_model("gpt2").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "transformer.h.1.mlp.c_fc.bias"
    changed = change(tensors.pop(name))
    save_file(
        tensors if changed is None else {**tensors, name: changed.clone()},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match=message):
        ps.load_model(tmp_path, backend="nnsight", device_map={"": "cpu"})


def test_a_configuration_too_large_for_its_weights(tmp_path):
    tiny_hf_model("gpt2").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_layer": 10**6}))
    with pytest.raises(ModelError, match="more numbers than its weights can hold"):
        ps.load_model(tmp_path, backend="nnsight", device_map={"": "cpu"})
