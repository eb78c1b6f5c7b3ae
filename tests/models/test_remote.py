"""`remote=`: the numbers and gradients of the model here, from a server in another process that has nothing of ours."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.probes import AttentionKL, AttentionMass
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer

SERVER = Path(__file__).with_name("stand_in_server.py")
TASKS = {"gpt2": "text-generation", "llama": "text-generation", "bert": "fill-mask"}
K = 3


@contextmanager
def serving(folder, task="text-generation", mode="ok"):
    """Run a server and give its address."""
    command = [sys.executable, str(SERVER), str(folder), mode, task]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=30)


@pytest.fixture
def key(monkeypatch):
    """A key, and names of models that are not looked up on the Hub."""
    import nnsight
    from nnsight.modeling.huggingface import _ID_CACHE

    class Same(dict):
        def __missing__(self, name):
            return name

        def __contains__(self, name):
            return True

    monkeypatch.setattr("nnsight.modeling.huggingface._ID_CACHE", Same(_ID_CACHE))
    monkeypatch.setattr(nnsight.CONFIG.API, "APIKEY", "a key")


def saved(family, folder):
    tiny_hf_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return ps.load_model(str(folder)), folder


def batch():
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 4:] = mask[1, :1] = 0
    return ids * mask, mask


def prompts(model):
    init = ps.init.Uniform(-1.0, 1.0)
    return {"v1": ps.SoftPrompt(K, init=init).bind(model), "v2": ps.DeepPrompt(K, init=init).bind(model)}


@pytest.mark.slow
@pytest.mark.parametrize("family", TASKS)
def test_numbers_and_gradients_are_those_of_the_model_here(family, tmp_path, key):
    here, folder = saved(family, tmp_path / "model")
    ids, mask = batch()
    with serving(folder, TASKS[family]) as address:
        there = ps.load_model(str(folder), backend="nnsight", remote=address)
        assert all(weight.is_meta for name, weight in there.twin.named_parameters() if ".0." in name)
        for name, prompt in prompts(here).items():
            pair = [prompt.copy(), prompt.copy()]
            found = []
            for model, one in zip((here, there), pair, strict=True):
                logits, cache = model.run_with_cache(ids, mask, one)
                loss = model.logits(ids, mask, one, via="hooks")[mask.bool()].log_softmax(-1)[:, 5].mean()
                loss.backward()
                found.append((logits.detach(), cache, [p.grad for p in one.parameters()]))
            torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
            for point in ("blocks.1.hook_resid_post", "blocks.2.attn.hook_pattern", "blocks.0.attn.hook_v"):
                torch.testing.assert_close(found[0][1][point], found[1][1][point], atol=1e-5, rtol=1e-4)
            for mine, theirs in zip(found[0][2], found[1][2], strict=True):
                torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-3)
                assert mine.abs().max() > 1e-5, name


class Doubled(ps.SoftPrompt):
    """A prompt of a user's own."""

    def place(self, model):
        placement = super().place(model)
        return ps.Placement(placement.length, 2 * placement.vectors)


@pytest.mark.slow
def test_hooks_of_a_user_probes_and_generation_run_there(tmp_path, key):
    here, folder = saved("llama", tmp_path / "model")
    ids, mask = batch()
    from tests.probes.inside import inputs

    with serving(folder) as address:
        there = ps.load_model(str(folder), backend="nnsight", remote=address)
        scale = torch.tensor(0.5, requires_grad=True)
        hooks = [
            ("blocks.1.attn.hook_z", lambda x, hook: x * scale),
            ("blocks.2.hook_resid_post", lambda x, hook: x + x.flip(-1)),
        ]
        found = []
        for model in (here, there):
            logits = model.logits(ids, mask, hooks=hooks)
            scale.grad = None
            logits[mask.bool()].logsumexp(-1).sum().backward()
            found.append((logits.detach()[mask.bool()], scale.grad))
        torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=1e-4)
        results = [
            ps.probe(model, prompts(here), inputs("llama"), [AttentionMass(), AttentionKL()], progress=False)
            for model in (here, there)
        ]
        for name in results[0]:
            np.testing.assert_allclose(results[0][name].values, results[1][name].values, atol=2e-5, rtol=1e-4)
        # A class that no server knows: what is sent are the vectors that it places.
        own = Doubled(K, init=ps.init.Uniform(-1.0, 1.0)).bind(here)
        pair = [model.logits(ids, mask, own, via="hooks") for model in (here, there)]
        torch.testing.assert_close(pair[0][mask.bool()], pair[1][mask.bool()], atol=1e-5, rtol=1e-4)
        v1 = prompts(here)["v1"]
        texts = [ps.generate(model, v1, ids, mask, max_new_tokens=3) for model in (here, there)]
        assert texts[0] == texts[1]
        with pytest.raises(ModelError, match=r"another shape, .* at blocks\.1\.hook_resid_post"):
            there.logits(ids, mask, hooks=[("blocks.1.hook_resid_post", lambda x, hook: x[:1])])
        with pytest.raises(ModelError, match="no prefix cache can be used"):
            there.logits(ids, mask, v1, via="prefix")
        assert not there.active_hooks()


@pytest.mark.slow
def test_training_and_scores_are_those_of_the_model_here(tmp_path, key):
    here, task = ps.load_model("embedded-causal"), ps.load_task("capital_en")
    folder = here.twin.config._name_or_path
    config = ps.TrainConfig(steps=3, batch_size=4, learning_rate=0.03)
    with serving(folder) as address:
        there = ps.load_model(folder, backend="nnsight", remote=address)
        runs = [
            ps.train(model, ps.SoftPrompt(K, seed=1), task, config, out=tmp_path / str(i), progress=False)
            for i, model in enumerate((here, there))
        ]
        losses = [run.history["loss"].dropna().to_numpy() for run in runs]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
        scores = [ps.evaluate(m, runs[0].prompt, task, limit=8, progress=False) for m in (here, there)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-4)
        assert there.identity["weights_hash"] != here.identity["weights_hash"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("error", "the request failed on http.*RuntimeError: CUDA out of memory on the server"),
        ("drop", "the connection to http.* failed.*lost"),
        ("version", r"refused the request: nnsight 0\.8\.1 is not 0\.7\.0.*the nnsight here is 0\.8\.1"),
        ("key", "refused the request: Missing or invalid API key.*nnsight login"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence_here(mode, message, tmp_path, key, monkeypatch):
    import nnsight

    _, folder = saved("gpt2", tmp_path / "model")
    if mode == "key":
        monkeypatch.setattr(nnsight.CONFIG.API, "APIKEY", None)
    with serving(folder, mode=mode) as address, pytest.raises(ModelError, match=message):
        ps.load_model(str(folder), backend="nnsight", remote=address)


def test_refusals_without_a_server(tmp_path, monkeypatch):
    import nnsight

    monkeypatch.setattr(nnsight.CONFIG.API, "APIKEY", None)
    with pytest.raises(ModelError, match=r"needs a key of NDIF.*NDIF_API_KEY"):
        ps.load_model("embedded-causal", backend="nnsight", remote=True)
    with pytest.raises(ModelError, match="backend='nnsight' and the name or folder"):
        ps.load_model("embedded-causal", remote=True)
    with pytest.raises(ModelError, match="not both"):
        ps.load_model("embedded-causal", backend="nnsight", remote=True, device_map="auto")
    with pytest.raises(ModelError, match=r"gpt2, llama, bert.*t5"):
        ps.load_model("embedded-seq2seq", backend="nnsight", remote=True)
