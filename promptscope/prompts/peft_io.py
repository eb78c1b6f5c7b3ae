"""PEFT adapters: prompt tuning, P-tuning and prefix tuning, read and written.

An adapter is `adapter_config.json` and one tensor, `prompt_embeddings`:

- PROMPT_TUNING, P_TUNING: `(k, d_model)`, the embeddings before the text. PEFT stores only the output of P-tuning's
  encoder; the encoder's weights are read if they were added to the file, see `peft_encoder`. Adapters of
  encoder-decoders hold `(2k, d_model)`, of which PEFT uses the first k.
- PREFIX_TUNING: `(k, L x 2 x d_kv)`, by layer, then key and value, then head; keys are as in a cache, that is after the
  rotary embedding.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.files import content_hash, read_json, write_json
from promptscope.models import HookedModel
from promptscope.models.keys import cached
from promptscope.prompts.deep import DeepPrompt
from promptscope.prompts.peft_encoder import encoded_prompt, has_encoder, take_encoder, written_encoder
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.soft import SoftPrompt
from promptscope.prompts.tensors import read_tensors, write_sealed_tensors

_CONFIG = "adapter_config.json"
_TENSORS = "adapter_model.safetensors"
_TENSOR = "prompt_embeddings"
_CONFIG_HASH, _BASE = "promptscope_config", "promptscope_base_model"
"""What the tensors' file of an adapter of ours says of its configuration; PEFT reads the tensors only."""
_INPUT_LEVEL = ("PROMPT_TUNING", "P_TUNING")
_PREFIX = "PREFIX_TUNING"
_TASKS = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "masked": "FEATURE_EXTRACTION"}


def is_peft_folder(folder: Path) -> bool:
    """Return whether *folder* has the configuration file of a PEFT adapter."""
    return (folder / _CONFIG).is_file()


def read_peft(folder: str | os.PathLike[str]) -> Prompt:
    """Read a `prompt_tuning`, `p_tuning` or `prefix_tuning` adapter of PEFT.

    An adapter does not say on which embeddings it was trained, so that the prompt can be used with any model of its
    sizes; it is then bound to the first one.

    Raises:
        PromptError: it is another kind of adapter, has a classifier head, is a pickle, or is damaged.
    """
    folder = Path(folder)
    config = _read_config(folder)
    embeddings, encoder = _read_embeddings(folder)
    written = _check_written_together(folder, config)
    k, seq2seq = config["num_virtual_tokens"], config["task_type"] == "SEQ_2_SEQ_LM"
    rows = 2 * k if seq2seq and config["peft_type"] in _INPUT_LEVEL and len(embeddings) != k else k
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise PromptError(
            f"{_TENSOR} in {str(folder / _TENSORS)!r} has shape {tuple(embeddings.shape)}, but {_CONFIG} says "
            f"num_virtual_tokens={k}: the adapter is damaged"
        )
    prompt: Prompt
    if config["peft_type"] in _INPUT_LEVEL:
        prompt = SoftPrompt(length=k)
        prompt.embedding = nn.Parameter(embeddings[:k].clone())
        if encoder:
            prompt = encoded_prompt(encoder, embeddings, config, folder / _TENSORS)
    else:
        prompt = _deep_prompt(embeddings, config, seq2seq, folder)
    prompt.provenance = {
        "peft": {
            "type": config["peft_type"],
            "version": config.get("peft_version"),
            "base_model": written or config.get("base_model_name_or_path"),
        }
    }
    return prompt


