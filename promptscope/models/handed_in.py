"""A model that is handed in as an object: unwrapped, or refused for what it carries besides its own weights."""

import copy
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.attached import HOOK_KINDS, only_looks

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def unwrapped(model: Any) -> PreTrainedModel:
    """Take a model out of `torch.compile` and data-parallel wrappers.

    Raises:
        ModelError: it is no transformers model, or one that something else has changed: adapters, hooks, another
            bridge, quantised or missing weights.
    """
    while type(model).__name__ in _WRAPPERS:
        model = getattr(model, _WRAPPERS[type(model).__name__])
    if _is_of(model, "peft"):
        raise ModelError(
            "a PeftModel was handed in. LoRA and the like: hand in what its merge_and_unload() returns. A soft prompt: "
            "load the plain model, and the prompt with ps.load_prompt(FOLDER) from where save_pretrained put it"
        )
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"model must be a name, a folder or a transformers model, not {_what(model)}")
    for check in (_check_weights, _check_modules, _check_hooks, _check_architecture):
        check(model)
    return model


def _what(model: Any) -> str:
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if type(model).__name__ == "HookedModel":
        return f"a {kind}, which load_model has made already: use it as it is"
    if _is_of(model, "transformer_lens"):
        return f"a {kind}: hand in the transformers model or the name that it was made from"
    if _is_of(model, "nnsight"):
        return f"a {kind}: hand in the transformers model inside, model._model"
    return f"{kind} {str(model)[:60]!r}"


def _is_of(thing: Any, package: str) -> bool:
    return any(cls.__module__.partition(".")[0] == package for cls in type(thing).__mro__)


def _check_weights(model: PreTrainedModel) -> None:
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    missing = [name for name, tensor in tensors.items() if tensor.is_meta]
    if missing:
        raise ModelError(
            f"{len(missing)} weights of the model hold no values (on the 'meta' device, first {missing[0]!r}): they "
            "were never loaded, or accelerate offloaded them. Load the model whole, without device_map; or give its "
            "name, ps.load_model(name, backend='nnsight', device_map=...)"
        )
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise ModelError(
            f"the model lies on several devices, {devices}: load it whole onto one (device_map={{'': 0}}); or give its "
            "name, ps.load_model(name, backend='nnsight', device_map=...)"
        )
    if getattr(model, "is_quantized", False) or any(not p.is_floating_point() for p in model.parameters()):
        raise ModelError("the model's weights are quantised: load it in float32, bfloat16 or float16")
    inference = [name for name, tensor in tensors.items() if tensor.is_inference()]
    if inference:
        raise ModelError(
            f"the model's weights ({inference[0]!r}) were made under torch.inference_mode(), so nothing can be learned "
            "through them: make the model outside of it"
        )


def _check_modules(model: PreTrainedModel) -> None:
    for name, module in model.named_modules():
        where = f"{name!r} ({type(module).__name__})"
        if type(module).__name__ == "OptimizedModule":
            raise ModelError(f"{where} is torch.compile'd: hand in the model as it was before (its _orig_mod)")
        if _is_of(module, "peft"):
            raise ModelError(
                f"{where} is a PEFT adapter inside of the model: merge it (merge_and_unload()) or take it out first "
                "(unload())"
            )
        if _is_of(module, "transformer_lens"):
            raise ModelError(f"{where} was put there by another TransformerBridge: load the transformers model anew")
        if hasattr(module, "_hf_hook"):
            raise ModelError(
                f"{where} has hooks of accelerate, which move weights and inputs: take them off with "
                "accelerate.hooks.remove_hook_from_module(model, recurse=True), or load without device_map"
            )
        if "forward" in vars(module):
            raise ModelError(
                f"the forward of {where} was replaced by {vars(module)['forward']!r}, which both halves of the hooked "
                "model would keep: restore it (del module.forward), and attach hooks to the loaded model instead"
            )
        if type(module).__module__.startswith("torch.ao."):
            raise ModelError(f"{where} is quantised: load the model in float32, bfloat16 or float16")
        if is_parametrized(module):
            raise ModelError(
                f"{where} computes its weight anew at every pass: fix it first with "
                "torch.nn.utils.parametrize.remove_parametrizations(module, name)"
            )


def _check_hooks(model: PreTrainedModel) -> None:
    for name, module in model.named_modules():
        for kind in HOOK_KINDS:
            for function in getattr(module, kind).values():
                if not only_looks(function):
                    raise ModelError(
                        f"{name or 'the model'!r} has a PyTorch hook ({kind.strip('_').removesuffix('s')}: "
                        f"{getattr(function, '__qualname__', function)}), which would go on acting here after you "
                        "remove yours: take it off (handle.remove()) before loading, and attach it to the loaded model "
                        "with model.hooks(...)"
                    )


def _check_architecture(model: PreTrainedModel) -> None:
    """Refuse modules that somebody put into the place of the architecture's own."""
    plain = {name: type(module) for name, module in _as_configured(model).named_modules()}
    for name, module in model.named_modules():
        if plain.get(name) is not type(module):
            kind = f"has a {plain[name].__name__} there" if name in plain else "has none"
            raise ModelError(
                f"{name!r} is a {type(module).__name__}, and a {type(model).__name__} {kind}: take out what was put in "
                "(a wrapper, an adapter), or load the model anew"
            )


def _as_configured(model: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):  # no numbers: it takes no memory and hardly any time
        return type(model)(copy.deepcopy(model.config))


def changed_attributes(model: PreTrainedModel) -> dict[str, Any]:
    """Return the numbers and texts on *model*'s modules (an epsilon, a scale) that its configuration does not say."""
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
