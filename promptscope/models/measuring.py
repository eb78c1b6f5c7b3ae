"""Properties of a plain model, measured on a few tokens: positions, scales, attention windows, and its head."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.attention_calls import Call, attention_calls
from promptscope.models.facts import Band, Facts
from promptscope.models.families import Kind
from promptscope.undo import replaced

_LONGEST = 600
"""Longest text that is run to measure an attention window; wider windows are read from the configuration."""
_LARGE = 1000


@torch.no_grad()
def measured(twin: PreTrainedModel, kind: Kind, layers: dict[str, int]) -> Facts:
    """Measure the properties of a plain model; *layers* is the number of layers of each attention, by its name.

    Raises:
        ModelError: positions or input embeddings of the model follow none of the known rules.
    """
    takes = "position_ids" in inspect.signature(twin.base_model.forward).parameters
    plain = _outcome(twin, **_arguments(twin, 6))
    zero = _position_zero(twin, plain) if takes and kind != "seq2seq" else 0
    calls, whole = _calls(twin, kind, 7), kind != "seq2seq"
    windows = [call.how.window for call in calls if call.how.window is not None]
    if windows:
        limit = getattr(twin.config, "max_position_embeddings", None) or _LONGEST
        n = min(max(windows) + 3, _LONGEST, limit - zero)
        calls = _calls(twin, kind, max(n, 7))
    parts, why = _parts(twin, kind, calls, layers)
    bands: dict[str, tuple[Band | None, ...]] = {}
    if why is None:
        try:
            bands = _bands(parts, calls, layers)
        except _UnknownBandError as error:
            parts, why = {}, str(error)
    return Facts(
        position_zero=zero,
        takes_positions=takes,
        input_scale=_input_scale(twin, plain, "input_ids", "inputs_embeds"),
        target_scale=1.0 if whole else _input_scale(twin, plain, "decoder_input_ids", "decoder_inputs_embeds"),
        bands=bands,
        parts=parts,
        why_inlined=why,
        head=head_of(twin) if whole else "model",
    )


def tiny_ids(twin: PreTrainedModel, n: int, seed: int = 0) -> Tensor:
    """Return *n* random token ids `(1, n)`, none of them the padding token."""
    size = table_of(twin).shape[0]
    ids = torch.randint(size, (1, n), generator=torch.Generator().manual_seed(seed))
    pad = getattr(twin.config, "pad_token_id", None)
    return torch.where(ids == pad, (ids + 1) % size, ids).to(twin.device) if pad is not None else ids.to(twin.device)


def table_of(twin: PreTrainedModel) -> Tensor:
    """Return the input embedding matrix `(V, d_embed)`."""
    weight = twin.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


def target_embedding(twin: PreTrainedModel) -> nn.Module:
    """Return the input embedding of the decoder of an encoder-decoder."""
    decoder: Any = twin.get_decoder()
    return decoder.embed_tokens


def _arguments(twin: PreTrainedModel, n: int) -> dict[str, Any]:
    ids = tiny_ids(twin, n)
    found: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if twin.config.is_encoder_decoder:
        found["decoder_input_ids"] = tiny_ids(twin, max(n - 2, 4), seed=1)
    return found | _no_cache(twin)


def _no_cache(twin: PreTrainedModel) -> dict[str, Any]:
    known = all("use_cache" in inspect.signature(one.forward).parameters for one in (twin, twin.base_model))
    return {"use_cache": False} if known else {}


def plain_logits_of(twin: PreTrainedModel, n: int = 6) -> Tensor:
    """Return the plain model's logits for a few tokens, to compare before and after a bridge is made."""
    return twin(**_arguments(twin, n)).logits.detach().clone()


def _outcome(twin: PreTrainedModel, **arguments: Any) -> Tensor:
    """Return the last hidden states, or the logits of an encoder-decoder, by which inputs are compared."""
    if twin.config.is_encoder_decoder:
        return twin(**arguments).logits
    return twin.base_model(**arguments).last_hidden_state


def _position_zero(twin: PreTrainedModel, alone: Tensor) -> int:
    """Return the number of the first position, from which the model counts without `position_ids`."""
    arguments = _arguments(twin, 6)
    paddings = {m.padding_idx for m in twin.modules() if isinstance(m, nn.Embedding)} - {None}
    for zero in (0, *sorted(int(padding) + 1 for padding in paddings if padding is not None)):
        positions = zero + torch.arange(6, device=twin.device)[None]
        try:
            if near(_outcome(twin, **arguments, position_ids=positions), alone):
                return zero
        except IndexError:  # a table of positions that ends before this one
            continue
    raise ModelError(
        f"the first position of {type(twin).__name__} cannot be determined: with position_ids 0, 1, ... its hidden "
        "states differ from those without position_ids, so that padded texts would get wrong positions. Use another "
        "model"
    )


