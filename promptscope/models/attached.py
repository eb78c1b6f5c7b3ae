"""Hooks on a bridge: finding those that a user attached, attaching more, and checking what they return."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformer_lens import model_bridge
from transformers import modeling_utils
from transformers.utils import output_capturing

from promptscope.code_identity import UnknownIdentityError, code_identity
from promptscope.errors import ModelError, nearest
from promptscope.undo import undoing

Hook = tuple[str, Callable[..., Tensor | None]]
"""A hook point's name and a function `fn(tensor, hook) -> tensor | None`."""

Bridge = Any
"""What runs a model with hooks: TransformerLens' `TransformerBridge`, or an `NNsightBridge`."""

HOOK_KINDS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# Where functions are written that only look: the bridge's own, registered at the first pass; transformers' for hidden
# states that are asked for, and for checkpointing (embeddings require gradients). Others of transformers act: NEFTune's
# adds noise. Ours refuse an overflow.
_OBSERVERS = (
    Path(model_bridge.__file__).parent,
    Path(output_capturing.__file__),
    Path(modeling_utils.__file__),
    Path(__file__).with_name("overflow.py"),
)


@dataclass(frozen=True)
class AttachedHook:
    """A hook that a user attached: the module or hook point, the kind of hook (`forward`, `backward`) and the function.

    `identity` tells hooks apart: the function's attribute `identity`, a string that its author sets and changes
    whenever the function's effect changes; without it, a hash of the function's code and everything that it refers to;
    None if that cannot be hashed.
    """

    point: str
    kind: str
    function: Callable[..., Any] = field(repr=False)

    @property
    def identity(self) -> str | None:
        """A string that changes when the result of the function may change, or None; see the class."""
        stated = getattr(self.function, "identity", None)
        if isinstance(stated, str):
            return stated
        try:
            return code_identity(self.function)
        except UnknownIdentityError:
            return None


def only_looks(function: Callable[..., Any]) -> bool:
    """Return whether TransformerLens or transformers attached a hook for their own use; it changes no activation."""
    return is_written_in(function, _OBSERVERS)


def is_written_in(function: Any, places: Sequence[Path]) -> bool:
    """Return whether the code of a function, or the class of a callable object, is in one of these files or folders.

    The function's `__module__` is not used, since `functools.wraps` or any other code can set it.
    """
    code = getattr(function, "__code__", None)
    try:
        file = Path(code.co_filename if code is not None else inspect.getfile(type(function)))
    except TypeError:  # a built-in class
        return False
    return any(place in (file, *file.parents) for place in places)


_WATCHED: WeakSet[nn.Module] = WeakSet()
"""The modules of hooked models, on which the results of global hooks are checked."""


class Watch:
    """Finds the hooks of a module tree that were attached after this object was made."""

    def __init__(self, root: nn.Module) -> None:
        # The dicts themselves: looking through all modules takes longer than a small model's pass.
        self._places = [
            (name, module, kind, getattr(module, kind)) for name, module in root.named_modules() for kind in HOOK_KINDS
        ]
        _WATCHED.update(module for _, module, *_ in self._places)
        # Numbers of handles: PyTorch gives none twice.
        self._own = {number for *_, hooks in self._places for number in hooks}

    def attached(self) -> list[AttachedHook]:
        """Return the hooks attached since, in the order of modules; from now on, check what forward hooks return."""
        found = []
        for name, module, kind, hooks in self._places:
            for number, function in list(hooks.items()) if hooks else ():
                if number in self._own or only_looks(function):
                    continue
                given = _given(module, number, function)
                found.append(AttachedHook(name, kind.strip("_").removesuffix("_hooks"), given))
                if given is function and "backward" not in kind:
                    hooks[number] = CheckedPytorchHook(name, function, before="pre" in kind)
        return found


def attached_everywhere() -> list[AttachedHook]:
    """Return the global hooks of PyTorch, which run for every module (`register_module_forward_hook` and similar).

    PyTorch's own hooks, which count operations or memory, are left out. From now on, check what the others return on
    modules of hooked models.
    """
    found = []
    for kind in HOOK_KINDS:
        hooks = getattr(torch.nn.modules.module, f"_global{kind}", {})
        for number, function in list(hooks.items()):
            given = function.function if isinstance(function, CheckedGlobalHook) else function
            if is_written_in(given, [Path(torch.__file__).parent]):
                continue
            found.append(AttachedHook("every module", kind.strip("_").removesuffix("_hooks"), given))
            if given is function and "backward" not in kind:
                hooks[number] = CheckedGlobalHook("a module", function, before="pre" in kind)
    return found