@checked()
def write_peft(model: HookedModel, prompt: Prompt, folder: str | os.PathLike[str]) -> None:
    """Write *prompt* as a PEFT adapter that `peft.PeftModel.from_pretrained` loads on *model*.

    Input-level prompts become `prompt_tuning`, or `p_tuning` if they have an `Mlp` or `Lstm` network (the network's
    weights are in the file too, under PEFT's names). Deep prompts become `prefix_tuning`; the vectors of a tied prompt
    are written twice, as keys and as values. Adapters of masked models have the task type `FEATURE_EXTRACTION`: PEFT
    then runs the model with its own head, and the first k of its logits are those at prompt positions.

    Raises:
        PromptError: PEFT cannot express the prompt (another network, a deep prompt of a masked model, a prompt in some
            layers only, T5's encoder or cross-attention), or the folder holds a prompt of promptscope.

    >>> import tempfile, promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ps.write_peft(model, ps.SoftPrompt(4).bind(model), folder)
    ...     ps.load_prompt(folder, model).length
    4
    """
    folder = Path(folder)
    if prompt.reparameterisation is not None and not has_encoder(prompt, model):
        raise PromptError(
            f"PEFT does not support the network {prompt.reparameterisation}: write prompt.fold(), the plain prompt "
            "that it computes, or save the prompt with its network by prompt.save(folder)"
        )
    if (folder / "prompt.json").exists():
        raise PromptError(f"{str(folder)!r} holds a prompt of promptscope: write the PEFT adapter to another folder")
    if model.family.kind == "masked" and not isinstance(prompt, SoftPrompt):
        raise PromptError(
            f"PEFT's prefix tuning needs a cache of keys and values, and masked models such as {model.name!r} have "
            "none: save the prompt by prompt.save(folder)"
        )
    prompt.bind(model)
    seq2seq = model.family.kind == "seq2seq"
    config: dict[str, Any] = {
        "peft_type": "PROMPT_TUNING",
        "task_type": _TASKS[model.family.kind],
        "base_model_name_or_path": model.name,
        "inference_mode": True,
        "num_virtual_tokens": prompt.length,
        "token_dim": model.shape.d_embed,
        "num_transformer_submodules": 2 if seq2seq else 1,
        "num_attention_heads": model.shape.n_heads,
        "num_layers": model.shape.n_layers,
    }
    if isinstance(prompt, SoftPrompt):
        embeddings = prompt.vectors().detach()
        if seq2seq:  # PEFT's file has k more rows, which nothing reads
            embeddings = torch.cat([embeddings, torch.zeros_like(embeddings)])
        encoder, settings = written_encoder(prompt)
        config |= settings or {"prompt_tuning_init": "RANDOM"}
    elif isinstance(prompt, DeepPrompt):
        encoder = {}
        config |= {
            "peft_type": _PREFIX,
            "token_dim": model.shape.n_kv_heads * model.shape.d_head,
            "num_attention_heads": model.shape.n_kv_heads,
            "prefix_projection": False,
        }
        embeddings = _prefix_rows(prompt, model)
    else:
        raise PromptError(f"PEFT has no counterpart of {type(prompt).__name__}: save the prompt by prompt.save(folder)")
    metadata = {"format": "pt", _CONFIG_HASH: _hash_of(config), _BASE: model.name}
    write_sealed_tensors(folder / _TENSORS, {_TENSOR: embeddings.float(), **encoder}, metadata)
    write_json(folder / _CONFIG, config)  # last: a folder with one is whole


def _deep_prompt(
    embeddings: Float[Tensor, "k columns"], config: dict[str, Any], seq2seq: bool, folder: Path
) -> DeepPrompt:
    n_layers = config.get("num_layers")
    if type(n_layers) is not int or n_layers < 1 or embeddings.shape[1] % (2 * n_layers):
        raise PromptError(
            f"{_TENSOR} in {str(folder / _TENSORS)!r} has {embeddings.shape[1]} columns, which is not a multiple of 2 "
            f"x num_layers={n_layers!r} in {_CONFIG} (keys and values of each layer): the adapter is damaged"
        )
    if seq2seq and config.get("num_transformer_submodules") not in (None, 2):
        raise PromptError(
            f"{str(folder)!r}: prefix tuning of an encoder-decoder needs num_transformer_submodules=2, got "
            f"{config['num_transformer_submodules']!r}, with which PEFT itself fails"
        )
    part = "decoder" if seq2seq else "self"
    layers = rearrange(embeddings, "k (layer two d_kv) -> two layer k d_kv", layer=n_layers, two=2)
    if seq2seq:
        layers = layers[:, _seq2seq_rows(n_layers)]
    prompt = DeepPrompt(length=len(embeddings), parts=(part,))
    for role, numbers in zip(("keys", "values"), layers, strict=True):
        prompt.numbers[f"{part}_{role}"] = nn.Parameter(numbers.clone())
    prompt.keys_after_rotary = not seq2seq
    return prompt


def _prefix_rows(prompt: DeepPrompt, model: HookedModel) -> Float[Tensor, "k columns"]:
    n_layers = model.shape.n_layers
    if prompt.chosen_layers(model) != tuple(range(n_layers)):
        raise PromptError(
            f"PEFT's prefix tuning has a prefix in all {n_layers} layers, this prompt only in "
            f"{list(prompt.chosen_layers(model))}: save the prompt by prompt.save(folder)"
        )
    part = "decoder" if model.family.kind == "seq2seq" else "self"
    if prompt.chosen_parts(model) != (part,):
        raise PromptError(
            "PEFT's prefix tuning of encoder-decoders has a prefix in the decoder's self-attention only, this prompt "
            f"in {list(prompt.chosen_parts(model))}: use DeepPrompt(parts=('decoder',)), or save the prompt by "
            "prompt.save(folder)"
        )
    placed = prompt.place(model).parts[part]
    keys, values = placed.keys.detach(), placed.values.detach()
    if not placed.after_rotary:
        keys, values = cached(keys, values, placed.layers, model, part)
    layers = rearrange([keys, values], "two layer kv_head k d_head -> two layer k (kv_head d_head)")
    if part == "decoder":
        layers = _spread(layers, _seq2seq_rows(n_layers))
    return rearrange(layers, "two layer k d_kv -> k (layer two d_kv)")


