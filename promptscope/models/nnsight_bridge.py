"""The nnsight backend: TransformerLens' hook points on a plain Hugging Face model, which runs in an nnsight trace."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.families import Family
from promptscope.models.nnsight_table import SPOTS, Spot
from promptscope.models.twin import share_weights

_THIRDS = {"query": 0, "key": 1, "value": 2}


@dataclass(frozen=True, eq=False)
class Visit:
    """The work of a trace at one hook point: read the value, run the hooks on it, write what they return."""

    point: HookPoint
    steps: tuple[Any, ...]
    at: str
    view: str
    width: int

    @property
    def name(self) -> str:
        """The name of the hook point."""
        return str(self.point.name)

    def check(self, x: Tensor, new: Tensor) -> None:
        """Raise ModelError if a hook returned another shape, which is allowed at the unembedding's input only."""
        if new.shape != x.shape and self.name != "unembed.hook_in":
            raise ModelError(
                f"a hook returned another shape, {tuple(new.shape)}, at {self.name}: expected {tuple(x.shape)}, or "
                "None for no change"
            )


class Part(nn.Module):
    """A module of the model, run outside of a trace with the hooks at the hook points of its input and output."""

    plain: nn.Module
    hook_in: HookPoint  # the final norm has none
    hook_out: HookPoint

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.__dict__["plain"] = plain  # not a module of this one: it is one of the model's

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module makes of *x*.

        Raises:
            ModelError: its weights are on a server.
        """
        is_placed = hasattr(self.plain, "_hf_hook")  # accelerate brings its weights from the disk
        if not is_placed and any(weight.is_meta for weight in self.plain.parameters()):
            raise ModelError(
                f"the weights of the model's {type(self.plain).__name__} are on the server, and what was asked for "
                "(the logit lens, for instance) runs this part alone, here: load the model without remote="
            )
        if "hook_in" in self._modules:
            x = self.hook_in(x)
        return self.hook_out(self.plain(x))


class NNsightBridge(nn.Module):
    """Runs a model in an nnsight trace; hooks are attached to it as to a TransformerLens bridge.

    Its modules are the hook points, by name; `original_model` is the model, a copy that shares its weights and uses
    eager attention. Only hook points with hooks are traced. nnsight is imported when the first one is made, since it
    adds `.save` to every object of the process and replaces `Tensor.backward` within a trace.

    Raises:
        ModelError: the hook points of the model's family are not known for this backend.
    """

    backend = "nnsight"
    original_model: Any
    _traced: Any

    def __init__(self, twin: PreTrainedModel, family: Family) -> None:
        spots = spots_of(family.name)
        inner = share_weights(twin)
        inner.set_attn_implementation("eager")  # fused attention has no scores and no pattern to read
        inner.eval()
        self._set_up(inner, _wrap(inner), spots)

    @classmethod
    def over(cls, inner: PreTrainedModel, spots: Mapping[str, Spot]) -> NNsightBridge:
        """Make a bridge that runs *inner* itself, with its weights where accelerate has placed them."""
        bridge = cls.__new__(cls)
        bridge._set_up(inner, _wrap(inner), spots)
        return bridge

    def _set_up(self, inner: PreTrainedModel, traced: Any, spots: Mapping[str, Spot]) -> None:
        """Make the hook points of *inner*; *traced* is its nnsight wrapper."""
        super().__init__()
        self.__dict__["original_model"] = inner  # not a module of this one: what hangs on hook points is found here
        self.__dict__["_traced"] = traced
        self.cfg = _sizes(inner.config)
        n_layers = inner.config.num_hidden_layers
        self._visits: list[Visit] = []
        self.hook_dict: dict[str, HookPoint] = {}
        for part in ("ln_final", "unembed"):  # which the logit lens runs alone
            self.add_module(part, Part(inner.get_submodule(spots[f"{part}.hook_out"].path)))
        before = [name for name in spots if "{i}" not in name and not name.startswith(("ln_final", "unembed"))]
        inside = [name for name in spots if "{i}" in name]
        after = [name for name in spots if name not in before and name not in inside]
        for name in before:
            self._add(name, spots[name])
        for i in range(n_layers):
            for name in inside:
                spot = spots[name]
                self._add(name.format(i=i), Spot(spot.path.format(i=i), spot.at, spot.view))
        for name in after:
            self._add(name, spots[name])

    def _add(self, name: str, spot: Spot) -> None:
        point = HookPoint()
        point.name = name
        *parents, last = name.split(".")
        home: nn.Module = self
        for part in parents:
            if not hasattr(home, part):
                home.add_module(part, nn.ModuleList() if part == "blocks" else nn.Module())
            child = getattr(home, part) if not part.isdigit() else None
            if child is None:
                assert isinstance(home, nn.ModuleList)
                while len(home) <= int(part):
                    home.append(nn.Module())
                child = home[int(part)]
            home = child
        home.add_module(last, point)
        self.hook_dict[name] = point
        width = self.cfg.d_head
        self._visits.append(Visit(point, _steps(self._traced, spot.path), spot.at, spot.view, width))

    def check_hooks_to_add(self, point: HookPoint, name: str, hook: Any, **options: Any) -> None:
        """Do nothing: on this backend, no hook point can be switched off."""

    def _gated_hook_reason(self, name: str) -> None:
        """Return None: no hook point can be switched off (TransformerLens' bridges return a reason here)."""

    def missing(self, name: str) -> str:
        """Return a hint for a hook point that this backend does not have: which backend has it."""
        return (
            f" Backend 'nnsight' has the {len(self.hook_dict)} hook points of model.hook_points(), and no others of "
            "TransformerLens: ps.load_model(..., backend='transformer_lens') may have this one."
        )

    def forward(self, input_ids: Tensor, **arguments: Any) -> Tensor:
        """Run the model with the attached hooks and return its logits, with gradient."""
        inner = self.original_model
        if inner.training and any(getattr(module, "gradient_checkpointing", False) for module in inner.modules()):
            raise ModelError(
                "gradient checkpointing gives wrong gradients with backend='nnsight', since it computes layers again "
                "outside of the trace, without hooks: switch it off, or use backend='transformer_lens'"
            )
        visits = [visit for visit in self._visits if visit.point.fwd_hooks or visit.point._forward_hooks]
        traced = self._traced
        with traced.trace(input_ids=input_ids, **arguments):
            _arm(traced, visits)
            for visit in visits:
                _visit(traced, visit)
            logits = traced.output.logits.save()
        return logits


def spots_of(family: str) -> Mapping[str, Spot]:
    """Return the place of each hook point of a family in the modules of the plain model.

    Raises:
        ModelError: the hook points of this family are not known for nnsight.
    """
    if family not in SPOTS:
        raise ModelError(
            f"backend='nnsight' supports the families {', '.join(SPOTS)}, got a model of the family {family}: use "
            "backend='transformer_lens'"
        )
    return SPOTS[family]


def _wrap(inner: PreTrainedModel) -> Any:
    try:
        import nnsight
    except ImportError as error:
        raise ModelError(f"backend='nnsight' needs the package nnsight ({error}): pip install nnsight") from error
    with without_warnings():
        return nnsight.NNsight(inner)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress nnsight's warning that a submodule called `output` is renamed to `E_output`, the table's name for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _sizes(config: Any) -> SimpleNamespace:
    heads = config.num_attention_heads
    return SimpleNamespace(
        d_model=config.hidden_size,
        n_heads=heads,
        n_key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
        d_head=getattr(config, "head_dim", None) or config.hidden_size // heads,
    )


def _steps(traced: Any, path: str) -> tuple[Any, ...]:
    """Return the steps from the traced model to a hook point: attributes, indices, and `("source", name prefix)`."""
    steps: list[Any] = []
    place = traced
    for part in path.split("."):
        if part.startswith("source:"):
            steps.append(("source", part.removeprefix("source:")))
            place = None  # what a function calls is known in a trace only
            continue
        step: Any = int(part) if part.isdigit() else part
        # nnsight renames a submodule whose name it has taken itself, such as `output`.
        if part in ("input", "output") and place is not None and hasattr(place, f"E_{part}"):
            step = f"E_{part}"
        steps.append(step)
        place = None if place is None else _step(place, step)
    return tuple(steps)


def _operation(source: Any, begins: str) -> Any:
    """Return the last operation whose name begins with *begins*; earlier ones may be assignments of the function."""
    names = [name for name in source.names if name.rpartition("_")[0] == begins]
    if not names:
        raise ModelError(
            f"the attention of this model has no operation {begins!r}, so that backend='nnsight' cannot read its "
            "pattern: use backend='transformer_lens'"
        )
    return getattr(source, max(names, key=lambda name: int(name.rpartition("_")[2])))


def _step(place: Any, step: Any) -> Any:
    if isinstance(step, tuple):
        return _operation(place.source, step[1])
    return place[step] if isinstance(step, int) else getattr(place, step)


def _walk(place: Any, steps: Sequence[Any]) -> Any:
    for step in steps:
        place = _step(place, step)
    return place


def _arm(traced: Any, visits: Sequence[Visit]) -> None:
    """Enable nnsight's tracing inside of the modules that are read, before the forward pass reaches them."""
    for visit in visits:
        first = next((i for i, step in enumerate(visit.steps) if isinstance(step, tuple)), None)
        if first is not None:
            _walk(traced, visit.steps[: first + 1])


def _visit(traced: Any, visit: Visit) -> None:
    place = _walk(traced, visit.steps)
    raw = getattr(place, visit.at)
    x = _seen(raw, visit)
    new = visit.point(x)
    visit.check(x, new)
    if new is not x:
        setattr(place, visit.at, _written(raw, new, visit))


def _seen(raw: Any, visit: Visit) -> Tensor:
    if visit.view == "first":
        return raw[0] if isinstance(raw, tuple) else raw
    if visit.view == "heads":
        return raw.unflatten(-1, (-1, visit.width))
    if visit.view in _THIRDS:
        return raw.chunk(3, dim=-1)[_THIRDS[visit.view]].unflatten(-1, (-1, visit.width))
    return raw


def _written(raw: Any, new: Tensor, visit: Visit) -> Any:
    if visit.view == "first":
        return (new, *raw[1:]) if isinstance(raw, tuple) else new
    if visit.view == "heads":
        return new.flatten(-2)
    if visit.view in _THIRDS:
        parts = list(raw.chunk(3, dim=-1))
        parts[_THIRDS[visit.view]] = new.flatten(-2)
        return torch.cat(parts, dim=-1)
    return new
