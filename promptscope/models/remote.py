"""A model on a server of NDIF: passes and gradients are requests to the server, hooks run on this machine."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promptscope.errors import ModelError
from promptscope.models.nnsight_bridge import NNsightBridge, Visit, without_warnings
from promptscope.models.nnsight_table import Spot
from promptscope.models.placement_hooks import Hide, Overwrite

_TASKS = {"causal": "text-generation", "masked": "fill-mask"}
_LOGITS = "logits"


@dataclass(frozen=True)
class Request:
    """A request to a server, as plain data, so that the server needs neither promptscope nor the user's code.

    `edits` maps hook points to their edits `(kind, what)` in order: for `rows` and `whole`, *what* is the number of a
    tensor; for `hide`, the columns to hide. `wanted` are the names whose values are returned: hook points and `logits`.
    """

    inputs: Mapping[str, Any]
    ops: tuple[tuple[Any, ...], ...]
    edits: Mapping[str, Sequence[tuple[str, Any]]]
    wanted: tuple[str, ...]


class RemoteBridge(NNsightBridge):
    """Runs passes on a server; hooks are attached to it as to a TransformerLens bridge.

    A pass is one request: the prompt's vectors are sent and written on the server, and the activations that hooks read
    are returned. The user's hooks run on this machine, on the returned activations. If a hook returns a new value, one
    more request continues from it. Gradients flow to the prompt and to values that hooks wrote; `backward` is one more
    request for each pass.

    Raises:
        ModelError: there is no key or connection, the server has another version of nnsight, or the request failed.
    """

    def __init__(
        self,
        outline: PreTrainedModel,
        spots: Mapping[str, Spot],
        where: str,
        revision: str | None,
        tokenizer: PreTrainedTokenizerBase | None,
        server: bool | str,
        kind: str,
    ) -> None:
        from nnsight import CONFIG
        from nnsight.modeling.transformers import TransformersModel

        if server is True and not CONFIG.API.APIKEY:
            raise ModelError(
                "remote=True needs a key of NDIF: get one at https://login.ndif.us, then run `nnsight login`, or set "
                "the environment variable NDIF_API_KEY"
            )
        if kind not in _TASKS:
            raise ModelError(f"remote runs causal and masked models, got a {kind} model: load it without remote")
        with without_warnings():
            traced = TransformersModel(
                where,
                task=_TASKS[kind],
                revision=revision,
                tokenizer=copy.deepcopy(tokenizer),  # nnsight changes its padding side
                attn_implementation="eager",
            )
        self._set_up(outline, traced, spots)
        self.host = server if isinstance(server, str) else str(CONFIG.API.HOST)

    def forward(self, input_ids: Tensor, **arguments: Any) -> Tensor:
        """Run the model on the server with the attached hooks and return its logits, with gradient."""
        inputs = {"input_ids": input_ids, **arguments}
        visits = [visit for visit in self._visits if visit.point._forward_hooks]
        tensors: list[Tensor] = []
        edits: dict[str, list[tuple[str, Any]]] = {}
        waiting: list[tuple[Visit, list[Any]]] = []
        for visit in visits:
            own, rest = _sent(visit)
            for edit in own:
                what: Any = edit.columns if isinstance(edit, Hide) else len(tensors)
                edits.setdefault(visit.name, []).append(("hide" if isinstance(edit, Hide) else "rows", what))
                tensors += [] if isinstance(edit, Hide) else [edit.rows]
            if rest:
                waiting.append((visit, rest))
        while True:
            # What the unembedding reads is often cut to a few positions: ask for logits when that is done.
            read_last = any(visit.name == "unembed.hook_in" for visit, _ in waiting)
            wanted = (*(visit.name for visit, _ in waiting), *(() if read_last else (_LOGITS,)))
            ops = tuple(_op(visit) for visit in visits if visit.name in edits or visit.name in wanted)
            request = Request(inputs, ops, {name: tuple(edit) for name, edit in edits.items()}, wanted)
            found = dict(zip(wanted, _Remotely.apply(self, request, *tensors), strict=True))
            while waiting:
                visit, hooks = waiting.pop(0)
                new = _run(visit, hooks, found[visit.name])
                if new is not None:
                    edits[visit.name] = [("whole", len(tensors))]
                    tensors.append(new)
                    break
            else:
                if _LOGITS in found:
                    return found[_LOGITS]

    def ask(self, request: Request, tensors: Sequence[Tensor], cotangents: Mapping[str, Tensor] | None) -> Any:
        """Send a request; return the wanted values by name or, given *cotangents*, the gradients of *tensors*."""
        from nnsight.intervention.backends.display import StatusDisplay
        from nnsight.intervention.backends.remote import RemoteBackend

        backend = RemoteBackend(self._traced.to_model_key(), host=self.host)
        backend.display = StatusDisplay(enabled=False)
        values = [tensor.detach().cpu() for tensor in tensors]
        try:
            return _ask(self._traced, backend, request, values, cotangents)
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> ModelError:
        from nnsight.intervention.backends.remote import RemoteError

        said = str(error).strip() or type(error).__name__
        if not isinstance(error, RemoteError):
            return ModelError(
                f"the connection to {self.host} failed ({type(error).__name__}: {said[:200]}). Run the call again: "
                "captures that are in a store are not computed a second time"
            )
        if (refused := said.removeprefix("Failed to send request: ")) != said:
            return ModelError(
                f"{self.host} refused the request: {refused[:300]} (the nnsight here is {version('nnsight')}; the key "
                "is set by `nnsight login` or NDIF_API_KEY; nnsight.status() lists the models on the server)"
            )
        return ModelError(f"the request failed on {self.host}: {said.splitlines()[-1][:300]}")


class _Remotely(torch.autograd.Function):
    """A request as a differentiable function of the tensors that are sent; its backward pass is another request."""

    @staticmethod
    def forward(ctx: Any, bridge: RemoteBridge, request: Request, *tensors: Tensor) -> Any:
        ctx.bridge, ctx.request = bridge, request
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        found = bridge.ask(request, tensors, None)
        return tuple(found[name].to(request.inputs["input_ids"].device) for name in request.wanted)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        named = zip(ctx.request.wanted, gradients, strict=True)
        cotangents = {name: gradient.cpu() for name, gradient in named if gradient is not None}
        found = ctx.bridge.ask(ctx.request, ctx.saved_tensors, cotangents)
        return None, None, *(g.to(x) for g, x in zip(found, ctx.saved_tensors, strict=True))


def _ask(traced: Any, backend: Any, request: Request, values: list[Tensor], cotangents: Any) -> Any:
    # The text of the block is what is sent, with the values of the names in it: no function and no class of ours.
    import nnsight

    ops, edits, wanted = request.ops, dict(request.edits), request.wanted
    backward = cotangents is not None
    with traced.trace(**request.inputs, backend=backend):
        leaves = [value.requires_grad_(backward) for value in values]
        for op in ops:  # sources are opened before the forward pass comes to them
            place = traced
            for step in op[1]:
                if isinstance(step, tuple):
                    _ = place.source
                    break
                place = place[step] if isinstance(step, int) else getattr(place, step)
        kept = {}
        for name, steps, at, view, width in ops:
            place = traced
            for step in steps:
                if isinstance(step, tuple):
                    begins = [one for one in place.source.names if one.rpartition("_")[0] == step[1]]
                    if not begins:
                        raise RuntimeError(
                            f"the model on the server uses a fused attention without {step[1]}, so that {name} cannot "
                            "be read"
                        )
                    step = max(begins, key=lambda one: int(one.rpartition("_")[2]))
                    place = place.source
                place = place[step] if isinstance(step, int) else getattr(place, step)
            raw = getattr(place, at)
            x = raw[0] if view == "first" and isinstance(raw, tuple) else raw
            third = ["query", "key", "value"].index(view) if view in ("query", "key", "value") else None
            if third is not None:
                x = raw.chunk(3, dim=-1)[third]
            if third is not None or view == "heads":
                x = x.unflatten(-1, (-1, width))
            for kind, what in edits.get(name, ()):
                if kind == "hide":
                    lowest = max(torch.finfo(x.dtype).min, torch.finfo(torch.float32).min)
                    x = x.clone()
                    x[..., what] = lowest
                else:
                    value = leaves[what].to(x.device, x.dtype)
                    if kind == "rows":
                        value = torch.cat([value.expand(len(x), *value.shape), x[:, len(value) :]], dim=1)
                    x = value
            if name in edits:
                new = x.flatten(-2) if third is not None or view == "heads" else x
                if third is not None:
                    parts = list(raw.chunk(3, dim=-1))
                    parts[third] = new
                    new = torch.cat(parts, dim=-1)
                if view == "first" and isinstance(raw, tuple):
                    new = (new, *raw[1:])
                setattr(place, at, new)
            if name in wanted:
                kept[name] = x
        kept["logits"] = traced.output.logits
        if backward:
            outcome = sum((kept[name] * cotangents[name].to(kept[name])).sum() for name in cotangents)
            gradients = torch.autograd.grad(outcome, leaves, allow_unused=True)
            found = [g if g is not None else torch.zeros_like(x) for g, x in zip(gradients, leaves, strict=True)]
            answer = nnsight.save([g.detach().cpu() for g in found])
        else:
            answer = nnsight.save({name: kept[name].detach().cpu() for name in wanted})
    return answer


def _op(visit: Visit) -> tuple[Any, ...]:
    return visit.name, visit.steps, visit.at, visit.view, visit.width


def _sent(visit: Visit) -> tuple[list[Overwrite | Hide], list[Any]]:
    """Return the prompt's hooks, which come first and are sent as data, and the hooks that run on this machine."""
    given = {handle.hook.id: handle.user_hook for handle in visit.point.fwd_hooks}
    hooks = [(given.get(number), hook) for number, hook in visit.point._forward_hooks.items()]
    n = next((i for i, (user, _) in enumerate(hooks) if not isinstance(user, Overwrite | Hide)), len(hooks))
    return [user for user, _ in hooks[:n] if isinstance(user, Overwrite | Hide)], [hook for _, hook in hooks[n:]]


def _run(visit: Visit, hooks: list[Any], x: Tensor) -> Tensor | None:
    """Run hooks in order and return the new value, or None if no hook returned one."""
    new = x
    for hook in hooks:
        returned = hook(visit.point, (new,), new)
        new = new if returned is None else returned
    if new is x:
        return None
    visit.check(x, new)
    return new
