"""Run the forward passes: one for each pass and batch serves every capture that is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from promptscope.engine import kernel, notice_edits
from promptscope.errors import ProbeError
from promptscope.inference.batches import padding_id
from promptscope.models import Hook, HookedModel
from promptscope.probes.joint import JointCapture, SummedCapture
from promptscope.probes.plan import OUTPUT, Edit, Pass, Plan, Request, layer_of
from promptscope.probes.write import Transplant
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.store import ActivationStore, PairedCapture, View
from promptscope.tasks import Batch, collate

Found = dict[tuple[Any, ...], Tensor]
"""What passes over a batch left: `("keep", entry)` to be stored, `("hold", capture, pass)` to compare with, both
`(hook point, ...)`; with a further i, of hook point i alone."""


def fill(
    model: HookedModel,
    prompts: Mapping[str, Prompt],
    plan: Plan,
    store: ActivationStore,
    batch_size: int = 8,
    progress: bool = True,
) -> None:
    """Compute and store the captures that the entries of *plan* lack; if they lack none, nothing runs."""
    if all(request.entry.complete for request in plan.requests):
        return
    incomplete = [request for request in plan.requests if not request.entry.complete]
    notice_edits(model.twin)
    fast = kernel(model, model.bridge.original_model)
    with store.writing(request.entry for request in incomplete), torch.no_grad(), fast:
        # Another process may have completed some of them while we waited.
        requests = [request for request in incomplete if not request.entry.complete]
        if not requests:
            return
        shards = range(requests[0].entry.n_shards)
        missing = {shard: [request for request in requests if shard not in request.entry] for shard in shards}
        forwards = sum(
            len(_passes(wanted, plan.edits)) * len(requests[0].entry.examples_of(shard))
            for shard, wanted in missing.items()
        )
        with progress_bar(total=forwards, unit="input", desc="probing", delay=1, shown=progress) as bar:
            for shard, wanted in missing.items():
                if wanted:
                    _fill_shard(model, prompts, plan, shard, wanted, batch_size, bar)


def _fill_shard(
    model: HookedModel,
    prompts: Mapping[str, Prompt],
    plan: Plan,
    shard: int,
    wanted: Sequence[Request],
    batch_size: int,
    bar: Any,
) -> None:
    indices = wanted[0].entry.examples_of(shard)
    examples = [plan.examples[i] for i in indices]
    pad = padding_id(model)
    parts: dict[Request, list[Tensor]] = {request: [] for request in wanted}
    # Inputs of like lengths share a batch: padding costs as much as text, and in attention more.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids), reverse=True)
    for start in range(0, len(examples), batch_size):
        batch = collate([examples[i] for i in order[start : start + batch_size]], pad).to(model.device)
        found: Found = {}
        for of in _passes(wanted, plan.edits):
            _run(model, prompts, of, batch, wanted, plan.edits, found)
            for request in wanted:
                if request.of == of:
                    for i in range(len(request.hooks)):
                        del found["keep", request.entry.folder, i]
                    kept = found.pop(("keep", request.entry.folder)).transpose(0, 1)
                    parts[request].append(kept.contiguous().to("cpu"))  # once per batch, all layers together
                    del kept
            bar.update(len(batch))
    whole = collate(examples, pad)
    lengths = whole.attention_mask.sum(dim=1)
    back = torch.tensor(order).argsort()
    for request in wanted:
        values = _join(parts[request], request.entry.ragged_dim, whole.input_ids.shape[1])[back]
        _check_finite(values, request, [example.id for example in examples])
        if isinstance(request.capture, SummedCapture):
            values = values.double().sum(dim=0, keepdim=True).float()
        request.entry.write(shard, values, lengths, whole.special, request.layers)


def _passes(requests: Sequence[Request], edits: Mapping[str, Edit]) -> list[Pass]:
    """Return the passes that *requests* need, each after those that it is compared with or takes activations from."""
    needed = dict.fromkeys(one for request in requests for one in (request.beside, request.of) if one is not None)
    donors = [donor for one in needed if one.edit for donor in edits[one.edit].donors if donor is not None]
    needed |= dict.fromkeys(donors)
    return sorted(needed, key=lambda one: (one.edit != "", one.prompt is not None))


def _run(
    model: HookedModel,
    prompts: Mapping[str, Prompt],
    of: Pass,
    batch: Batch,
    wanted: Sequence[Request],
    edits: Mapping[str, Edit],
    found: Found,
) -> None:
    """Run one pass over one batch, with all hooks of the requests in it."""
    prompt = prompts[of.prompt] if of.prompt is not None else None
    watched = bool(model.active_hooks())  # somebody's hooks may look where no capture does: leave nothing out
    batch = batch if watched or edits else _within_reach(model, of, batch, wanted)
    slots = prompt.slots(model) if prompt is not None else {}
    hooks: dict[tuple[Any, ...], Hook] = {}
    needed = {request.of.edit for request in wanted} - {""}
    for key in needed:  # what passes under an edit take from this one
        for name, j, i in _places(edits[key], lambda donor: donor == of):
            hooks["donor", key, j, i] = (
                name,
                _donate(edits[key], (key, j, i), _view(batch, name, slots, model), found),
            )
    if of.edit:
        for name, j, i in _places(edits[of.edit]):
            view = _view(batch, name, slots, model)
            hooks["edit", of.edit, j, i] = (name, _write(edits[of.edit], (of.edit, j, i), name, view, found))
    for request in wanted:
        for i, name in enumerate(request.hooks):
            view = _view(batch, name, slots, model)
            if request.of == of:
                for point, names in request.further.items():
                    further = _view(batch, names[i], slots, model)
                    hooks[_taken(request, i, point)] = (names[i], _take(request, i, point, further, found))
                hooks["keep", request.entry.folder, i] = (name, _keep(request, i, view, found))
            elif request.beside == of:  # held once for all prompts that are compared with it
                hooks[_held(request, i)] = (name, _hold(request, i, view, found))
    inside = [(name, hook) for name, hook in hooks.values() if name != OUTPUT]
    logits_are_read = len(inside) < len(hooks)
    logits = model.forward_hooked(
        batch.input_ids,
        batch.attention_mask,
        prompt,
        hooks=[
            *inside,
            *([] if watched or logits_are_read else _skip_unembedding(model, [name for name, _ in inside])),
        ],
        decoder_input_ids=batch.decoder_input_ids,
        position_offset=of.offset,
        unseen=batch.unseen,
        token_type_ids=batch.token_types,
    )
    for name, read in hooks.values():
        if name == OUTPUT:
            read(logits, None)
    silent = [name for key, (name, _) in hooks.items() if key not in found and key[0] != "take"]
    if silent:
        raise ProbeError(
            "these hook points did not fire in the forward pass, so nothing could be "
            f"captured there: {', '.join(silent)}"
        )


def _places(edit: Edit, chosen: Callable[[Pass | None], bool] = lambda donor: True) -> list[tuple[str, int, int]]:
    """Return (hook point, index of the write, index of its hook point)."""
    return [
        (name, j, i) for j, names in enumerate(edit.hooks) if chosen(edit.donors[j]) for i, name in enumerate(names)
    ]


def _donate(edit: Edit, place: tuple[str, int, int], view: View, found: Found) -> Callable[..., None]:
    """Return the hook function of a pass from which an edit takes activations."""
    key, j, i = place
    write = edit.writes[j]
    assert isinstance(write, Transplant)

    def hook_function(x: Tensor, hook: object) -> None:
        found["donor", key, j, i] = _alone(write.take(x.detach(), layer_of(edit.hooks[j][i]), view))

    return hook_function


def _write(edit: Edit, place: tuple[str, int, int], name: str, view: View, found: Found) -> Callable[..., Tensor]:
    """Return the hook function that edits one activation."""
    key, j, i = place
    write = edit.writes[j]

    def hook_function(x: Tensor, hook: object) -> Tensor:
        layer = layer_of(name)
        if isinstance(write, Transplant):
            new = write.put(x.clone(), found["donor", key, j, i], layer, view)
        else:
            new = write.write(x.clone(), layer, view)  # a copy: an edit in place would reach other readers of x
        if not isinstance(new, Tensor) or new.shape != x.shape:
            got = f"shape {tuple(new.shape)}" if isinstance(new, Tensor) else repr(new)
            raise ProbeError(
                f"{type(write).__name__}.write must return the whole activation at {name}, of shape "
                f"{tuple(x.shape)}; it returned {got}"
            )
        if not bool(torch.isfinite(new).all()) and bool(torch.isfinite(x).all()):
            raise ProbeError(f"{type(write).__name__} must write finite numbers, and wrote NaN or infinity at {name}")
        found["edit", key, j, i] = new.new_empty(0)  # it fired
        return new.to(x)

    return hook_function


def _within_reach(model: HookedModel, of: Pass, batch: Batch, wanted: Sequence[Request]) -> Batch:
    """Cut off the text that no capture of this pass reads; in a causal model earlier positions do not depend on it."""
    reaches = [request.capture.reach for request in wanted if of in (request.of, request.beside)]
    known = [reach for reach in reaches if reach is not None]
    if model.family.kind != "causal" or len(known) < len(reaches):
        return batch
    n = max(known)
    return replace(
        batch,
        input_ids=batch.input_ids[:, :n],
        attention_mask=batch.attention_mask[:, :n],
        special=batch.special[:, :n],
        targets=batch.targets[:, :n],
    )


def _held(request: Request, i: int) -> tuple[Any, ...]:
    return "hold", str(request.capture.spec()), request.beside, i


def _hold(request: Request, i: int, view: View, found: Found) -> Callable[..., None]:
    """Return the hook function of the pass without prompt of a comparison: reduce, and keep until the other pass."""

    def hook_function(x: Tensor, hook: object) -> None:
        _put(request.capture.reduce(x.detach(), request.layers[i], view), _held(request, i), request, found)

    return hook_function


def _taken(request: Request, i: int, point: str) -> tuple[Any, ...]:
    return "take", request.entry.folder, i, point


def _take(request: Request, i: int, point: str, view: View, found: Found) -> Callable[..., None]:
    """Return the hook function of a further hook point of a joint capture: reduce, and keep until its site fires."""
    capture = request.capture
    assert isinstance(capture, JointCapture)

    def hook_function(x: Tensor, hook: object) -> None:
        found[_taken(request, i, point)] = _alone(capture.take(point, x.detach(), request.layers[i], view))

    return hook_function


def _merge(request: Request, i: int, x: Tensor, view: View, found: Found) -> Tensor:
    capture = request.capture
    assert isinstance(capture, JointCapture)
    late = [names[i] for point, names in request.further.items() if _taken(request, i, point) not in found]
    if late:
        raise ProbeError(
            "a joint capture needs its further hook points to fire before its site "
            f"{request.hooks[i]}, and {', '.join(late)} fire after it: make the last of them the "
            "`site`"
        )
    taken = {point: found.pop(_taken(request, i, point)) for point in request.further}
    return capture.merge(x, taken, request.layers[i], view)


def _keep(request: Request, i: int, view: View, found: Found) -> Callable[..., None]:
    """Return the hook function that reduces one activation to what is stored."""
    capture, layer = request.capture, request.layers[i]

    def hook_function(x: Tensor, hook: object) -> None:
        joint = isinstance(capture, JointCapture)
        kept = _merge(request, i, x.detach(), view, found) if joint else capture.reduce(x.detach(), layer, view)
        if isinstance(capture, PairedCapture):
            kept = capture.compare(kept, found[_held(request, i)], layer, view)
        _check_shape(kept, request, view)
        half = kept.dtype in (torch.bfloat16, torch.float16)  # NumPy has no bfloat16
        _put(kept.float() if half else kept, ("keep", request.entry.folder, i), request, found)

    return hook_function


def _put(x: Tensor, key: tuple[Any, ...], request: Request, found: Found) -> None:
    """Copy what was reduced at hook point i (the last part of *key*) into one tensor with the others.

    Without a copy it would keep the whole activation in memory. Copied to tensors of its own, it would fragment memory
    between blocks that are allocated and freed with every layer, and these could not be returned (a third of a gigabyte
    with a large model).
    """
    all_layers, i = key[:-1], key[-1]
    block = found[all_layers] if all_layers in found else x.new_empty(len(request.hooks), *x.shape)
    fits = (block.shape[1:], block.dtype) == (x.shape, x.dtype)
    if not fits and key[0] == "keep":
        raise ProbeError(
            f"{type(request.capture).__name__} must keep the same shape and type in all layers: got "
            f"{tuple(block.shape[1:])} {block.dtype} at {request.hooks[0]} and {tuple(x.shape)} {x.dtype} at "
            f"{request.hooks[i]}"
        )
    if fits:
        found[all_layers], block[i] = block, x
    found[key] = block[i] if fits else _alone(x)


def _alone(kept: Tensor) -> Tensor:
    """Copy a view, which would otherwise keep the whole activation in memory until the end of the batch."""
    whole = kept.untyped_storage().nbytes() <= kept.numel() * kept.element_size()
    return kept if whole else kept.clone()


def _view(batch: Batch, hook: str, slots: Mapping[str, int], model: HookedModel) -> View:
    answer = batch.label_start
    if answer is None:
        raise ProbeError(
            "the batch does not say at which position labels start (label_starts): make "
            "it with promptscope.tasks.collate"
        )
    if hook.startswith("decoder"):
        assert batch.decoder_input_ids is not None and batch.decoder_attention_mask is not None
        tokens = batch.decoder_attention_mask.bool()
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0  # the start token
        return View(slots.get("decoder", 0), tokens, ~tokens | first, answer, batch.targets)
    if model.family.kind == "causal":
        answer = answer - 1  # the label is predicted one position before its own
    return View(slots.get("encoder", 0), batch.attention_mask.bool(), batch.special, answer, batch.targets)


def _skip_unembedding(model: HookedModel, read: Sequence[str]) -> list[Hook]:
    """Compute logits at one position only, if no capture reads them."""
    point = "unembed.hook_in"
    if model.family.kind == "seq2seq" or any(name.startswith("unembed") for name in read):
        return []
    # Contiguous: in bfloat16 PyTorch multiplies a slice hundreds of times slower, and copies the weights for it.
    return [(point, lambda x, hook: x[:, -1:].contiguous())]


def _check_shape(reduced: Tensor, request: Request, view: View) -> None:
    capture = request.capture
    size, ragged = len(view.tokens), capture.ragged_dim
    fits = reduced.ndim > 0 and len(reduced) == size
    if fits and ragged is not None:
        fits = reduced.ndim > ragged and reduced.shape[ragged] == view.n
    if not fits:
        expected = f"{size} in dimension 0" + ("" if ragged is None else f" and {view.n} in dimension {ragged}")
        raise ProbeError(
            f"{type(capture).__name__} must return one row per input: expected {expected}, got shape "
            f"{tuple(reduced.shape)} at {request.hooks[0]}"
        )


def _join(parts: Sequence[Tensor], ragged_dim: int | None, n: int) -> Tensor:
    if ragged_dim is not None:
        parts = [_pad(part, ragged_dim, n) for part in parts]
    return torch.cat(list(parts))


def _pad(values: Tensor, dim: int, n: int) -> Tensor:
    missing = list(values.shape)
    missing[dim] = n - values.shape[dim]
    return torch.cat([values, values.new_zeros(missing)], dim=dim)


def _check_finite(values: Tensor, request: Request, ids: Sequence[str]) -> None:
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        row, layer = (~torch.isfinite(values)).nonzero()[0, :2].tolist()
        raise ProbeError(
            f"{type(request.capture).__name__} returned NaN or infinity at {request.hooks[layer]} for "
            f"input {ids[row]!r}: either activations overflow (half precision?), or the capture "
            "divides by zero"
        )
