"""Which way a model runs: packed or plainly, with packed weights or without."""

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
    """A model or a prompt runs unpacked, which is slower and gives the same numbers.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ps.PackingWarning)  # stop, rather than be slow
    ...     scores = ps.evaluate(model, None, task, limit=2, progress=False)
    """


@dataclass(frozen=True)
class Execution:
    """What `execution` was asked for; None leaves the choice to promptscope.

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
    """Choose how models run inside a `with` block: the numbers stay the same, up to rounding.

    What None stands for depends on the machine and the model, never on a measurement: one call gives the same bits
    again on the same machine.

    Args:
        packed: `False` runs padded batches through the plain model, with a prefix cache where there is one;
            `True` and None pack wherever that is possible.
        prepacked: whether frozen linear layers of packed passes run on weights packed for oneDNN (CPU, float32).
            None does it on processors where it is known to pay (AMD with AVX-512) for models whose layers are large
            enough; it costs two more copies of the weights.
        attention: over the flat rows of a packed pass: `"padded"` (None), or `"flex"`, PyTorch's compiled flex
            attention, which computes nothing for padding (GPU only).
        matmul: `"bf16"` lets the frozen linear layers of a float32 model multiply in bfloat16 (CPU; all but the output
            embedding). Prompts, residual stream, attention, sums and optimiser stay in float32. Rounding is then that
            of 8 bits: about 1e-2 of a prompt's gradient; a run says so in its settings. Probes and hooks always run in
            float32. `"float32"` (None) is exact.

    Raises:
        ModelError: another *attention* or *matmul*.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with ps.execution(packed=False):
    ...     scores = ps.evaluate(model, None, task, limit=4, progress=False)
    """
    if attention not in (None, "padded", "flex"):
        raise ModelError(f"attention must be 'padded', 'flex' or None, not {attention!r}")
    if matmul not in (None, "float32", "bf16"):
        raise ModelError(f"matmul must be 'float32', 'bf16' or None, not {matmul!r}")
    before = _asked.get()
    changes: dict[str, Any] = {"packed": packed, "prepacked": prepacked, "attention": attention, "matmul": matmul}
    token = _asked.set(replace(before, **{name: value for name, value in changes.items() if value is not None}))
    try:
        yield
    finally:
        _asked.reset(token)


def kernel(model: HookedModel, module: torch.nn.Module | None = None) -> AbstractContextManager[None]:
    """Run the linear layers of *module* (by default the twin) on packed weights where that is faster.

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
    """Return in which type frozen linear layers multiply: `float32`, or `bf16` where that was asked for.

    Raises:
        ModelError: asked for where it does not exist.

    >>> import promptscope as ps
    >>> matmul(ps.load_model("embedded-causal"))
    'float32'
    """
    asked = _asked.get().matmul or "float32"
    if asked == "bf16" and not (can_prepack(model.twin) and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        raise ModelError(
            "matmul='bf16' exists for float32 models on a CPU whose instructions oneDNN can use for it (AVX-512 or "
            f"AMX), and {model.name!r} is {model.dtype} on {model.device}: leave matmul=None, or load the model in "
            "bfloat16"
        )
    return asked


def uses_prepacked(model: HookedModel) -> bool:
    """Say whether linear layers run on packed weights: as asked, else where it is known to pay.

    Raises:
        ModelError: asked for where it does not exist.

    >>> import promptscope as ps
    >>> uses_prepacked(ps.load_model("embedded-causal"))  # small layers gain nothing
    False
    """
    asked = _asked.get().prepacked
    if asked is None:
        return prepacking_pays(model.twin)
    if asked and not can_prepack(model.twin):
        raise ModelError(
            f"prepacked linear layers exist for float32 models on a CPU, and {model.name!r} is {model.dtype} on "
            f"{model.device}: leave prepacked=None"
        )
    return asked


def asked_attention() -> str | None:
    """Return which attention over flat rows is asked for."""
    return _asked.get().attention


def is_packed(model: HookedModel, prompts: Sequence[PromptLike] = ()) -> bool:
    """Say whether *model* runs packed with *prompts*; where the model does not allow it, warn once for each model.

    Where hooks are attached it does not: the bridge runs, whose layout they expect. Nor do encoder-decoders with hidden
    positions, which their relative positions leave no gap for, and what needs hooks (`HookedModel.needs_hooks`).

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
        warnings.warn(f"{model.name!r} runs unpacked, which is slower: {reason}", PackingWarning, stacklevel=3)
    if reason is not None:
        return False
    placements = [prompt.place(model) for prompt in prompts]
    if model.family.kind == "causal":
        return not model.needs_hooks(placements)
    return model.facts.window is None or not any(placement.hidden for placement in placements)


def why_not_packed(model: HookedModel) -> str | None:
    """Return what keeps *model* from running packed, None if nothing does."""
    if model not in _reasons:
        _reasons[model] = _known_reason(model) or _compare(model)
    return _reasons[model]


def _known_reason(model: HookedModel) -> str | None:
    if model.facts.why_inlined is not None:
        return model.facts.why_inlined
    if not model.facts.takes_positions and model.family.kind != "seq2seq":
        return "it counts positions by itself, and cannot be told them"
    if getattr(model.twin.config, "reorder_and_upcast_attn", False):
        return "it computes attention in its own way (reorder_and_upcast_attn)"
    return None


_K = 3  # positions of the prompts that are run to compare
_LONGEST = 40  # tokens of a window that texts are made longer than


@torch.no_grad()
def _compare(model: HookedModel) -> str | None:
    """Run two texts both ways, longer than a small window where there is one, and go on with one of them.

    Without a prompt, and with one of each kind: what no table knows, the numbers do.
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
    """Compare up to rounding of their type, which layers multiply."""
    half = a.dtype in (torch.bfloat16, torch.float16)
    a, b = a.double(), b.double()
    if half:  # which sends a token to other experts now and then: most rows must agree
        return bool(((a - b).norm(dim=-1) / b.norm(dim=-1)).median() <= 3e-2)
    return bool((a - b).norm() <= 1e-3 * b.norm())
