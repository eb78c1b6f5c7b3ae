"""Models whose weights are not in this memory: on a server of NDIF, or spread over devices and disk by accelerate.

This process holds the modules without weights, except for the embeddings, which prompts need. Properties of the
architecture (positions, keys, hook points) are measured on a small model of the same configuration.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from promptscope.errors import ModelError
from promptscope.files import content_hash, sha256_file
from promptscope.models.architectures import class_of_checkpoint
from promptscope.models.checkpoints import check_sizes, check_total, check_types, check_weights, weight_files
from promptscope.models.hooked import HookedModel
from promptscope.models.making import hooked_model
from promptscope.models.nnsight_bridge import NNsightBridge, spots_of
from promptscope.models.remote import RemoteBridge

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


class ElsewhereModel(HookedModel):
    """A hooked model whose weights are on a server or placed by accelerate; every pass runs `model.bridge`."""

    _weights_are: Any = None

    @property
    def is_elsewhere(self) -> bool:
        """True: the weights are on a server or were placed by accelerate."""
        return True

    @property
    def device(self) -> torch.device:
        """The device of inputs and results."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embeddings and of prompt vectors."""
        return self._embedding.weight.dtype

    @cached_property
    def weights_hash(self) -> str:  # type: ignore[override]
        """SHA-256 of what identifies the weights: the checkpoint's files, or the server, name and revision."""
        return content_hash(self._weights_are())


def load_elsewhere(
    where: str,
    config: PreTrainedConfig,
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype | None,
    revision: str | None,
    remote: bool | str,
    device_map: Any,
    offload_folder: str | os.PathLike[str] | None,
) -> HookedModel:
    """Make a hooked model of a checkpoint that a server holds (*remote*) or that accelerate places (*device_map*).

    Raises:
        ModelError: the family is not supported with nnsight, there is no key or server, or the checkpoint is not in
            safetensors.
    """
    spots = spots_of(config.model_type)
    if dtype is None and (remote or not torch.cuda.is_available()):
        dtype = torch.float32  # as on any CPU; a server has a type of its own
    architecture = class_of_checkpoint(config)
    weights = [] if remote else weight_files(where, revision)
    check_total(architecture, config, weights, name)
    stand_in = architecture(_small(config)).eval().requires_grad_(False)
    small = hooked_model(stand_in, None, name, None, "nnsight")
    outline = _outline(architecture, config, where, revision, dtype)
    check_types(weights, outline, name)
    bridge: NNsightBridge
    if remote:
        bridge = RemoteBridge(outline, spots, where, revision, tokenizer, remote, small.family.kind)
        known: Any = {"server": bridge.host, "model": name, "revision": revision}
    else:
        bridge = _placed(architecture, where, outline, spots, revision, dtype, device_map, offload_folder)
        known = None
    n = config.num_hidden_layers
    facts = replace(
        small.facts,
        parts={},
        keys={part: rules[:1] * n for part, rules in small.facts.keys.items()},
        bands={part: bands[:1] * n for part, bands in small.facts.bands.items()},
        why_no_cache="its weights are not in this memory",
        shares_cache=False,
    )
    model = ElsewhereModel(bridge, outline, small.family, tokenizer, name, revision, facts)
    files = _files(where, revision)
    model._weights_are = lambda: known or {path.name: sha256_file(path) for path in files()}
    _self_test(model)
    return model


