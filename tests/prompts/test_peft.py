"""PEFT adapters, both directions: the truth is PEFT's own logits for the same adapter and the same inputs."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, init, load_prompt, write_peft
from tests.batches import Ragged, ragged
from tests.tiny_models import CAUSAL, hooked, tiny_hf_model

K = 5
TOLERANCE = 1e-5
SEQ2SEQ_LAYERS = (3, 4)  # PEFT's prefix tuning treats even and odd numbers of decoder layers differently

CONFIGS: dict[str, Any] = {
    "prompt_tuning": lambda task: peft.PromptTuningConfig(task_type=task, num_virtual_tokens=K),
    "p_tuning mlp": lambda task: peft.PromptEncoderConfig(
        task_type=task, num_virtual_tokens=K, encoder_hidden_size=16, encoder_reparameterization_type="MLP"
    ),
    "p_tuning lstm": lambda task: peft.PromptEncoderConfig(
        task_type=task, num_virtual_tokens=K, encoder_hidden_size=16, encoder_reparameterization_type="LSTM"
    ),
    "prefix_tuning": lambda task: peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=K),
    "prefix_tuning projected": lambda task: peft.PrefixTuningConfig(
        task_type=task, num_virtual_tokens=K, prefix_projection=True, encoder_hidden_size=16
    ),
}


@pytest.fixture(autouse=True)
def _quiet_peft() -> Any:
    with warnings.catch_warnings():
        # PEFT asks transformers for a deprecated property, and warns of the encoder layers that P-tuning ignores.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*encoder_num_layers.*")
        yield


def task_type(family: str) -> str:
    return "SEQ_2_SEQ_LM" if family == "t5" else "CAUSAL_LM"


def adapter(family: str, kind: str, folder: Path, **sizes: Any) -> Any:
    """Let PEFT make an adapter, write it to *folder*, and return the PEFT model."""
    torch.manual_seed(3)
    model = peft.get_peft_model(tiny_hf_model(family, **sizes), CONFIGS[kind](task_type(family))).eval()
    model.save_pretrained(str(folder))
    return model


@torch.no_grad()
def peft_logits(model: Any, batch: Ragged) -> list[Tensor]:
    """Right padding is the side on which PEFT is exact; logits at the prompt's positions are cut off."""
    extra = {} if batch.decoder_input_ids is None else {"decoder_input_ids": batch.decoder_input_ids}
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **extra).logits
    if batch.decoder_input_ids is None:
        logits = logits[:, -batch.input_ids.shape[1] :]
    return batch.real(logits)


