"""The choice of how a model runs: packed or unpacked, with weights packed for oneDNN or not."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

from promptscope.checks import checked
from promptscope.engine.linears import can_prepack, prepacked, prepacking_pays
from promptscope.engine.texts import Texts
from promptscope.errors import ModelError
from promptscope.models import HookedModel, PromptLike
from promptscope.models.samples import sample_placements


class PackingWarning(UserWarning):
    """A model runs unpacked (in padded batches), which is slower and gives the same numbers.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ps.PackingWarning)  # stop, rather than be slow
    ...     scores = ps.evaluate(model, None, task, limit=2, progress=False)
    """


@dataclass(frozen=True)
class Execution:
    """The settings of `execution` that are in force; None leaves the choice to promptscope.

    >>> Execution(packed=False).prepacked is None
    True
    """

    packed: bool | None = None
    prepacked: bool | None = None
    attention: str | None = None
    matmul: str | None = None


_AUTOMATIC = Execution()
_asked: ContextVar[Execution] = ContextVar("promptscope_execution", default=_AUTOMATIC)
_reasons: WeakKeyDictionary[HookedModel, str | None] = WeakKeyDictionary()
_told: WeakSet[HookedModel] = WeakSet()


@checked()
@contextmanager
def execution(
    packed: bool | None = None,
    prepacked: bool | None = None,
    attention: str | None = None,
    matmul: str | None = None,
) -> Iterator[None]:
    """Choose how models run within a `with` block; apart from rounding, results stay the same.

    What None means depends on the processor and the model, not on a time measurement, so that the same call on the same
    machine gives the same bits.

    Args:
        packed: False runs padded batches on the plain model, with a prefix cache if the model supports one. True and
            None run packed (flat rows without padding) if that is possible.
        prepacked: whether frozen linear layers of packed passes use weights packed for oneDNN (CPU, float32). None does
            so on processors where it is known to be faster (AMD with AVX-512) for models with large enough layers. It
            takes memory for two more copies of the weights.
        attention: the attention over the flat rows of a packed pass: `"padded"` (as None), or `"flex"`, PyTorch's
            compiled flex attention, which computes nothing for padding (GPU only).
        matmul: `"bf16"` lets the frozen linear layers of a float32 model, except the output embedding, multiply in
            bfloat16 (CPU). Prompts, residual stream, attention, sums and optimiser stay in float32. Products are then
            rounded to 8 bits, which changes a prompt's gradient by about 1e-2 of its size; the settings of a run record
            it. Probes and hooks always run in float32. `"float32"` (as None) is exact.

    Raises:
        ModelError: *attention* or *matmul* has another value.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with ps.execution(packed=False):
    ...     scores = ps.evaluate(model, None, task, limit=4, progress=False)
    """
    if attention not in (None, "padded", "flex"):
        raise ModelError(f"attention must be 'padded', 'flex' or None, got {attention!r}")
    if matmul not in (None, "float32", "bf16"):
        raise ModelError(f"matmul must be 'float32', 'bf16' or None, got {matmul!r}")
    before = _asked.get()
    changes: dict[str, Any] = {"packed": packed, "prepacked": prepacked, "attention": attention, "matmul": matmul}
    token = _asked.set(replace(before, **{name: value for name, value in changes.items() if value is not None}))
    try:
        yield
    finally:
        _asked.reset(token)


def kernel(model: HookedModel, module: torch.nn.Module | None = None) -> AbstractContextManager[None]:
    """Use packed weights in the linear layers of *module* (default: the plain model) in a `with` block, if faster.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = torch.tensor([[5, 7, 9]])
    >>> with kernel(model), torch.no_grad():
    ...     model.twin(ids).logits.shape == (1, 3, model.shape.vocab_size)
    True
    """
    if module is None and matmul(model) == "bf16":
        return prepacked(model.twin, torch.bfloat16)
    return prepacked(module or model.twin) if uses_prepacked(model) else nullcontext()


def matmul(model: HookedModel) -> str:
    """Return the type in which frozen linear layers multiply: `float32`, or `bf16` if `execution` asks for it.

    Raises:
        ModelError: `bf16` was asked for and the model or processor does not support it.

    >>> import promptscope as ps
    >>> matmul(ps.load_model("embedded-causal"))
    'float32'
    """
    asked = _asked.get().matmul or "float32"
    if asked == "bf16" and not (can_prepack(model.twin) and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        raise ModelError(
            "matmul='bf16' needs a float32 model on a CPU with AVX-512 or AMX, and "
            f"{model.name!r} is {model.dtype} on {model.device}: leave matmul=None, or load the model in bfloat16"
        )
    return asked


def uses_prepacked(model: HookedModel) -> bool:
    """Return whether linear layers use packed weights: as `execution` asks, otherwise where it is known to be faster.

    Raises:
        ModelError: packed weights were asked for and the model does not support them.

    >>> import promptscope as ps
    >>> uses_prepacked(ps.load_model("embedded-causal"))  # its layers are too small to gain
    False
    """
    asked = _asked.get().prepacked
    if asked is None:
        return prepacking_pays(model.twin)
    if asked and not can_prepack(model.twin):
        raise ModelError(
            f"prepacked=True needs float32 models on a CPU, got {model.name!r} with {model.dtype} on "
            f"{model.device}: leave prepacked=None"
        )
    return asked


def asked_attention() -> str | None:
    """Return the attention over flat rows that `execution` asks for, or None."""
    return _asked.get().attention


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
    if _asked.get().packed is False or model.is_elsewhere or model.active_hooks():
        return False
    if model.family.kind == "seq2seq" and any(prompt.place(model).hidden for prompt in prompts):
        return False
    reason = why_not_packed(model)
    if reason is not None and model not in _told:
        _told.add(model)
        warnings.warn(
            f"{model.name!r} runs unpacked, which is slower and gives the same numbers: {reason}",
            PackingWarning,
            stacklevel=3,
        )
    if reason is not None:
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
    from promptscope.engine.decode import TextContinuation
    from promptscope.engine.plain import plain_logits
    from promptscope.engine.run import packed_logits  # needs this module
    from promptscope.engine.shared import Shared

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