def _given(module: Any, number: int, function: Any) -> Any:
    # TransformerLens wraps the function that it is given, and remembers it.
    handles = [*getattr(module, "fwd_hooks", ()), *getattr(module, "bwd_hooks", ())]
    function = next((handle.user_hook for handle in handles if handle.hook.id == number), function)
    return function.function if isinstance(function, CheckedHook | CheckedPytorchHook) else function


@dataclass(frozen=True, eq=False)
class CheckedHook:
    """A user's hook whose returned tensor is checked; a model could broadcast a wrong shape without an error."""

    name: str
    function: Callable[..., Any]
    is_checked: ClassVar[bool] = True

    def __call__(self, x: Any, hook: object) -> Any:
        """Call the hook and check what it returns.

        Raises:
            ModelError: the hook returned something that is not a tensor, a tensor of another shape or dtype than it was
                given, or new NaN or infinite values.
        """
        if not isinstance(x, Tensor):
            return self.function(x, hook=hook)
        before = _edits(x)
        new = self.function(x, hook=hook)
        if new is not None and new is not x:
            _check_tensor(self.name, x, new)
        elif _edits(x) != before:
            _check_finite(self.name, x)
        return new


@dataclass(frozen=True, eq=False)
class CheckedPytorchHook:
    """A hook attached with PyTorch, `fn(module, inputs, output)` or, with *before*, `fn(module, inputs)`, checked."""

    name: str
    function: Callable[..., Any]
    before: bool

    def __call__(self, module: nn.Module, *values: Any) -> Any:
        """Call the hook and check what it returns.

        Raises:
            ModelError: the hook returned something other than tensors of the shapes and dtypes that it was given.
        """
        return self.checked(module, *values)

    def checked(self, module: nn.Module, *values: Any) -> Any:
        """Call the hook and check what it returns."""
        new = self.function(module, *values)
        if new is None:
            return None
        if not self.before:
            _check_like(self.name, values[-1], new)
        elif len(values) == 1:  # a hook of the inputs may return one of them alone
            _check_like(self.name, values[0], new if isinstance(new, tuple) else (new,))
        else:  # with_kwargs=True
            _check_like(self.name, values, new)
        return new


class CheckedGlobalHook(CheckedPytorchHook):
    """A global hook of PyTorch, which runs for every module; it is checked on modules of hooked models."""

    def __call__(self, module: nn.Module, *values: Any) -> Any:
        """Call the hook; check what it returns if *module* belongs to a hooked model."""
        if module not in _WATCHED:
            return self.function(module, *values)
        return replace(self, name=f"a {type(module).__name__}").checked(module, *values)


def _check_like(name: str, old: Any, new: Any) -> None:
    if new is old:
        return
    if isinstance(old, Tensor):
        _check_tensor(name, old, new)
        return
    if type(new) is not type(old) or (isinstance(old, Sized) and len(new) != len(old)):
        shown, wanted = (f"{type(x).__name__}{f' of {len(x)}' if isinstance(x, Sized) else ''}" for x in (new, old))
        raise ModelError(
            f"a hook returned a {shown} at {name}: expected a {wanted}, like the one it was given, or None"
        )
    if isinstance(old, Mapping):
        old, new = [old[key] for key in old], [new.get(key) for key in old]
    if isinstance(old, list | tuple):
        for one, other in zip(old, new, strict=True):
            _check_like(name, one, other)


def _check_tensor(name: str, x: Tensor, new: Any) -> None:
    wrong = None
    if not isinstance(new, Tensor):
        wrong = f"a {type(new).__name__}"
    elif new.shape != x.shape and not (name == "unembed.hook_in" and new.shape[2:] == x.shape[2:]):
        wrong = f"another shape, {tuple(new.shape)}"
    elif new.dtype != x.dtype:
        wrong = f"another type, {new.dtype}"
    if wrong is not None:
        raise ModelError(
            f"a hook returned {wrong} at {name}: expected a tensor of shape {tuple(x.shape)} and type {x.dtype}, "
            "or None for no change"
        )
    _check_finite(name, new, given=x)


def _check_finite(name: str, new: Tensor, given: Tensor | None = None) -> None:
    """Raise ModelError for values that are not finite, unless those *given* to the hook were not finite either."""
    scores = name.endswith("hook_attn_scores")  # of which those that a mask hides are minus infinity
    finite = ~new.isnan() if scores else new.isfinite()
    if not bool(finite.all()) and (given is None or scores or bool(given.isfinite().all())):
        raise ModelError(
            f"a hook returned NaN or infinite numbers at {name}, in {int((~finite).sum())} of {new.numel()} "
            "places: look for a division by zero or an overflow of half precision in the hook"
        )