def assert_same(model: Any, prompt: Prompt, batch: Ragged, want: list[Tensor]) -> None:
    vias = ("hooks", "prefix", "auto") if model.family.kind == "causal" else ("hooks", "auto")
    for via in vias:
        got = model.logits(
            batch.input_ids, batch.attention_mask, prompt, via=via, decoder_input_ids=batch.decoder_input_ids
        )
        for ours, theirs in zip(batch.real(got.detach()), want, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_reads_what_peft_writes(family: str, kind: str, tmp_path: Path) -> None:
    theirs = adapter(family, kind, tmp_path)
    batch, model = ragged(family), hooked(family)
    prompt = load_prompt(tmp_path)
    assert isinstance(prompt, SoftPrompt if not kind.startswith("prefix") else DeepPrompt)
    assert prompt.provenance["peft"]["version"] == peft.__version__
    assert prompt.length == K and prompt.is_bound
    want = peft_logits(theirs, batch)
    assert_same(model, prompt, batch, want)
    plain = model.logits(batch.input_ids, batch.attention_mask, decoder_input_ids=batch.decoder_input_ids)
    assert max((a - b).abs().max() for a, b in zip(want, batch.real(plain), strict=True)) > 5e-3


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("family", CAUSAL)
def test_without_padding(family: str, kind: str, tmp_path: Path) -> None:
    theirs, row = adapter(family, kind, tmp_path), ragged(family).rows[0][None]
    batch = Ragged((row[0],), row, torch.ones_like(row), (None,), None)
    assert_same(hooked(family), load_prompt(tmp_path), batch, peft_logits(theirs, batch))


@pytest.mark.parametrize("layers", SEQ2SEQ_LAYERS)
def test_prefix_tuning_of_t5_in_both_directions(layers: int, tmp_path: Path) -> None:
    """PEFT deals the layers of its file out to the decoder in pairs and drops every second one; so do we."""
    from promptscope.models import load_model

    theirs, batch = adapter("t5", "prefix_tuning", tmp_path / "theirs", layers=layers), ragged("t5")
    model = load_model(tiny_hf_model("t5", layers=layers))
    prompt = load_prompt(tmp_path / "theirs")
    want = peft_logits(theirs, batch)
    assert_same(model, prompt, batch, want)
    write_peft(model, prompt, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(tiny_hf_model("t5", layers=layers), str(tmp_path / "ours")).eval()
    for ours, expected in zip(peft_logits(again, batch), want, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


PROMPTS: dict[str, Any] = {
    "soft": lambda family: SoftPrompt(K, seed=4),
    "deep": lambda family: DeepPrompt(K, seed=4, parts=["decoder"] if family == "t5" else None),
    "deep tied": lambda family: DeepPrompt(K, tied=True, seed=4, parts=["decoder"] if family == "t5" else None),
}


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_peft_reads_what_we_write(family: str, name: str, tmp_path: Path) -> None:
    model, batch = hooked(family), ragged(family)
    prompt = PROMPTS[name](family)
    write_peft(model, prompt, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny_hf_model(family), str(tmp_path)).eval()
    assert_same(model, prompt, batch, peft_logits(theirs, batch))
    assert_same(model, load_prompt(tmp_path), batch, peft_logits(theirs, batch))


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_round_trip_gives_pefts_tensor_back(family: str, kind: str, tmp_path: Path) -> None:
    theirs = adapter(family, kind, tmp_path / "theirs")
    write_peft(hooked(family), load_prompt(tmp_path / "theirs"), tmp_path / "ours")
    ours = peft.utils.load_peft_weights(str(tmp_path / "ours"), device="cpu")
    torch.testing.assert_close(
        ours["prompt_embeddings"], theirs.get_prompt_embedding_to_save("default"), rtol=0, atol=1e-6
    )
    config = peft.PeftConfig.from_pretrained(str(tmp_path / "ours"))
    for field in ("peft_type", "task_type", "num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads"):
        assert getattr(config, field) == getattr(theirs.peft_config["default"], field), field


@pytest.mark.parametrize("family", CAUSAL)
def test_prefix_tuning_is_bitwise_pefts(family: str, tmp_path: Path) -> None:
    """Imported keys are not turned: the prefix is PEFT's cache itself, and writing gives the very file back."""
    theirs, batch, model = adapter(family, "prefix_tuning", tmp_path / "theirs"), ragged(family), hooked(family)
    prompt = load_prompt(tmp_path / "theirs")
    for layer, (keys, values) in enumerate(zip(*_cache(theirs.get_prompt(1)), strict=True)):
        assert torch.equal(prompt.bind(model).prefix(model).keys[layer], keys)
        assert torch.equal(prompt.prefix(model).values[layer], values)
    write_peft(model, prompt, tmp_path / "ours")
    name = "prompt_embeddings"
    ours, file = (peft.utils.load_peft_weights(str(tmp_path / f), device="cpu")[name] for f in ("ours", "theirs"))
    assert torch.equal(ours, file)
    assert_same(model, prompt, batch, peft_logits(theirs, batch))


def _cache(cache: Any) -> tuple[list[Tensor], list[Tensor]]:
    return [layer.keys for layer in cache.layers], [layer.values for layer in cache.layers]


def test_a_saved_import_remembers_where_its_keys_stand(tmp_path: Path) -> None:
    theirs, batch, model = adapter("llama", "prefix_tuning", tmp_path / "peft"), ragged("llama"), hooked("llama")
    imported = load_prompt(tmp_path / "peft")
    imported.save(tmp_path / "unbound")
    imported.bind(model).bind(model).save(tmp_path / "bound")
    want = peft_logits(theirs, batch)
    assert_same(model, DeepPrompt(K, init=init.FromPrompt(imported)), batch, want)
    for folder in ("unbound", "bound"):
        assert_same(model, load_prompt(tmp_path / folder), batch, want)
    assert load_prompt(tmp_path / "bound").provenance["embedding_hash"] == model.embedding_hash


def test_a_prompt_saved_over_an_adapter_is_the_one_that_loads(tmp_path: Path) -> None:
    adapter("gpt2", "prompt_tuning", tmp_path)
    prompt = load_prompt(tmp_path).bind(hooked("gpt2"))
    with torch.no_grad():
        prompt.embedding.add_(1)
    prompt.save(tmp_path)
    assert load_prompt(tmp_path).content_hash() == prompt.content_hash()
