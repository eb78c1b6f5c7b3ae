"""A prompt in a plain call of transformers says what it says here; prompts from plain files; prompts on the Hub."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import promptscope as ps
from promptscope.errors import PromptError
from tests.tiny_models import CAUSAL, bare, hooked

K, NEW = 4, 6
GREEDY = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def texts(side):
    """Three texts of 4, 6 and 7 tokens, padded on one side."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 200, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    for row, n in enumerate((4, 6, 7)):
        mask[row, slice(n, None) if side == "right" else slice(0, 7 - n)] = 0
    return ids * mask, mask


def prompt(kind, family):
    init = ps.init.Uniform(-1.0, 1.0)
    made = ps.SoftPrompt(K, init=init, seed=3) if kind == "v1" else ps.DeepPrompt(K, init=init, seed=3)
    return made.bind(hooked(family))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])  # a tiny GPT-NeoX says one token, whatever it is given
def test_plain_generate_gives_the_tokens_of_ours(family, side):
    model, hf, (ids, mask) = hooked(family), bare(family), texts(side)
    for kind in ("v1", "v2"):
        made = prompt(kind, family)
        ours = ps.generate(model, made, ids, mask, max_new_tokens=NEW)
        assert ours != ps.generate(model, None, ids, mask, max_new_tokens=NEW)
        batch = {"input_ids": ids, "attention_mask": mask}
        out = hf.generate(**made.past_key_values(model, batch), **GREEDY)
        assert out[:, ids.shape[1] :].tolist() == ours
        if kind == "v1":
            assert hf.generate(**made.inputs_embeds(model, ids, mask), **GREEDY).tolist() == ours


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_plain_forward_gives_the_logits_of_ours(family, side):
    model, hf, (ids, mask) = hooked(family), bare(family), texts(side)
    for kind in ("v1", "v2"):
        made = prompt(kind, family)
        with torch.no_grad():
            ours = model.logits(ids, mask, made)
            last = torch.stack([row[m.bool()][-1] for row, m in zip(ours, mask, strict=True)])
            calls = [made.past_key_values(model, {"input_ids": ids, "attention_mask": mask})]
            calls += [made.inputs_embeds(model, ids, mask)] if kind == "v1" else []
            for arguments in calls:
                torch.testing.assert_close(hf(**arguments).logits[:, -1], last, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_beams_and_samples_of_both_ways_agree(family):
    """Embeddings and cache are two ways to say one prompt; transformers searches and samples from both alike."""
    model, hf, (ids, mask) = hooked(family), bare(family), texts("left")
    made, batch = prompt("v1", family), {"input_ids": ids, "attention_mask": mask}
    beams = GREEDY | {"num_beams": 3}
    by_embedding = hf.generate(**made.inputs_embeds(model, ids, mask), **beams)
    by_cache = hf.generate(**made.past_key_values(model, batch, copies=3), **beams)
    assert by_cache[:, ids.shape[1] :].tolist() == by_embedding.tolist()
    sampled = GREEDY | {"do_sample": True, "num_return_sequences": 2, "temperature": 0.7}
    torch.manual_seed(0)
    by_embedding = hf.generate(**made.inputs_embeds(model, ids, mask), **sampled)
    torch.manual_seed(0)
    by_cache = hf.generate(**made.past_key_values(model, batch, copies=2), **sampled)
    assert by_cache[:, ids.shape[1] :].tolist() == by_embedding.tolist()


@pytest.mark.parametrize("side", ["right", "left"])
def test_encoder_decoders_and_masked_models(side):
    ids, mask = texts(side)
    model, made = hooked("t5"), prompt("v1", "t5")
    ours = ps.generate(model, made, ids, mask, max_new_tokens=NEW)
    assert bare("t5").generate(**made.inputs_embeds(model, ids, mask), **GREEDY)[:, 1:].tolist() == ours
    model, made = hooked("bert"), prompt("v1", "bert")
    with torch.no_grad():
        ours = model.logits(ids, mask, made)
        plain = bare("bert")(**made.inputs_embeds(model, ids, mask)).logits[:, K:]
    for row, n in enumerate((4, 6, 7)):
        torch.testing.assert_close(plain[row, :n], ours[row][mask[row].bool()], atol=2e-5, rtol=1e-4)


def test_a_cache_that_does_not_fit_the_call_says_so():
    """Beams need copies; a second call would read the keys of the first as the prompt's."""
    model, hf, (ids, mask) = hooked("gpt2"), bare("gpt2"), texts("left")
    made, batch = prompt("v2", "gpt2"), {"input_ids": ids, "attention_mask": mask}
    with pytest.raises(PromptError, match=r"has 3 rows and the call runs 6.*copies=2"):
        hf.generate(**made.past_key_values(model, batch), **(GREEDY | {"num_beams": 2}))
    once = made.past_key_values(model, batch)
    hf.generate(**once, **GREEDY)
    with pytest.raises(PromptError, match="used this cache up"):
        hf.generate(**once, **GREEDY)
    with pytest.raises(PromptError, match="used this cache up"):
        hf(**once)


def test_gradients_reach_the_prompt():
    made = prompt("v1", "gpt2").copy()
    ids, mask = texts("right")
    bare("gpt2")(**made.inputs_embeds(hooked("gpt2"), ids, mask)).logits[:, -1].logsumexp(-1).sum().backward()
    assert made.embedding.grad.abs().max() > 1e-4


def test_what_cannot_leave():
    ids, mask = texts("right")
    batch = {"input_ids": ids, "attention_mask": mask}
    with pytest.raises(PromptError, match=r"deep prompt.*past_key_values"):
        prompt("v2", "gpt2").inputs_embeds(hooked("gpt2"), ids, mask)
    for family in ("t5", "bert"):
        with pytest.raises(PromptError, match="for causal models"):
            prompt("v1", family).past_key_values(hooked(family), batch)
    some = ps.DeepPrompt(K, layers=[0, 2]).bind(hooked("gpt2"))
    with pytest.raises(PromptError, match=r"same positions in every layer.*\[0, 2\] of 3"):
        some.past_key_values(hooked("gpt2"), batch)
    with pytest.raises(PromptError, match="and hidden positions"):
        ps.interventions.cut(prompt("v1", "gpt2"), [1]).past_key_values(hooked("gpt2"), batch)
    with pytest.raises(PromptError, match="64"):
        prompt("v1", "gpt2").inputs_embeds(hooked("gpt2"), torch.ones(1, 62, dtype=torch.long))
    with pytest.raises(PromptError, match="what a tokenizer returns"):
        prompt("v1", "gpt2").past_key_values(hooked("gpt2"), 3)


ROWS = torch.linspace(-1, 1, 3 * 32).reshape(3, 32)
WRITERS = {
    "a.pt": lambda path: torch.save(ROWS, path),
    "b.pt": lambda path: torch.save({"soft": ROWS[None]}, path),
    "c.npy": lambda path: np.save(path, ROWS.numpy()),
    "d.safetensors": lambda path: safetensors.torch.save_file({"prompt": ROWS}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_vectors_from_a_plain_file(name, tmp_path):
    WRITERS[name](tmp_path / name)
    loaded = ps.load_prompt(tmp_path / name, hooked("gpt2"))
    assert isinstance(loaded, ps.SoftPrompt) and torch.equal(loaded.vectors().detach(), ROWS)
    loaded.save(tmp_path / "ours")
    assert torch.equal(ps.load_prompt(tmp_path / "ours").vectors(), ROWS)


class Harmful:
    """What a pickle could do."""

    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.pt", lambda p: torch.save({"prompt": Harmful()}, p), "cannot be read as plain tensors"),
        ("x.pt", lambda p: torch.save([ROWS], p), "got a list"),
        ("x.pt", lambda p: torch.save({"a": ROWS, "b": ROWS}, p), r"got a float32 \(3, 32\), b float32"),
        ("x.pt", lambda p: torch.save(ROWS[0], p), r"one matrix.*\(32,\)"),
        ("x.pt", lambda p: torch.save(ROWS * torch.nan, p), "NaN"),
        ("x.npy", lambda p: np.save(p, np.array([object()]), allow_pickle=True), "cannot be read as plain tensors"),
        ("x.npy", lambda p: p.write_bytes(b"nonsense"), "cannot be read as plain tensors"),
        ("x.txt", lambda p: p.write_text("1 2 3"), "ends in .pt"),
    ],
)
def test_files_that_hold_no_prompt(name, write, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(PromptError, match=message):
        ps.load_prompt(tmp_path / name)
    assert not (tmp_path / "harmed").exists()


def test_vectors_of_another_width(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((3, 8), dtype=np.float32))
    with pytest.raises(PromptError, match="8 dimensions"):
        ps.load_prompt(tmp_path / "p.npy", hooked("gpt2"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that is a folder: the client's own calls, without a network."""

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            (tmp_path / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)

    def download(repo_id, revision, allow_patterns):
        if not (tmp_path / repo_id).is_dir():
            raise FileNotFoundError(f"404 {repo_id}")
        return str(tmp_path / repo_id)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return tmp_path


def test_to_the_hub_and_back(hub):
    made = prompt("v2", "llama")
    assert made.push_to_hub("me/my-prompt") == "https://huggingface.co/me/my-prompt"
    back = ps.load_prompt("me/my-prompt", hooked("llama"))
    assert back.content_hash() == made.content_hash()
    assert "ps.load_prompt" in (hub / "me/my-prompt/README.md").read_text()
    with pytest.raises(PromptError, match="404 me/other"):
        ps.load_prompt("me/other")
    with pytest.raises(PromptError, match="the form 'user/name'"):
        made.push_to_hub("nobody")
    with pytest.raises(PromptError, match="unbound"):
        ps.SoftPrompt(3).push_to_hub("me/my-prompt")


def test_without_a_network(monkeypatch, tmp_path):
    """Under HF_HUB_OFFLINE the client refuses to connect, as it does where there is no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PromptError, match=r"no prompt folder 'me/nowhere' here.*could not be downloaded"):
        ps.load_prompt("me/nowhere")
    with pytest.raises(PromptError, match=r"could not be written to 'me/nowhere'.*prompt.save"):
        prompt("v1", "gpt2").push_to_hub("me/nowhere", token="hf_x")
