"""A model is more than its weights: modules, their attributes, replaced methods, the configuration, its code."""

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
    """Notices changes of a module tree that are none of its weights, and that its other half knows nothing of.

    *where* is what the user calls the tree. *is_source*: it is the caller's own model, with which the hooked one shares
    its weights and nothing else.
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
        """Refuse what has changed since.

        Raises:
            ModelError: another module, method or attribute than when the model was loaded, or another configuration;
                on the caller's own model, a hook too.
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
                    f"{self._named(name)} was put into {'training' if module.training else 'evaluation'} mode, in "
                    f"which dropout may act: call {self._where}.{'eval' if module.training else 'train'}()"
                )
            self._say(f"`{attribute}` of {self._named(name)}", vars(module), before, attribute)

    def _refuse_module(self, name: str, module: nn.Module, before: dict[str, Any]) -> None:
        for child in _changed(module._modules, before):
            self._say(f"the module {child!r} of {self._named(name)}", module._modules, before, child)
        raise ModelError(f"{self._named(name)} has become a {type(module).__name__} since the model was loaded")

    def _refuse_hooks(self, name: str, module: nn.Module) -> None:
        for kind in HOOK_KINDS:
            for function in getattr(module, kind).values():
                if not only_looks(function):
                    raise ModelError(
                        f"{self._named(name)} has a PyTorch hook ({getattr(function, '__qualname__', function)}), "
                        "which does nothing here: the hooked model has that model's weights, and modules of its own. "
                        "Take it off (handle.remove()) and attach it with model.hooks(...)"
                    )

    def _say(self, what: str, now: dict[str, Any], before: dict[str, Any], name: str) -> None:
        is_, was = (_shown(values[name]) if name in values else "not there" for values in (now, before))
        if is_ == was:
            is_ = f"another {is_}"
        why = (
            "the hooked model does not see it, which has that model's weights and modules of its own"
            if self._is_source
            else "the plain and the hooked model would compute different things"
        )
        raise ModelError(
            f"{what} is {is_}, and was {was} when the model was loaded: {why}. Put it back; change the transformers "
            "model before ps.load_model(model); or attach hooks, model.hooks(...)"
        )

    def _named(self, name: str) -> str:
        return f"{self._where}.{name}" if name else self._where


def _is_method(value: Any) -> bool:
    return isinstance(value, Callable) and not isinstance(value, type | nn.Module)  # type: ignore[arg-type]


def _is_of_class(module: nn.Module, attribute: str) -> bool:
    """Whether a method was put on the object that its class has anyway, as by `module.forward = what_was_there`."""
    of_class = getattr(type(module), attribute, None)
    return callable(of_class) and vars(module).get(attribute) == MethodType(of_class, module)


def _is_ours(module: nn.Module, attribute: str) -> bool:
    """Whether promptscope itself put a function there, for the length of a pass."""
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