def _edits(x: Tensor) -> int:
    return 0 if x.is_inference() else x._version


def check_returns(bridge: Bridge) -> None:
    """From now on, check what hooks return that are attached with the bridge's own `bridge.add_hook`."""
    for name, point in bridge.hook_dict.items():
        if "add_hook" not in vars(point):
            point.add_hook = partial(_add_checked, point, name)


def _add_checked(point: Any, name: str, hook: Callable[..., Any], dir: str = "fwd", *args: Any, **options: Any) -> Any:
    if dir == "fwd" and not getattr(hook, "is_checked", False):
        hook = CheckedHook(name, hook)
    return type(point).add_hook(point, hook, dir, *args, **options)


def as_hooks(given: Any) -> list[Hook]:
    """Return *given* as a list of hooks whose returned tensors are checked when they run.

    Raises:
        ModelError: an entry is not a pair `(name of a hook point, function(tensor, hook))`.
    """
    hooks = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [given]
    for hook in hooks:
        if not (isinstance(hook, tuple | list) and len(hook) == 2 and isinstance(hook[0], str) and callable(hook[1])):
            raise ModelError(
                f"hooks must be a list of pairs, such as [('blocks.0.attn.hook_z', function)], got {hook!r} "
                f"({type(hook).__name__})"
            )
        if not _takes_both(hook[1]):
            raise ModelError(
                f"the hook at {hook[0]!r} is called as function(tensor, hook=point): give it a second parameter called "
                "hook"
            )
    return [(name, one if isinstance(one, CheckedHook) else CheckedHook(name, one)) for name, one in hooks]


def _takes_both(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, hook=None)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True


@contextmanager
def attach(bridge: Bridge, first: Sequence[Hook] = (), last: Sequence[Hook] = ()) -> Iterator[None]:
    """Attach hooks within a `with` block; *first* run before the hooks already attached, *last* after them.

    Raises:
        ModelError: there is no such hook point, or it is switched off in the bridge's config.
    """
    known = bridge.hook_dict if first or last else {}
    found = [(_hook_point(bridge, known, name), function) for name, function in (*first, *last)]
    handles: list[tuple[Any, Any]] = []

    def undo() -> None:
        for point, handle in handles:
            handle.hook.remove()
            point.fwd_hooks[:] = [one for one in point.fwd_hooks if one is not handle]

    with undoing(undo):
        # The last of *first* is put before the others last, so that they run in the order given.
        for point, function in reversed(found[: len(first)]):
            _add(point, function, handles, prepend=True)
        for point, function in found[len(first) :]:
            _add(point, function, handles)
        yield


def _add(point: Any, function: Any, handles: list[tuple[Any, Any]], **options: Any) -> None:
    """Add a hook and its handle to *handles*, or neither of them."""
    there, listed = set(getattr(point, "_forward_hooks", ())), list(point.fwd_hooks)
    try:
        handles.append((point, point.add_hook(function, **options)))
    except BaseException:  # Ctrl-C, between the two
        for one in set(getattr(point, "_forward_hooks", ())) - there:
            del point._forward_hooks[one]
        point.fwd_hooks[:] = listed
        raise


def _hook_point(bridge: Bridge, known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise ModelError(
            f"no hook point {name!r} on this model.{nearest(str(name), known)} model.hook_points() lists those "
            f"that promptscope has tested.{bridge.missing(name) if hasattr(bridge, 'missing') else ''}"
        )
    try:
        bridge.check_hooks_to_add(known[name], name, lambda x, hook: None)
    except ValueError as error:
        raise ModelError(f"hook point {name!r} is switched off in the bridge's config: {error}") from error
    return known[name]


def _note(fired: set[str], name: str, x: object, hook: object) -> None:
    fired.add(name)


@torch.no_grad()
def silent_points(bridge: Bridge, run: Callable[[], object]) -> frozenset[str]:
    """Return the hook points that are switched on and do not fire in *run*."""
    fired: set[str] = set()

    names = [name for name, point in bridge.hook_dict.items() if not bridge._gated_hook_reason(point.name or name)]
    with attach(bridge, last=[(name, partial(_note, fired, name)) for name in names]):
        run()
    return frozenset(names) - fired