def _seq2seq_rows(n_layers: int) -> list[int]:
    """Return the layer in the file that PEFT uses in each layer of a decoder.

    PEFT repeats the L layers of the file (for self- and cross-attention), takes the 2L in pairs, and then drops the
    second of each pair, so that decoder layer i gets layer 2i modulo L of the file.
    """
    return [2 * layer % n_layers for layer in range(n_layers)]


def _spread(layers: Float[Tensor, "2 L k d_kv"], rows: list[int]) -> Float[Tensor, "2 L k d_kv"]:
    spread = torch.zeros_like(layers)
    spread[:, rows] = layers
    for layer, row in enumerate(rows):
        if not torch.equal(spread[:, row], layers[:, layer]):
            raise PromptError(
                f"PEFT gives decoder layers {layer} and {layer + len(rows) // 2} of an encoder-decoder with "
                f"{len(rows)} layers the same prefix (layer {row} of its file), but this prompt has different ones "
                "there: save the prompt by prompt.save(folder)"
            )
    return spread


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise PromptError(f"{str(path)!r} cannot be read as JSON ({error}): it is missing or damaged") from error
    if not isinstance(config, dict) or "peft_type" not in config:
        raise PromptError(
            f"{str(path)!r} has no entry 'peft_type', so it is not the configuration of a PEFT adapter: give another "
            "folder"
        )
    if config["peft_type"] not in (*_INPUT_LEVEL, _PREFIX):
        raise PromptError(
            f"PEFT adapters of type {config['peft_type']!r} cannot be read as a prompt: expected one of "
            f"{', '.join((*_INPUT_LEVEL, _PREFIX))}"
        )
    if config.get("task_type") not in _TASKS.values():
        raise PromptError(
            f"the adapter in {str(folder)!r} has task_type {config.get('task_type')!r}: only CAUSAL_LM, "
            "SEQ_2_SEQ_LM and FEATURE_EXTRACTION can be read. Other types have a classifier head, and promptscope "
            "classifies with a language-model head and a verbalizer"
        )
    k = config.get("num_virtual_tokens")
    if type(k) is not int or k < 1:
        raise PromptError(f"{str(path)!r} has num_virtual_tokens={k!r}: expected a whole number of at least 1")
    return config


def _check_written_together(folder: Path, config: dict[str, Any]) -> str | None:
    """Compare the configuration with the one that the tensors were written with, and return their model's name.

    Raises:
        PromptError: it is another adapter's. Adapters that PEFT wrote do not say.
    """
    with safe_open(str(folder / _TENSORS), framework="pt") as file:
        metadata = file.metadata() or {}
    if metadata.get(_CONFIG_HASH, _hash_of(config)) != _hash_of(config):
        raise PromptError(
            f"{_CONFIG} in {str(folder)!r} is not the one that {_TENSORS} was written with: it was changed, or is "
            "another adapter's. Restore the folder, or write the adapter again with ps.write_peft"
        )
    name: str | None = metadata.get(_BASE)
    return name


def _hash_of(config: dict[str, Any]) -> str:
    # A base model has another path on each machine.
    return content_hash({key: value for key, value in config.items() if key != "base_model_name_or_path"})


def _read_embeddings(folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    path = folder / _TENSORS
    if not path.is_file() and (folder / "adapter_model.bin").is_file():
        raise PromptError(
            f"{str(folder)!r} holds adapter_model.bin, a pickle, which is not opened since it could run any code: if "
            "you trust it, load it with PEFT and save it again with save_pretrained(folder, safe_serialization=True)"
        )
    tensors = read_tensors(path)
    encoder = take_encoder(tensors)
    if set(tensors) != {_TENSOR}:
        raise PromptError(
            f"{str(path)!r} must hold one tensor, {_TENSOR!r}, got {sorted(tensors)}: heads and other trained weights "
            "(modules_to_save, saved embedding layers) are not part of a prompt and cannot be read"
        )
    if not tensors[_TENSOR].is_floating_point():
        raise PromptError(
            f"{_TENSOR} in {str(path)!r} must be floating-point numbers, and is of {tensors[_TENSOR].dtype}: the "
            "adapter is damaged"
        )
    return tensors[_TENSOR].float(), encoder