def _small(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the configuration reduced to two narrow layers with heads of the same size."""
    settings = config.to_dict()
    heads = settings.get("n_head") or settings["num_attention_heads"]
    width = settings.get("n_embd") or settings["hidden_size"]
    d_head = settings.get("head_dim") or width // heads
    grouped = (settings.get("num_key_value_heads") or heads) < heads
    sizes = {"vocab_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 2 * d_head}
    sizes |= {"intermediate_size": 64, "num_key_value_heads": 1 if grouped else 2}
    sizes |= {"n_layer": 2, "n_head": 2, "n_embd": 2 * d_head, "n_inner": 64}
    settings |= {key: value for key, value in sizes.items() if key in settings}
    settings |= {key: None for key in settings if key.endswith("_token_id")}
    return type(config).from_dict(settings)


def _outline(
    architecture: Any, config: PreTrainedConfig, where: str, revision: str | None, dtype: torch.dtype | None
) -> PreTrainedModel:
    with torch.device("meta"):
        outline: PreTrainedModel = architecture(config)
    found: list[nn.Module | None] = [outline.get_input_embeddings(), outline.get_output_embeddings()]
    names = {id(module): name for name, module in outline.named_modules()}
    for module in dict.fromkeys(module for module in found if module is not None):
        weight = _read(where, revision, f"{names[id(module)]}.weight", outline.base_model_prefix)
        if weight is not None:
            module.weight = nn.Parameter(weight.to(dtype or weight.dtype))
    if outline.get_input_embeddings().weight.is_meta:
        raise ModelError(
            f"the checkpoint {where!r} holds no {names[id(found[0])]}.weight in safetensors, which prompts need: give "
            "a checkpoint with its input embeddings, as save_pretrained writes it"
        )
    outline.tie_weights()
    outline.config.return_dict = True
    base: Any = outline.base_model
    if hasattr(base, "rotary_emb"):  # keys of PEFT's prefixes are turned here; angles follow from the configuration
        base.rotary_emb = type(base.rotary_emb)(outline.config)
    for module in (outline, base):
        module.register_forward_pre_hook(_refuse)
    return outline.eval().requires_grad_(False)


def _refuse(module: nn.Module, arguments: Any) -> None:
    raise ModelError(
        "the weights of this model are not in this memory (they are on a server, or placed by device_map), and this "
        "call runs the plain model, model.twin: use model.logits, ps.generate, ps.probe, model.run_with_cache or hooks"
    )


def _files(where: str, revision: str | None) -> Any:
    def files() -> list[Path]:
        index = cached_file(where, _INDEX, revision=revision, _raise_exceptions_for_missing_entries=False)
        names = {_WEIGHTS} if index is None else set(json.loads(Path(index).read_text())["weight_map"].values())
        return [Path(str(cached_file(where, name, revision=revision))) for name in sorted(names)]

    return files


def _read(where: str, revision: str | None, name: str, prefix: str) -> torch.Tensor | None:
    """Read one tensor of a checkpoint; of a checkpoint in several files, only the file that holds it is downloaded."""
    keys = [name, name.removeprefix(f"{prefix}.")]
    try:
        index = cached_file(where, _INDEX, revision=revision, _raise_exceptions_for_missing_entries=False)
        if index is None:
            path = cached_file(where, _WEIGHTS, revision=revision)
        else:
            places = json.loads(Path(index).read_text())["weight_map"]
            key = next((key for key in keys if key in places), None)
            path = None if key is None else cached_file(where, places[key], revision=revision)
    except OSError as error:
        raise ModelError(
            f"the embeddings of {where!r} cannot be read ({' '.join(str(error).split())[:160]}): remote and device_map "
            "need a checkpoint with model.safetensors"
        ) from error
    if path is None:
        return None
    with safe_open(path, framework="pt") as file:
        held = set(file.keys())
        return next((file.get_tensor(key) for key in keys if key in held), None)


def _placed(
    architecture: Any,
    where: str,
    outline: PreTrainedModel,
    spots: Any,
    revision: str | None,
    dtype: torch.dtype | None,
    device_map: Any,
    offload_folder: str | os.PathLike[str] | None,
) -> NNsightBridge:
    try:
        inner, report = architecture.from_pretrained(
            where,
            revision=revision,
            dtype=dtype or outline.get_input_embeddings().weight.dtype,
            device_map=device_map,
            offload_folder=offload_folder,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"accelerate cannot place {where!r} with device_map={device_map!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    check_sizes(report["mismatched_keys"], architecture.__name__, where)
    named = str((outline.config.architectures or [""])[0])
    check_weights(report["missing_keys"], report["unexpected_keys"], outline, named, where)
    return NNsightBridge.over(inner.eval().requires_grad_(False), spots)


def _self_test(model: HookedModel) -> None:
    """Check with two passes that every hook point gives a value, and that writing at the embedding has an effect."""
    ids = torch.tensor([[1, 2, 3]], device=model.device)
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids)
        written = model.logits(ids, hooks=[(model.family.embedding, lambda x, hook: x.flip(1))])
    missing = [name for name in model.hook_points()["name"] if name not in cache.cache_dict]
    if missing or logits.shape != (1, 3, model.shape.vocab_size):
        raise ModelError(
            f"{model.name!r} gave logits {tuple(logits.shape)} for three tokens, expected "
            f"{(1, 3, model.shape.vocab_size)}, and no value at the hook points {missing[:3]}: its config.json does "
            "not belong to its weights"
        )
    if torch.allclose(logits, written):
        raise ModelError(
            f"a value written at {model.family.embedding} of {model.name!r} did not change the logits, so that a "
            "prompt would have no effect: use the default backend, or another version of nnsight"
        )
