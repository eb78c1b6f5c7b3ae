"""Runs of one batch under one condition, whole or from a layer on, with logits only where an answer is predicted.

A variant that changes nothing below layer l does not compute those layers again: they return their input, and layer l
gets the residual stream that the whole run had there. Several variants share a pass, as further rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.inputs import target_rows
from promptscope.checks import checked
from promptscope.engine import kernel
from promptscope.models import Hook, HookedModel, Prefix, prefix_of
from promptscope.prompts import Prompt
from promptscope.tasks import Batch
from promptscope.undo import replaced

F = TypeVar("F", bound=Callable[..., Any])


def in_turn(function: F) -> F:
    """Let a function of a model (its first argument) run without interference from its caller or other threads.

    Inside, no mode of the caller's (such as `torch.no_grad`) is in force and gradients are on; between its passes no
    other thread runs the model, and no weights are changed.
    """

    @wraps(function)
    def call(model: HookedModel, *args: Any, **kwargs: Any) -> Any:
        with model.turn(), torch.enable_grad():
            return function(model, *args, **kwargs)

    return call  # type: ignore[return-value]


@checked(shared=0)
@dataclass(frozen=True, eq=False)
class Condition:
    """How the inputs are run: with a prompt, or without one.

    - `prompt`: the prompt, or None;
    - `shared`: without a prompt, the position number at which text begins (0: as in the plain model);
    - `hooks`: further hooks, which come after the prompt's own;
    - `prefix`: cached keys and values that the text attends to instead of computing the prompt.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> inputs = ps.causal.make_inputs(model, None, task, limit=3)
    >>> at_4 = ps.causal.answers(model, inputs, ps.causal.Condition(shared=4))  # without a prompt, from position 4 on
    >>> at_4.gold.shape
    (3,)
    """

    prompt: Prompt | None = None
    shared: int = 0
    hooks: tuple[Hook, ...] = ()
    prefix: Prefix | None = None

    def offsets(self, model: HookedModel) -> dict[str, int]:
        """Return for each stream of the model the index at which text begins in its tensors."""
        slots = self.prompt.bind(model).slots(model) if self.prompt is not None else {}
        return {"encoder": slots.get("encoder", 0), "decoder": slots.get("decoder", 0)}


def plain(model: HookedModel, prompt: Prompt, positions: str = "shared") -> Condition:
    """Return the condition without *prompt*: text at its positions after the prompt (`shared`), or from 0 (`own`)."""
    taken = prompt.bind(model).slots(model).get("encoder", 0)
    return Condition(None, taken if positions == "shared" and model.family.kind != "seq2seq" else 0)


@dataclass(frozen=True, eq=False)
class Start:
    """Start a run at `layer` of the main stack, with this residual stream entering it (one row for each text)."""

    layer: int
    residual: Float[Tensor, "B T d_model"]


def run(
    model: HookedModel,
    batch: Batch,
    condition: Condition,
    hooks: Iterable[Hook] = (),
    keep: Sequence[str] = (),
    copies: int = 1,
    start: Start | None = None,
    gradient: bool = False,
) -> tuple[Float[Tensor, "rows V"], dict[str, Tensor]]:
    """Return the logits that predict the targets of *copies* of *batch*, and the activations at the hook points *keep*.

    *hooks* run after those of the prompt and of the condition; the kept activations include their edits.
    """
    offsets = condition.offsets(model)
    seq2seq = model.family.kind == "seq2seq"
    rows, positions = target_rows(batch, offsets["decoder" if seq2seq else "encoder"], copies)
    kept: dict[str, Tensor] = {}
    every = [*_entry(model, start, copies), *condition.hooks, *hooks, *(_keep(name, kept) for name in keep)]
    every.append(("unembed.hook_in", lambda x, hook: x[rows, positions][None]))
    arguments: dict[str, Any] = {"position_offset": condition.shared, "prefix": condition.prefix}
    if batch.decoder_input_ids is not None:
        arguments["decoder_input_ids"] = batch.decoder_input_ids.repeat(copies, 1)
    if batch.unseen is not None:
        arguments["unseen"] = batch.unseen.repeat(copies, 1)
    if batch.token_types is not None:
        arguments["token_type_ids"] = batch.token_types.repeat(copies, 1)
    ids, mask = batch.input_ids.repeat(copies, 1), batch.attention_mask.repeat(copies, 1)
    part = _from_layer(model, start.layer) if start is not None else nullcontext()
    # One turn: what is left out for its length is ours, and not somebody's change of the model.
    with model.turn(), torch.set_grad_enabled(gradient), part, kernel(model, model.bridge):
        logits = model.forward_hooked(ids, mask, condition.prompt, every, **arguments)
    return logits[0], kept


@torch.no_grad()
def behind_cache(model: HookedModel, condition: Condition) -> Condition:
    """Return *condition* with the prompt replaced by its cached keys and values, so that only text is computed.

    In a causal model no prompt position attends to the text, so nothing that is done at text positions changes the
    prompt's keys and values. Where they cannot be cached (other kinds of models, attached hooks, a prompt that some
    layers do not attend to), *condition* is returned as it is.
    """
    if condition.prompt is None or condition.hooks or not model.facts.shares_cache:
        return condition
    placement = condition.prompt.place(model)
    if model.needs_hooks([placement]) or not placement.sees_everywhere(model):
        return condition
    return Condition(prefix=prefix_of(placement, model).detach())


def can_start_anywhere(model: HookedModel) -> bool:
    """Return whether layers can be skipped on *model*; measured once, by bitwise comparison with a whole run."""
    if model.family.kind == "seq2seq":  # layers hand each other more than the residual stream
        return False
    if model not in _STARTS:
        layer = model.shape.n_layers // 2
        ids = torch.arange(4, device=model.device)[None] % model.shape.vocab_size
        kept: dict[str, Tensor] = {}
        with model.turn(), torch.no_grad():
            with _returned(_blocks(model)[0]) as returned:
                whole = model.forward_hooked(ids, hooks=[_keep(entry_point(model, layer), kept)])
            _RETURNED[model] = len(returned[0]) if isinstance(returned[0], tuple) else None
            start = Start(layer, kept[entry_point(model, layer)])
            with _from_layer(model, layer):
                again = model.forward_hooked(ids, hooks=_entry(model, start, 1))
        _STARTS[model] = bool(torch.equal(whole, again))
    return _STARTS[model]


_STARTS: WeakKeyDictionary[HookedModel, bool] = WeakKeyDictionary()
# How many values a layer returns; None: the residual stream by itself, and no tuple.
_RETURNED: WeakKeyDictionary[HookedModel, int | None] = WeakKeyDictionary()


def entry_point(model: HookedModel, layer: int) -> str:
    """Return the hook point at which the residual stream enters *layer* of the main stack."""
    return f"{model.family.stacks[0]}.{layer}.hook_resid_pre"


def _entry(model: HookedModel, start: Start | None, copies: int) -> list[Hook]:
    if start is None:
        return []
    return [(entry_point(model, start.layer), lambda x, hook: start.residual.repeat(copies, 1, 1))]


def _keep(name: str, kept: dict[str, Tensor]) -> Hook:
    def keep(x: Tensor, hook: object) -> None:
        kept[name] = x

    return name, keep


def _blocks(model: HookedModel) -> list[Any]:
    return list(getattr(model.bridge, model.family.stacks[0]))


@contextmanager
def _from_layer(model: HookedModel, layer: int) -> Iterator[None]:
    """Let the layers below *layer* return their input."""

    def pass_on(hidden_states: Tensor, *rest: Any, **more: Any) -> Any:
        n = _RETURNED[model]
        return hidden_states if n is None else (hidden_states, *[None] * (n - 1))

    blocks = _blocks(model)[:layer]
    with replaced(*((vars(block), "forward", pass_on) for block in blocks)):
        yield


@contextmanager
def _returned(block: Any) -> Iterator[list[Any]]:
    """Collect what *block* returns."""
    found: list[Any] = []
    forward = block.forward

    def run_it(*arguments: Any, **more: Any) -> Any:
        found.append(forward(*arguments, **more))
        return found[-1]

    with replaced((vars(block), "forward", run_it)):
        yield found
