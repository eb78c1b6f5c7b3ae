"""The choice of how a model runs: packed or unpacked."""

import warnings
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

from promptscope.engine.decode import TextContinuation
from promptscope.engine.packed import packed_logits
from promptscope.engine.plain import plain_logits
from promptscope.engine.settings import asked, execution
from promptscope.engine.shared import Shared
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, PromptLike
from promptscope.models.samples import sample_placements

_reasons: WeakKeyDictionary[HookedModel, str | None] = WeakKeyDictionary()
_told: WeakSet[HookedModel] = WeakSet()


class PackingWarning(UserWarning):
    """A model runs unpacked (in padded batches), which is slower and gives the same numbers.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ps.PackingWarning)  # stop, rather than be slow
    ...     scores = ps.evaluate(model, None, task, limit=2, progress=False)
    """


def is_packed(model: HookedModel, prompts: Sequence[PromptLike] = ()) -> bool:
    """Return whether *model* runs packed with *prompts*.

    It does not while hooks are attached, which need the padded layout; nor for prompts with hidden positions on
    encoder-decoders or on models with an attention window; nor for prompts that need hooks
    (`HookedModel.needs_hooks`). If the model itself does not support packing, a PackingWarning says why, once for each
    model.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> packed = is_packed(model)
    >>> with ps.execution(packed=False):
    ...     packed, is_packed(model)
    (True, False)
    """
    if asked().packed is False or model.is_elsewhere or model.active_hooks():
        return False
    if model.family.kind == "seq2seq" and any(prompt.place(model).hidden for prompt in prompts):
        return False
    if (reason := why_not_packed(model)) is not None:
        if model not in _told:
            _told.add(model)
            said = f"{model.name!r} runs unpacked, which is slower and gives the same numbers: {reason}"
            warnings.warn(said, PackingWarning, stacklevel=3)
        return False
    placements = [prompt.place(model) for prompt in prompts]
    if model.family.kind == "causal":
        return not model.needs_hooks(placements)
    return model.facts.window is None or not any(placement.hidden for placement in placements)


def why_not_packed(model: HookedModel) -> str | None:
    """Return the reason why *model* cannot run packed, or None if it can."""
    if model not in _reasons:
        _reasons[model] = _known_reason(model) or _compare(model)
    return _reasons[model]


def _known_reason(model: HookedModel) -> str | None:
    if model.facts.why_inlined is not None:
        return model.facts.why_inlined
    if not model.facts.takes_positions and model.family.kind != "seq2seq":
        return "it counts positions itself and takes no position_ids"
    if getattr(model.twin.config, "reorder_and_upcast_attn", False):
        return "it computes attention in its own way (reorder_and_upcast_attn)"
    return None


_K = 3  # positions of the prompts that are run to compare
_LONGEST = 40  # tokens of a window that texts are made longer than


@torch.no_grad()
def _compare(model: HookedModel) -> str | None:
    """Compare packed and unpacked logits of two texts, without a prompt and with one of each kind.

    The texts are longer than the attention window, if that is small; causal models also continue one of the texts.
    Return the reason why packing is not possible, or None if the logits agree.
    """
    # Of a wide window the mask was measured at loading; the same code hides more or less by it.
    window = model.facts.window or 0
    n = min(8 + (window if window <= _LONGEST else 0), (model.shape.context or _LONGEST + 8) - _K)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.shape.vocab_size, (2, n), generator=generator).to(model.device)
    mask = torch.ones_like(ids)
    mask[1, n - 2 :] = 0
    where = mask.bool()
    where[:, : n - 6] = False
    texts = Texts(ids, mask, where, ids if model.family.kind == "seq2seq" else None)
    # The layout is in question here, not the kernel.
    with execution(prepacked=False, attention="padded", matmul="float32"):
        for what, placement in {"no prompt": None, **sample_placements(model, _K)}.items():
            placements = [] if placement is None else [placement]
            if model.family.kind == "causal" and model.needs_hooks(placements):
                continue
            try:
                packed = packed_logits(model, texts, placements)
                if model.family.kind == "causal":
                    shared = Shared.of(model, placements)
                    read = TextContinuation(model, shared, ids[:1, :-2], mask[:1, :-2].bool(), 2).read(ids[:1, -2:])
                    packed = torch.cat([packed, read[0]])
            except Exception as error:  # whatever a model of unknown make does with flat rows, the plain way can do
                return f"it does not take flat rows ({what}: {type(error).__name__}: {error})"
            plain = plain_logits(model, texts, placements)
            if model.family.kind == "causal":
                plain = torch.cat([plain, plain[int(where[0].sum()) - 2 : int(where[0].sum())]])
            if not _close(packed, plain):
                return f"packed logits differ by {float((packed - plain).abs().max()):.2g} ({what})"
    return None


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors agree up to the rounding errors of their dtype over many layers."""
    half = a.dtype in (torch.bfloat16, torch.float16)
    a, b = a.double(), b.double()
    if half:  # which sends a token to other experts now and then: most rows must agree
        return bool(((a - b).norm(dim=-1) / b.norm(dim=-1)).median() <= 3e-2)
    return bool((a - b).norm() <= 1e-3 * b.norm())
