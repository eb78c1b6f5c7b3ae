"""Conversion between keys as a prompt writes them at `hook_k` and keys as a cache stores them, at positions 0..k-1.

What a model does to keys after `hook_k` (a norm, a rotary embedding, clipping) differs between families. When a model
is loaded, rules for the usual cases are compared with the keys in its own cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from promptscope.errors import PromptError
from promptscope.models.attached import Hook, attach
from promptscope.models.facts import KeyRule
from promptscope.models.frozen import FrozenModel
from promptscope.models.measuring import near
from promptscope.models.placement import Placement
from promptscope.models.prefix import rotate

Numbers = Float[Tensor, "L kv_head k d_head"]

_NORMS = ("k_norm", "key_layernorm", "k_layernorm")
_SCALES = (2, 1000)
"""Sizes of the keys on which rules are tried: usual ones, and some so large that they are clipped (OLMo: at 8)."""


def cached(
    keys: Numbers, values: Numbers, layers: Sequence[int], model: FrozenModel, part: str = "self"
) -> tuple[Numbers, Numbers]:
    """Convert keys and values written at `hook_k` and `hook_v` of some *layers* to those that a cache stores."""
    rules = [model.facts.keys[part][layer] for layer in layers]
    if "asked" in rules:
        return asked(keys, values, layers, model)
    if set(rules) == {"written"}:
        return keys, values
    done = [_by_rule(rule, x, layer, model, part) for rule, x, layer in zip(rules, keys, layers, strict=True)]
    return torch.stack(done), values


def is_reversible(layers: Sequence[int], model: FrozenModel, part: str = "self") -> bool:
    """Return whether keys of a cache can be converted back to `hook_k`; after a norm or clipping they cannot."""
    return all(model.facts.keys[part][layer] in ("written", "turned") for layer in layers)


def written(keys: Numbers, layers: Sequence[int], model: FrozenModel, part: str = "self") -> Numbers:
    """Convert keys of a cache (those of PEFT's prefix tuning, say) to keys written at `hook_k`; inverts `cached`.

    Raises:
        PromptError: the model norms or clips keys, so that the conversion has no inverse.
    """
    rules = [model.facts.keys[part][layer] for layer in layers]
    if not is_reversible(layers, model, part):
        raise PromptError(
            f"the tokens of this prompt cannot be edited on {model.name!r}: it holds keys of a cache (PEFT's prefix "
            "tuning), and this model's layers norm or clip keys, so that the keys before the norm cannot be recovered. "
            "Use a prompt that was trained as ps.DeepPrompt"
        )
    done = []
    for rule, x, layer in zip(rules, keys, layers, strict=True):
        if rule == "written":
            done.append(x)
            continue
        cos, sin = _angles(x, layer, model, part)
        scale = cos**2 + sin**2  # 1, but for YaRN and its kin, which stretch keys as well as turn them
        done.append(rotate(x, cos / scale, -sin / scale))
    return torch.stack(done)


def turned_back(placement: Placement, model: FrozenModel) -> Placement:
    """Return *placement* with all its keys converted to keys written at `hook_k`.

    Raises:
        PromptError: see `written`.
    """
    if not any(part.after_rotary for part in placement.parts.values()):
        return placement
    parts = {
        name: replace(part, keys=written(part.keys, part.layers, model, name), after_rotary=False)
        if part.after_rotary
        else part
        for name, part in placement.parts.items()
    }
    return replace(placement, parts=parts)


def asked(keys: Numbers, values: Numbers, layers: Sequence[int], model: FrozenModel) -> tuple[Numbers, Numbers]:
    """Obtain the cached keys and values from a pass of the causal model over k + 1 positions, with gradient."""
    k = keys.shape[2]
    attention = model.family.attentions["self"]
    # One row more than the prompt: with k alone the pass would be over before the last key is of use to anybody.
    ids = torch.zeros(1, k + 1, dtype=torch.long, device=model.device)
    cache = DynamicCache()

    def write(rows: Tensor) -> Callable[..., Tensor]:
        return lambda x, hook: torch.cat([rows.to(x)[None], x[:, k:]], dim=1)

    hooks: list[Hook] = [
        (f"{attention.stack}.{layer}.{attention.module}.hook_{role}", write(x.transpose(0, 1)))
        for role, numbers in (("k", keys), ("v", values))
        for layer, x in zip(layers, numbers, strict=True)
    ]
    positions = model.facts.position_zero + torch.arange(k + 1, device=model.device)[None]
    told = {"position_ids": positions} if model.facts.takes_positions else {}
    with attach(model.bridge, last=hooks):
        model.bridge(ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True, **told)
    held: list[Any] = [cache.layers[layer] for layer in layers]
    made_keys, made_values = (
        torch.stack([getattr(one, name)[0, :, :k] for one in held]) for name in ("keys", "values")
    )
    return made_keys, made_values


def key_rules(model: FrozenModel) -> dict[str, tuple[KeyRule, ...]]:
    """Return, for each layer of each attention, the rule that gives the keys of the model's own cache, or `asked`.

    Only causal models have a cache to compare with. For other models the choice is tested when packed passes are
    compared with plain ones (`promptscope.engine.choice`).
    """
    shape = model.shape
    if model.family.kind == "causal" and model.family.has("blocks.{i}.attn.hook_k"):
        generator = torch.Generator().manual_seed(0)
        numbers = torch.randn(2, shape.n_layers, shape.n_kv_heads, 3, shape.d_head, generator=generator)
        tries = [_tried(scale * numbers.to(model.device, model.dtype), model) for scale in _SCALES]
        alike = all(one == tries[0] for one in tries)
        return {"self": tries[0] if alike else _all_asked(shape.n_layers)}
    rules: dict[str, tuple[KeyRule, ...]] = {}
    for part, attention in model.family.attentions.items():
        rule: KeyRule = "written" if part == "cross" or _rotary(model, part) is None else "turned"
        rules[part] = (rule,) * model.layers[attention.stack]
    return rules


@torch.no_grad()
def _tried(numbers: Float[Tensor, "two L kv_head k d_head"], model: FrozenModel) -> tuple[KeyRule, ...]:
    """Return each layer's rule for these keys and values; if one layer needs `asked`, all are `asked`."""
    keys, values = numbers
    true_keys, true_values = asked(keys, values, range(len(keys)), model)
    found: list[KeyRule] = [_first(keys[i], true_keys[i], i, model) for i in range(len(keys))]
    simple = "asked" not in found and near(values, true_values)
    return tuple(found) if simple else _all_asked(len(found))


def _all_asked(n_layers: int) -> tuple[KeyRule, ...]:
    asked: KeyRule = "asked"
    return (asked,) * n_layers


def _first(keys: Tensor, truth: Tensor, layer: int, model: FrozenModel) -> KeyRule:
    return next((rule for rule in _RULES if _agrees(rule, keys, truth, layer, model)), "asked")


_RULES: tuple[KeyRule, ...] = get_args(KeyRule)[:-1]


def _agrees(rule: KeyRule, keys: Tensor, truth: Tensor, layer: int, model: FrozenModel) -> bool:
    try:
        made = _by_rule(rule, keys, layer, model, "self")
    except _NoSuchPartError:
        return False
    return near(made, truth)


class _NoSuchPartError(Exception):
    """A rule needs a module (a norm, a rotary embedding) that the model does not have."""


def _by_rule(
    rule: KeyRule, keys: Float[Tensor, "kv_head k d_head"], layer: int, model: FrozenModel, part: str
) -> Tensor:
    if rule.startswith("normed"):
        keys = _normed(keys, layer, model, part)
    if rule.endswith("turned"):
        keys = rotate(keys, *_angles(keys, layer, model, part))
    return keys.to(model.dtype)  # some norms give float32, whatever they are given


def _normed(keys: Float[Tensor, "kv_head k d_head"], layer: int, model: FrozenModel, part: str) -> Tensor:
    """Apply a layer's key norm, to each head or to all heads together, depending on the width of its weight."""
    module = next((one for one, place in model.facts.parts.items() if place == (part, layer)), None)
    norm = next((getattr(module, name) for name in _NORMS if isinstance(getattr(module, name, None), nn.Module)), None)
    if norm is None:
        raise _NoSuchPartError
    rows = keys.transpose(0, 1)
    weight = next(norm.parameters(), None)
    if weight is not None and weight.shape == (rows.shape[1] * rows.shape[2],):
        return norm(rows.flatten(1)).view_as(rows).transpose(0, 1)
    if weight is not None and weight.shape == (rows.shape[2],):
        return norm(rows).transpose(0, 1)
    raise _NoSuchPartError


def _rotary(model: FrozenModel, part: str) -> nn.Module | None:
    if model.family.kind != "seq2seq":
        return getattr(model.twin.base_model, "rotary_emb", None)
    stack: Any = model.twin.get_encoder() if part == "encoder" else model.twin.get_decoder()
    return getattr(stack, "rotary_emb", None)


def _angles(keys: Tensor, layer: int, model: FrozenModel, part: str) -> tuple[Tensor, Tensor]:
    """Return cosines and sines for positions 0..k-1, `(k, rotary)`, in the dtype of *keys*."""
    rotary = _rotary(model, part)
    if rotary is None:
        raise _NoSuchPartError
    positions = torch.arange(keys.shape[-2], device=model.device)[None]
    kinds = getattr(rotary.config, "layer_types", None)
    typed = (kinds[layer],) if kinds and "layer_type" in inspect.signature(rotary.forward).parameters else ()
    made = rotary(keys, positions, *typed)
    if not isinstance(made, tuple):  # Llama 4 turns complex numbers
        raise _NoSuchPartError
    cos, sin = made
    return cos[0], sin[0]
