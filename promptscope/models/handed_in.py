"""Checks of a model that is passed to `load_model` as an object: it must be an unchanged transformers model."""

import copy
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.attached import HOOK_KINDS, only_looks

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def unwrapped(model: Any) -> PreTrainedModel:
    """Return the transformers model inside of `torch.compile` and data-parallel wrappers.

    Raises:
        ModelError: it is not a transformers model, or other code has changed it: adapters, hooks, another bridge,
            quantised or missing weights.
    """
    while type(model).__name__ in _WRAPPERS:
        model = getattr(model, _WRAPPERS[type(model).__name__])
    if _is_of(model, "peft"):
        raise ModelError(
            "model must be a plain transformers model, got a PeftModel. With LoRA and similar adapters: pass what its "
            "merge_and_unload() returns. With a soft prompt: load the plain model, and the prompt with "
            "ps.load_prompt(FOLDER) from the folder that save_pretrained wrote"
        )
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"model must be a name, a folder or a transformers model, not {_what(model)}")
    for check in (_check_weights, _check_modules, _check_hooks, _check_architecture):
        check(model)
    return model


def _what(model: Any) -> str:
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if type(model).__name__ == "HookedModel":
        return f"a {kind}: it is already a hooked model, use it as it is"
    if _is_of(model, "transformer_lens"):
        return f"a {kind}: pass the transformers model or the name from which it was made"
    if _is_of(model, "nnsight"):
        return f"a {kind}: pass the transformers model inside of it, model._model"
    return f"{kind} {str(model)[:60]!r}"


def _is_of(thing: Any, package: str) -> bool:
    return any(cls.__module__.partition(".")[0] == package for cls in type(thing).__mro__)


def _check_weights(model: PreTrainedModel) -> None:
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    missing = [name for name, tensor in tensors.items() if tensor.is_meta]
    if missing:
        raise ModelError(
            f"{len(missing)} weights of the model have no values, as they are on the 'meta' device (first "
            f"{missing[0]!r}): they were never loaded, or accelerate offloaded them. Load it without device_map, or "
            "give its name: ps.load_model(name, backend='nnsight', device_map=...)"
        )
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise ModelError(
            f"the weights of the model are on several devices, {devices}: load all of them onto one "
            "(device_map={'': 0}), or give its name: ps.load_model(name, backend='nnsight', device_map=...)"
        )
    if getattr(model, "is_quantized", False) or any(not p.is_floating_point() for p in model.parameters()):
        raise ModelError("the weights of the model are quantised: load it in float32, bfloat16 or float16")
    inference = [name for name, tensor in tensors.items() if tensor.is_inference()]
    if inference:
        raise ModelError(
            f"weights of the model (first {inference[0]!r}) were made under torch.inference_mode(), so that no prompt "
            "can be trained through them: load the model outside of torch.inference_mode()"
        )


def _check_modules(model: PreTrainedModel) -> None:
    for name, module in model.named_modules():
        where = f"{name!r} ({type(module).__name__})"
        if type(module).__name__ == "OptimizedModule":
            raise ModelError(f"{where} is compiled by torch.compile: pass the model that was compiled (its _orig_mod)")
        if _is_of(module, "peft"):
            raise ModelError(
                f"{where} is a PEFT adapter inside of the model: merge it with merge_and_unload(), or remove it with "
                "unload(), before loading"
            )
        if _is_of(module, "transformer_lens"):
            raise ModelError(f"{where} belongs to another TransformerBridge: load the transformers model again")
        if hasattr(module, "_hf_hook"):
            raise ModelError(
                f"{where} has hooks of accelerate, which move weights and inputs between devices: remove them with "
                "accelerate.hooks.remove_hook_from_module(model, recurse=True), or load the model without device_map"
            )
        if "forward" in vars(module):
            raise ModelError(
                f"the forward method of {where} was replaced by {vars(module)['forward']!r}, which would change every "
                "result: restore it (del module.forward), and attach hooks to the loaded model instead"
            )
        if type(module).__module__.startswith("torch.ao."):
            raise ModelError(f"{where} is quantised: load the model in float32, bfloat16 or float16")
        if is_parametrized(module):
            raise ModelError(
                f"{where} has a parametrization, which computes its weight at every pass: remove it first with "
                "torch.nn.utils.parametrize.remove_parametrizations(module, name)"
            )


def _check_hooks(model: PreTrainedModel) -> None:
    for name, module in model.named_modules():
        for kind in HOOK_KINDS:
            for function in getattr(module, kind).values():
                if not only_looks(function):
                    raise ModelError(
                        f"{name or 'the model'!r} has a PyTorch hook ({kind.strip('_').removesuffix('s')}: "
                        f"{getattr(function, '__qualname__', function)}), which would stay on the loaded model after "
                        "you remove it from yours: remove it before loading (handle.remove()), and attach it to the "
                        "loaded model with model.hooks(...)"
                    )


def _check_architecture(model: PreTrainedModel) -> None:
    """Raise ModelError for modules that replace the architecture's own or were added to them."""
    plain = {name: type(module) for name, module in _as_configured(model).named_modules()}
    for name, module in model.named_modules():
        if plain.get(name) is not type(module):
            kind = f"has a {plain[name].__name__} there" if name in plain else "has no module of this name"
            raise ModelError(
                f"{name!r} is a {type(module).__name__}, but a {type(model).__name__} {kind}: remove the module that "
                "was added (a wrapper, an adapter), or load the model again"
            )


def _as_configured(model: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):  # no numbers: it takes no memory and hardly any time
        return type(model)(copy.deepcopy(model.config))


def changed_attributes(model: PreTrainedModel) -> dict[str, Any]:
    """Return attributes of *model*'s modules (an epsilon, a scale) whose values differ from its configuration's."""
    plain = dict(_as_configured(model).named_modules())
    return {
        f"{name}.{attribute}".strip("."): value
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, bool | int | float | str | None)
        and attribute != "training"  # a hooked model is never in training mode
        and not attribute.startswith("_")
        and vars(plain[name]).get(attribute, value) != value
    }