def near(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors agree up to the rounding errors of their dtype over many layers."""
    rounding = 3e-2 if a.dtype in (torch.bfloat16, torch.float16) else 1e-4
    a, b = a.double(), b.double()
    return a.shape == b.shape and bool((a - b).norm() <= rounding * b.norm())


def embedding_scales(twin: PreTrainedModel, vectors: Tensor) -> list[float]:
    """Return the numbers by which models multiply their embeddings."""
    scales = (1.0, vectors.shape[-1] ** 0.5, getattr(twin.config, "embedding_multiplier", None))
    return [float(scale) for scale in scales if scale is not None]


def _input_scale(twin: PreTrainedModel, want: Tensor, ids_name: str, vectors_name: str) -> float:
    """Return the constant by which embedding rows must be multiplied to be the model's `inputs_embeds`."""
    arguments = _arguments(twin, 6)
    embedding: Any = twin.get_input_embeddings() if ids_name == "input_ids" else target_embedding(twin)
    vectors = embedding(arguments.pop(ids_name))
    said = ""
    for scale in embedding_scales(twin, vectors):
        try:
            if near(_outcome(twin, **arguments, **{vectors_name: vectors * scale}), want):
                return scale
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = f" ({vectors_name}: {type(error).__name__}: {error})"
    raise ModelError(
        f"{type(twin).__name__} gives other results for inputs_embeds than for the same tokens as input_ids{said}, so "
        "that no input-level prompt can be given to it: this architecture is not supported"
    )


@torch.no_grad()
def head_of(twin: PreTrainedModel) -> Literal["embedding", "model"]:
    """Return `"embedding"` if logits are the output embedding applied to the last hidden state, otherwise `"model"`.

    Large hidden states are tried too, since a soft cap of 30 does not change the small logits of an untrained model.
    """
    head = twin.get_output_embeddings()
    if not isinstance(head, nn.Module):
        return "model"
    hidden = twin.base_model(**_arguments(twin, 6)).last_hidden_state
    try:
        if not near(head(hidden), plain_logits_of(twin)):
            return "model"
    except RuntimeError:  # of another width: a head of several layers
        return "model"
    large = _LARGE * hidden
    return "embedding" if near(head(large), model_head(twin)(large)) else "model"


def model_head(twin: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Return a function from last hidden states `(..., d_model)` to logits `(..., V)`, the model's own head.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-masked-0")
    >>> model_head(model.twin)(torch.zeros(2, model.shape.d_model)).shape[0]
    2
    """
    with torch.no_grad():
        # Of the class's own output type: some heads read more fields than the hidden state.
        output = twin.base_model(**_arguments(twin, 2))

    def head(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(1, -1, hidden.shape[-1])
        stub, given = copy.copy(output), []
        stub["last_hidden_state"] = rows

        def give(*args: Any, **options: Any) -> Any:
            given.append(stub)
            return stub

        base = twin.base_model
        bodies = {base, getattr(base, "decoder", base)}  # OPT's head calls the decoder in its base
        with replaced(*((vars(body), "forward", give) for body in bodies)):
            logits = twin(inputs_embeds=rows).logits
        if not given:
            raise ModelError(
                f"{type(twin).__name__} does not call its base model or decoder, so that its head cannot be run alone: "
                "use logits of whole passes, model.logits"
            )
        return logits.reshape(*hidden.shape[:-1], -1)

    return head


def _calls(twin: PreTrainedModel, kind: Kind, n: int) -> list[Call]:
    run = twin if kind == "seq2seq" else twin.base_model
    return attention_calls(twin, lambda: run(**_arguments(twin, n)))


def _parts(
    twin: PreTrainedModel, kind: Kind, calls: Sequence[Call], layers: dict[str, int]
) -> tuple[dict[nn.Module, tuple[str, int]], str | None]:
    """Return the attention and layer of every attention module, and a reason if they cannot be determined."""
    encoder = set(twin.get_encoder().modules()) if kind == "seq2seq" else set()
    parts: dict[nn.Module, tuple[str, int]] = {}
    count = dict.fromkeys(layers, 0)
    for call in calls:
        if kind != "seq2seq":
            part = "self"
        elif call.module in encoder:
            part = "encoder"
        else:
            part = "decoder" if call.n_queries == call.n_keys else "cross"
        if call.module in parts:
            return {}, "one module attends in several layers"
        parts[call.module] = part, count[part]
        count[part] += 1
    if count != layers:
        return {}, "it computes attention in its own way, not through the interface of transformers"
    return parts, None


def _bands(
    parts: dict[nn.Module, tuple[str, int]], calls: Sequence[Call], layers: dict[str, int]
) -> dict[str, tuple[Band | None, ...]]:
    bands: dict[str, list[Band | None]] = {part: [None] * n for part, n in layers.items()}
    for call in calls:
        part, layer = parts[call.module]
        bands[part][layer] = _band(call, part)
    return {part: tuple(found) for part, found in bands.items() if any(found)}


class _UnknownBandError(Exception):
    """The attention mask of a layer is neither full nor a sliding window."""


def _band(call: Call, part: str) -> Band | None:
    """Return how far a layer attends, from its mask; a window wider than the text is taken from the configuration."""
    window, causal = call.how.window, part in ("self", "decoder") and _is_causal(call)
    if part == "cross" or (call.mask is None and window is None):
        return None
    if window is not None and call.n_queries <= window + 1:
        if not causal:
            raise _UnknownBandError(
                f"its bidirectional attention window of {window} positions is too wide to be measured"
            )
        return window - 1, 0
    if call.mask is None:
        raise _UnknownBandError(f"one of its layers has an attention window of {window} positions and no mask")
    seen = call.mask[0, 0, :, : call.n_keys] > -1
    queries, keys = seen.nonzero(as_tuple=True)
    back, ahead = int((queries - keys).max()), int((keys - queries).max())
    distance = torch.arange(len(seen), device=seen.device)[:, None] - torch.arange(seen.shape[1], device=seen.device)
    if not torch.equal(seen, (distance <= back) & (distance >= -ahead)):
        raise _UnknownBandError("some of its layers have neither full nor sliding-window attention (chunks)")
    if causal and window is not None and back != window - 1:
        raise _UnknownBandError(f"one of its layers with an attention window of {window} attends {back} positions back")
    far = call.n_queries - 1
    if back == far and ahead in (0, far):
        return None
    return back if back < far else None, ahead if ahead < far else None


def _is_causal(call: Call) -> bool:
    if call.mask is None:
        return True
    return not bool((call.mask[0, 0, :, : call.n_keys] > -1).triu(1).any())
