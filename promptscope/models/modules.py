"""Detection of changes to a model other than of weights: modules, attributes, methods, configuration, code."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

from torch import nn
from transformer_lens.config import TransformerBridgeConfig
from transformers import PreTrainedConfig

from promptscope.errors import ModelError, shortened
from promptscope.models.attached import HOOK_KINDS, is_written_in, only_looks
from promptscope.models.identity import NOT_MATHS
from promptscope.models.model_code import code_of

# TransformerLens changes these where hooks are attached and removed; hooks are known by other means. Nothing here
# generates by a configuration.
_NO_MATHS = ("name", "fwd_hooks", "bwd_hooks", "ctx", "context_level", "generation_config")

_OURS = Path(__file__).parents[1]


class Modules:
    """Detects changes of a module tree other than of weights, which would make bridge and plain model differ.

    *where* is the name of the tree in messages. *is_source* is True for the caller's own model, which shares its
    weights with the hooked model and nothing else.
    """

    def __init__(self, root: nn.Module, where: str, is_source: bool = False) -> None:
        self._where, self._is_source = where, is_source
        self._was = [
            (name, module, type(module), dict(vars(module)), dict(module._modules))
            for name, module in nn.Module.named_modules(root)
        ]
        held = {"config": getattr(root, "config", None), "cfg": getattr(root, "cfg", None)}
        self._configs = [
            (name, config, copy.deepcopy(vars(config)))
            for name, config in held.items()
            if isinstance(config, PreTrainedConfig | TransformerBridgeConfig)
        ]
        self._code = [(name, look, look()) for name, look in code_of(root)]

    def check(self) -> None:
        """Raise an error if something has changed since the model was loaded.

        Raises:
            ModelError: a module, method, attribute or configuration differs from what it was when the model was loaded,
                or the caller's own model has a hook.
        """
        for name, module, kind, attributes, children in self._was:
            others_hooks = any(vars(module).get(kind) is not attributes[kind] for kind in HOOK_KINDS)
            if others_hooks or _differs(vars(module), attributes):
                self._refuse(name, module, attributes)
            if module._modules != children or type(module) is not kind:
                self._refuse_module(name, module, children)
            if self._is_source and any(getattr(module, kind) for kind in HOOK_KINDS):
                self._refuse_hooks(name, module)
        for where, config, settings in self._configs:
            if _differs(vars(config), settings):
                for setting in _changed(vars(config), settings):
                    if setting not in NOT_MATHS and not setting.startswith("_attn_implementation"):
                        self._say(f"`{setting}` of {self._where}.{where}", vars(config), settings, setting)
        for name, look, before in self._code:
            if _differs(now := look(), before):
                for changed in _changed(now, before):
                    self._say(f"`{changed}` of {name}, which the model runs,", now, before, changed)

    def _refuse(self, name: str, module: nn.Module, before: dict[str, Any]) -> None:
        for attribute in _changed(vars(module), before):
            # What begins with an underscore are caches that fill by and by; but methods are none.
            private = attribute.startswith("_") and attribute not in HOOK_KINDS
            if private and not _is_method(vars(module).get(attribute)):
                continue
            if attribute in _NO_MATHS or _is_of_class(module, attribute) or _is_ours(module, attribute):
                continue
            if attribute == "training":
                if self._is_source:
                    continue
                raise ModelError(
                    f"{self._named(name)} is in {'training' if module.training else 'evaluation'} mode, and was in "
                    f"{'evaluation' if module.training else 'training'} mode when the model was loaded (dropout may "
                    f"act differently): call {self._where}.{'eval' if module.training else 'train'}()"
                )
            self._say(f"`{attribute}` of {self._named(name)}", vars(module), before, attribute)

    def _refuse_module(self, name: str, module: nn.Module, before: dict[str, Any]) -> None:
        for child in _changed(module._modules, before):
            self._say(f"the module {child!r} of {self._named(name)}", module._modules, before, child)
        raise ModelError(
            f"the class of {self._named(name)} was changed to {type(module).__name__} after the model was loaded: load "
            "it again"
        )

    def _refuse_hooks(self, name: str, module: nn.Module) -> None:
        for kind in HOOK_KINDS:
            for function in getattr(module, kind).values():
                if not only_looks(function):
                    raise ModelError(
                        f"{self._named(name)} has a PyTorch hook ({getattr(function, '__qualname__', function)}), "
                        "which would have no effect: the hooked model shares that model's weights, but not its "
                        "modules. Remove it (handle.remove()) and attach it with model.hooks(...)"
                    )

    def _say(self, what: str, now: dict[str, Any], before: dict[str, Any], name: str) -> None:
        is_, was = (_shown(values[name]) if name in values else "not there" for values in (now, before))
        if is_ == was:
            is_ = f"another {is_}"
        why = (
            "this has no effect on the hooked model, which shares that model's weights, but not its modules"
            if self._is_source
            else "the plain and the hooked model would compute different things"
        )
        raise ModelError(
            f"{what} is {is_}, and was {was} when the model was loaded: {why}. Restore it; or change the transformers "
            "model before ps.load_model(model); or use hooks, model.hooks(...)"
        )

    def _named(self, name: str) -> str:
        return f"{self._where}.{name}" if name else self._where


def _is_method(value: Any) -> bool:
    return isinstance(value, Callable) and not isinstance(value, type | nn.Module)  # type: ignore[arg-type]


def _is_of_class(module: nn.Module, attribute: str) -> bool:
    """Return whether an attribute of the object is its class's own method, as after `module.forward = original`."""
    of_class = getattr(type(module), attribute, None)
    return callable(of_class) and vars(module).get(attribute) == MethodType(of_class, module)


def _is_ours(module: nn.Module, attribute: str) -> bool:
    """Return whether promptscope itself replaced this attribute during a pass."""
    value = vars(module).get(attribute)
    return is_written_in(getattr(value, "func", value), [_OURS])


def _shown(value: Any) -> str:
    return type(value).__name__ if isinstance(value, nn.Module) else shortened(" ".join(repr(value).split()))


def _differs(now: Any, before: Any) -> bool:
    try:
        return bool(now != before)
    except (RuntimeError, ValueError):  # tensors and arrays have no truth value: another one is a change
        return True


def _changed(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    return [
        name
        for name in {**before, **now}
        if (name in now) != (name in before)
        or (now[name] is not before[name] and (name in HOOK_KINDS or _differs(now[name], before[name])))
    ]
