"""Adapters that are no soft prompts, damaged ones, and prompts that PEFT cannot express: one clear error each."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from promptscope.errors import PromptError
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, load_prompt, write_peft
from tests.tiny_models import hooked

CONFIG = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 3, "num_layers": 3}


def write(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(
        {"prompt_embeddings": torch.zeros(3, 32)} if tensors is None else tensors, folder / "adapter_model.safetensors"
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "tensors", "message"),
    [
        (
            {"peft_type": "LORA"},
            None,
            "'LORA' cannot be read as a prompt: expected one of PROMPT_TUNING, P_TUNING, PREFIX_TUNING",
        ),
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, None, "'MULTITASK_PROMPT_TUNING' cannot be read"),
        ({"task_type": "SEQ_CLS"}, None, "'SEQ_CLS'.*classifier head.*verbalizer"),
        ({"task_type": None}, None, "task_type None"),
        ({"num_virtual_tokens": None}, None, "num_virtual_tokens=None"),
        ({"num_virtual_tokens": 4}, None, r"shape \(3, 32\).*num_virtual_tokens=4"),
        ({}, {"embeddings": torch.zeros(3, 32)}, r"one tensor, 'prompt_embeddings', got \['embeddings'\]"),
        (
            {},
            {"prompt_embeddings": torch.zeros(3, 32), "base_model.score.weight": torch.zeros(2, 32)},
            "heads and other trained weights",
        ),
        ({}, {"prompt_embeddings": torch.full((3, 32), float("nan"))}, "NaN or infinite"),
        ({"peft_type": "PREFIX_TUNING", "num_layers": 5}, None, "32 columns.*num_layers=5"),
        ({"peft_type": "PREFIX_TUNING", "num_layers": None}, None, "num_layers=None"),
        (
            {
                "peft_type": "PREFIX_TUNING",
                "task_type": "SEQ_2_SEQ_LM",
                "num_layers": 4,
                "num_transformer_submodules": 1,
            },
            None,
            "needs num_transformer_submodules=2, got 1",
        ),
    ],
)
def test_what_is_no_prompt_is_refused(changes: Any, tensors: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, tensors, **changes)
    with pytest.raises(PromptError, match=message):
        load_prompt(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\N{SNOWMAN}"])
def test_damaged_config(text: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(PromptError, match=r"adapter_config.json"):
        load_prompt(tmp_path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    file = write(tmp_path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(PromptError, match=r"adapter_model.safetensors.*missing or damaged"):
        load_prompt(tmp_path)
    file.unlink()
    with pytest.raises(PromptError, match=r"adapter_model.safetensors.*missing or damaged"):
        load_prompt(tmp_path)


class Bomb:
    """A pickle that creates a file when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (write(tmp_path) / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(PromptError, match=r"adapter_model\.bin, a pickle.*safe_serialization=True"):
        load_prompt(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_an_adapter_of_another_width_or_depth(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path, {"prompt_embeddings": torch.zeros(3, 48)}))
    with pytest.raises(PromptError, match=r"48 dimensions.*32"):
        prompt.bind(hooked("gpt2"))
    columns = {"prompt_embeddings": torch.zeros(3, 2 * 2 * 32)}
    prompt = load_prompt(write(tmp_path, columns, peft_type="PREFIX_TUNING", num_layers=2))
    with pytest.raises(PromptError, match=r"shape \(2, 3, 32\).*needs \(3, 3, 32\)"):
        prompt.bind(hooked("gpt2"))


def test_an_adapter_of_another_kind_of_model(tmp_path: Path) -> None:
    columns = {"prompt_embeddings": torch.zeros(3, 2 * 3 * 32)}
    causal = load_prompt(write(tmp_path, columns, peft_type="PREFIX_TUNING"))
    with pytest.raises(PromptError, match=r"parts must name some of \['encoder', 'decoder', 'cross'\].*'self'"):
        causal.bind(hooked("t5"))
    with pytest.raises(PromptError, match="parts"):
        causal.bind(hooked("t5"), strict=False)


@pytest.mark.parametrize(
    ("family", "prompt", "message"),
    [
        ("bert", DeepPrompt(2), "masked models such as"),
        ("gpt2", DeepPrompt(2, layers=[0, 2]), r"all 3 layers, this prompt only in \[0, 2\]"),
        ("t5", DeepPrompt(2), r"decoder's self-attention only, this prompt in \['encoder', 'decoder', 'cross'\]"),
        ("t5", DeepPrompt(2, parts=["encoder"]), "decoder's self-attention only"),
    ],
)
def test_what_peft_cannot_express(family: str, prompt: Prompt, message: str, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=message):
        write_peft(hooked(family), prompt, tmp_path / "out")
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_even_numbers_of_t5_layers_share_prefixes(tmp_path: Path) -> None:
    from promptscope.models import load_model
    from tests.tiny_models import tiny_hf_model

    model = load_model(tiny_hf_model("t5", layers=2))
    with pytest.raises(PromptError, match=r"decoder layers 0 and 1 .* the same prefix"):
        write_peft(model, DeepPrompt(2, parts=["decoder"]), tmp_path)


def test_an_adapter_is_not_written_over_a_prompt(tmp_path: Path) -> None:
    model = hooked("gpt2")
    prompt = SoftPrompt(2).bind(model)
    prompt.save(tmp_path)
    with pytest.raises(PromptError, match="another folder"):
        write_peft(model, prompt, tmp_path)


@pytest.mark.parametrize("part", ["header", "numbers"])
def test_one_bit_of_an_adapter_of_ours(part: str, tmp_path: Path) -> None:
    write_peft(hooked("gpt2"), SoftPrompt(3).bind(hooked("gpt2")), tmp_path)
    assert load_prompt(tmp_path).length == 3
    path = tmp_path / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5 if part == "numbers" else content.index(b"F32")] ^= 1
    path.write_bytes(content)
    with pytest.raises(PromptError, match="damaged"):
        load_prompt(tmp_path)


def test_a_configuration_and_tensors_of_two_adapters_of_ours(tmp_path: Path) -> None:
    """Columns of three layers could be read as those of six layers of half the width."""
    model = hooked("gpt2")
    for name, prompt in {"soft": SoftPrompt(3), "deep": DeepPrompt(3)}.items():
        write_peft(model, prompt.bind(model), tmp_path / name)
    path = tmp_path / "deep" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "moved/elsewhere"}))  # as for another machine
    assert load_prompt(tmp_path / "deep").provenance["peft"]["base_model"] == model.name
    path.write_text(
        json.dumps(config | {"num_layers": 2 * config["num_layers"], "token_dim": config["token_dim"] // 2})
    )
    with pytest.raises(PromptError, match=r"not the one that adapter_model.safetensors was written with"):
        load_prompt(tmp_path / "deep")
    path.write_text((tmp_path / "soft" / "adapter_config.json").read_text())
    with pytest.raises(PromptError, match=r"not the one that adapter_model.safetensors was written with"):
        load_prompt(tmp_path / "deep")
