"""Making a hooked model of a plain one: boot the bridge, find the hook points, measure the model, and test it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promptscope.errors import ModelError
from promptscope.models.attached import Bridge, attach
from promptscope.models.derived import derived_family, kind_of
from promptscope.models.facts import Facts
from promptscope.models.families import Family
from promptscope.models.hooked import HookedModel
from promptscope.models.keys import key_rules
from promptscope.models.measuring import embedding_scales, measured, near, plain_logits_of, table_of, tiny_ids
from promptscope.models.nnsight_bridge import NNsightBridge
from promptscope.models.overflow import refuse_overflow
from promptscope.models.point_names import ATTENTIONS
from promptscope.models.self_test import check_finite, reads_on, self_test, shares_cache, why_no_cache
from promptscope.models.splitting import share_embedding, untie_layers
from promptscope.models.twin import boot_bridge

_LENS_ONLY = "is on backend='transformer_lens' alone: ps.load_model(..., backend='transformer_lens')"
_NOT_LAST = "is no final norm: the logits are not this norm of the last residual stream times the output embedding"
Backend = Literal["transformer_lens", "nnsight"]
"""The library that hooks are run by; see `load_model`."""


def hooked_model(
    twin: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    name: str,
    revision: str | None,
    backend: Backend,
    source: PreTrainedModel | None = None,
) -> HookedModel:
    """Make a hooked model of a plain one; the weights are shared, not copied.

    *source* is the caller's own model, if the plain one shares its parameters.

    Raises:
        ModelError: the self-test failed: the hooked and the plain model differ, or hook points or prompts do not act as
            documented.
    """
    untie_layers(twin)
    share_embedding(twin)
    refuse_overflow(twin)  # before the bridge takes a copy
    before = _run_plainly(twin, name)
    check_finite(twin, before, name)
    bridge: Bridge = boot_bridge(twin)
    with torch.no_grad():
        if not near(plain_logits_of(twin), before):
            raise ModelError(
                f"making a bridge changed the logits of the {type(twin).__name__} itself: this version of "
                "transformer-lens does not support it. Install the versions in constraints.txt"
            )
    attentions = ATTENTIONS[kind_of(twin)]
    layers = {part: len(getattr(bridge, attention.stack, ())) for part, attention in attentions.items()}
    facts = measured(twin, kind_of(twin), layers)
    for module, (_, layer) in facts.parts.items():
        if not hasattr(module, "layer_idx"):  # of some attentions the number is not known where they are called
            module.__dict__["layer_idx"] = layer
    family = derived_family(bridge, twin, lambda batch: _run(bridge, batch, facts, twin), _widths(bridge, twin, before))
    again: Callable[[], Bridge] = partial(boot_bridge, twin)
    if backend == "nnsight":
        again = partial(NNsightBridge, twin, family)
        bridge = again()
        lacking = {point.site: _LENS_ONLY for point in family.points if not _has(bridge, point.site)}
        family = _without(family, lacking)
    model = HookedModel(bridge, twin, family, tokenizer, name, revision, facts)
    model.facts = replace(model.facts, hook_scale=_hook_scale(model))
    model.facts = replace(model.facts, keys=key_rules(model))
    if not _norm_is_last(model):
        model.family = _without(model.family, {"ln_final.hook_out": _NOT_LAST})
    model.family = _without(model.family, self_test(model))
    model.facts = replace(model.facts, why_no_cache=why_no_cache(model))
    if model.facts.why_no_cache is not None:  # else it reads on after prompts, and so without one
        model.facts = replace(model.facts, reads_on=reads_on(model))
    model.facts = replace(model.facts, shares_cache=shares_cache(model))
    model.find_silent_points()
    model.follow_edits_with(again, source)
    model.watch()  # at its first pass the bridge has attached some of its own
    return model


@torch.no_grad()
def _run_plainly(twin: PreTrainedModel, name: str) -> Tensor:
    try:
        return plain_logits_of(twin)
    except torch.OutOfMemoryError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"the {type(twin).__name__} {name!r} fails on a few tokens without any change by promptscope "
            f"({type(error).__name__}: {said}): check that its configuration belongs to its weights"
        ) from error


@torch.no_grad()
def _norm_is_last(model: HookedModel) -> bool:
    """Return whether the logits of a causal model are its final norm times the output embedding, and nothing else."""
    last = f"blocks.{model.shape.n_layers - 1}.hook_resid_post"
    if model.family.kind != "causal" or not model.family.has("ln_final.hook_out"):
        return True
    kept: list[Tensor] = []
    with attach(model.bridge, last=[(last, lambda x, hook: kept.append(x.detach()))]):
        logits = model.forward_hooked(tiny_ids(model.twin, 6))
    return near(model.unembed(model.bridge.ln_final(kept[0])), logits)


def _without(family: Family, lacking: dict[str, str]) -> Family:
    points = tuple(point for point in family.points if point.site not in lacking)
    return replace(family, points=points, missing={**family.missing, **lacking})


def _run(bridge: Bridge, batch: dict[str, Tensor], facts: Facts, twin: PreTrainedModel) -> Tensor:
    batch = {name: ids.to(twin.device) for name, ids in batch.items()}
    ids = batch.pop("input_ids")
    if not batch and facts.takes_positions:
        batch["position_ids"] = (facts.position_zero + torch.arange(ids.shape[1], device=ids.device)).expand(ids.shape)
    return bridge(ids, attention_mask=torch.ones_like(ids), **batch)


def _widths(bridge: Bridge, twin: PreTrainedModel, logits: Tensor) -> dict[str, int]:
    config = bridge.cfg
    return {
        "d_model": config.d_model,
        "d_embed": table_of(twin).shape[1],
        "head": config.n_heads,
        "kv_head": getattr(config, "n_key_value_heads", None) or config.n_heads,
        "d_head": config.d_head,
        "d_vocab": logits.shape[-1],
    }


def _has(bridge: Bridge, site: str) -> bool:
    return site.replace("{i}", "0") in bridge.hook_dict


@torch.no_grad()
def _hook_scale(model: HookedModel) -> float:
    """Return the constant factor between the embedding's hook point and the rows of the embedding matrix."""
    ids, kept = tiny_ids(model.twin, 6), []
    decoder_ids = ids if model.family.kind == "seq2seq" else None
    with attach(model.bridge, last=[(model.family.embedding, lambda x, hook: kept.append(x.detach()))]):
        model.forward_hooked(ids, decoder_input_ids=decoder_ids)
    vectors = model.embed(ids)
    for scale in embedding_scales(model.twin, vectors):
        if near(kept[0], vectors * scale):
            return scale
    raise ModelError(
        f"the activation at {model.family.embedding} of {type(model.twin).__name__} is not a multiple of the token "
        "embedding, so that an input-level prompt cannot be written there: this architecture is not supported"
    )
