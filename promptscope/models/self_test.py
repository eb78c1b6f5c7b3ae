"""The self-test when a model is loaded: a hook point that silently has no effect becomes an error."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from transformers import DynamicCache, PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.attached import Hook
from promptscope.models.hooked import HookedModel
from promptscope.models.measuring import near, tiny_ids
from promptscope.models.placement_prefix import prefix_of
from promptscope.models.samples import sample_placements

# Bridge and twin run the same maths in another order; half precision rounds at 1e-2 of the largest logit.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}


def self_test(model: HookedModel) -> dict[str, str]:
    """Test a loaded model on a tiny batch.

    - The logits of the bridge equal those of the plain model.
    - Every hook point of the table fires exactly once, and a value written to it changes the logits (the gradient with
      respect to a zero added there is not zero). One forward and one backward pass test all of them.
    - The logits of a causal model do not depend on later tokens.
    - A prompt written at the embedding gives the logits of `inputs_embeds` on the plain model.
    - A text in a padded batch gives the logits of the text alone.
    - Setting a head's attention pattern to zero equals setting its output to zero.

    Returns the hook points that are not what their names say, and why: heads' outputs that are mixed (BitNet).

    Raises:
        ModelError: it names the test that failed.
    """
    _check_points(model)
    with torch.no_grad():
        _check_direction(model)
        _check_vectors(model)
        _check_rows(model)
        return _check_heads(model)


def _check_points(model: HookedModel) -> None:
    ids, mask, decoder_ids = _tiny_batch(model)
    with torch.no_grad():
        # The twin itself: whatever is attached to the bridge must not reach what the bridge is compared with.
        plain = _twin_logits(model, mask, decoder_ids, input_ids=ids)
    table = model.hook_points()
    fired: Counter[str] = Counter()
    probes: dict[str, torch.Tensor] = {}

    with torch.enable_grad():
        hooked = model.forward_hooked(
            ids,
            mask,
            decoder_input_ids=decoder_ids,
            hooks=[(name, partial(_add_zero, name, fired, probes)) for name in table["name"]],
        )
        # A fixed random direction: the plain sum of logits could be blind to a shift.
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(hooked.shape, generator=generator).to(hooked)
        (hooked * direction).sum().backward()

    scale = plain.abs().max().item() or 1.0
    difference = (hooked.detach() - plain).abs().max().item() / scale
    if not difference <= _TOLERANCE[model.dtype]:
        raise ModelError(
            f"the hooked model's logits differ from the plain model's by {difference:.1e} of the largest logit "
            f"(expected at most {_TOLERANCE[model.dtype]:.0e}), so that probes would describe another model. Either "
            "transformer-lens is wrong for this architecture or an option of its config.json, or the installed "
            "versions are not those in constraints.txt: install these. Falcon with ALiBi, and Gemma 2 beside old "
            "releases of transformers, have two attention implementations that differ: load them with "
            "attn_implementation='eager'"
        )
    wrong = {name: fired[name] for name in table["name"] if fired[name] != 1}
    if wrong:
        raise ModelError(
            f"hook points must fire exactly once per forward pass, got these counts: {wrong}. Install the versions in "
            "constraints.txt"
        )
    dead = [
        name
        for name in table.loc[table["acts"], "name"]
        if (gradient := probes[name].grad) is None or not gradient.abs().max() > 0
    ]
    if dead:
        raise ModelError(
            f"values written to these hook points did not change the logits: {dead}. Install the versions in "
            "constraints.txt"
        )


def _check_direction(model: HookedModel) -> None:
    """Check that the logits of a causal model do not depend on later tokens."""
    if model.family.kind != "causal":
        return
    ids = tiny_ids(model.twin, 6).repeat(2, 1)
    ids[1, -1] = (ids[1, -1] + 1) % model.shape.vocab_size
    one, other = model.twin(input_ids=ids).logits[:, :-1]
    if not near(one, other):
        raise ModelError(
            f"{type(model.twin).__name__} {model.name!r} attends to later tokens, but a causal model must predict each "
            "token from those before it: set config.is_decoder = True if it was trained as a causal model, or load its "
            "class for masked language models (such as BertForMaskedLM)"
        )


def _add_zero(
    name: str, fired: Counter[str], zeros: dict[str, torch.Tensor], x: torch.Tensor, hook: object
) -> torch.Tensor:
    fired[name] += 1
    zeros[name] = torch.zeros_like(x, requires_grad=True)
    return x + zeros[name]


def _twin_logits(
    model: HookedModel, mask: torch.Tensor, decoder_ids: torch.Tensor | None, **inputs: torch.Tensor
) -> torch.Tensor:
    """Return the plain model's logits for `input_ids` or `inputs_embeds`, with the columns of *mask* as positions."""
    if decoder_ids is not None:
        return model.twin(attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False, **inputs).logits
    told = model.told_positions(torch.arange(mask.shape[1], device=model.device).expand(mask.shape))
    return model.twin(attention_mask=mask, **told, **inputs).logits


def _differ(a: torch.Tensor, b: torch.Tensor, model: HookedModel) -> bool:
    if model.dtype in (torch.bfloat16, torch.float16):
        # Rounding sends a token to other experts now and then: half of the positions must agree.
        far = (a - b).norm(dim=-1) / b.norm(dim=-1)
        return not far.float().median().item() <= 3 * _TOLERANCE[model.dtype]
    scale = b.abs().max().item() or 1.0
    return not (a - b).abs().max().item() / scale <= 3 * _TOLERANCE[model.dtype]


def _check_vectors(model: HookedModel) -> None:
    """Check that vectors written by hooks act as `inputs_embeds` do on the plain model."""
    ids, mask, decoder_ids = _tiny_batch(model)
    vectors = next(iter(sample_placements(model).values()))
    hooked = model.forward_hooked(ids, mask, vectors, decoder_input_ids=decoder_ids)
    assert vectors.vectors is not None
    x = torch.cat([vectors.vectors.expand(len(ids), -1, -1), model.embed(ids)], dim=1)
    mask = torch.cat([mask.new_ones(len(ids), vectors.length), mask], dim=1)
    plain = _twin_logits(model, mask, decoder_ids, inputs_embeds=model.inputs(x))
    if _differ(hooked, plain, model):
        raise ModelError(
            f"vectors written at {model.family.embedding} of {type(model.twin).__name__} give other logits than the "
            "same vectors as inputs_embeds of the plain model, so that an input-level prompt is not well defined: "
            "this architecture is not supported"
        )


def _check_rows(model: HookedModel) -> None:
    """Check that a text followed by padding gives the logits of the text alone."""
    ids, mask, decoder_ids = _tiny_batch(model)
    mask = mask.clone()
    mask[1, 3:] = 0
    padded = model.forward_hooked(ids, mask, decoder_input_ids=decoder_ids)[1:]
    mine = None if decoder_ids is None else decoder_ids[1:]
    alone = model.forward_hooked(ids[1:, :3], mask[1:, :3], decoder_input_ids=mine)
    if _differ(padded[:, : alone.shape[1]] if mine is None else padded, alone, model):
        raise ModelError(
            f"a text followed by padding gives other logits than the text alone on {type(model.twin).__name__}: its "
            "transformer-lens bridge does not mask padding, so this architecture is not supported"
        )


def _check_heads(model: HookedModel) -> dict[str, str]:
    """Check that setting a head's pattern to zero equals setting its output (`hook_z`) to zero.

    Where a norm over all heads lies between the two, the patterns of all heads are compared with their values instead,
    and `hook_z` is returned with the reason why it is not a head's own output.
    """
    ids, mask, decoder_ids = _tiny_batch(model)
    mixed: dict[str, str] = {}
    for attention in model.family.attentions.values():
        where = f"{attention.stack}.0.{attention.module}"
        if not all(model.family.has(f"{attention.stack}.{{i}}.{attention.module}.hook_{p}") for p in ("pattern", "z")):
            continue

        def without(point: str, zero: Callable[..., torch.Tensor], where: str = where) -> torch.Tensor:
            hooks = [(f"{where}.hook_{point}", zero)]
            return model.forward_hooked(ids, mask, hooks=hooks, decoder_input_ids=decoder_ids)

        if not _differ(without("pattern", _zero_head_1), without("z", _zero_head_2), model):
            continue
        if _heads_are_apart(model, where) or _differ(without("pattern", _zero), without("v", _zero), model):
            raise ModelError(
                f"setting a head's pattern to zero at {where} does not equal setting its hook_z to zero: the pattern "
                "at this hook point is not the one that the model uses, so this architecture is not supported"
            )
        site = f"{attention.stack}.{{i}}.{attention.module}.hook_z"
        mixed[site] = "is no head's own output: a norm over all heads comes before it"
    return mixed


def _heads_are_apart(model: HookedModel, where: str) -> bool:
    """Say whether what `hook_z` holds of a head is that head's own, whatever the others read."""
    ids, mask, decoder_ids = _tiny_batch(model)
    kept: list[torch.Tensor] = []
    keep: Hook = (f"{where}.hook_z", lambda x, hook: kept.append(x.detach()))
    for hooks in ([keep], [(f"{where}.hook_pattern", _zero_head_1), keep]):
        model.forward_hooked(ids, mask, hooks=hooks, decoder_input_ids=decoder_ids)
    return near(kept[1][:, :, 1:], kept[0][:, :, 1:])


def _zero(x: torch.Tensor, hook: object) -> torch.Tensor:
    return torch.zeros_like(x)


def _zero_head_1(x: torch.Tensor, hook: object) -> torch.Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], dim=1)


def _zero_head_2(x: torch.Tensor, hook: object) -> torch.Tensor:
    return torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, 1:]], dim=2)


def why_no_cache(model: HookedModel) -> str | None:
    """Return why prompts of a causal model cannot run as a prefix cache, or None if they can, with equal logits."""
    if model.family.kind != "causal":
        return None
    ids, mask, _ = _tiny_batch(model)
    mask = mask.clone()
    mask[1, 3:] = 0
    real = mask.bool()
    with torch.no_grad():
        for what, placement in sample_placements(model).items():
            if model.needs_hooks([placement]):
                continue
            hooked = model.forward_hooked(ids, mask, placement)[:, placement.length :][real]
            try:
                cached = model.unembed(model.hidden(ids, mask, prefix_of(placement, model))[real])
            except Exception as error:  # whatever a model of unknown make does with a cache, hooks can do
                return f"{what}: its cache cannot be given ({type(error).__name__}: {error})"
            if _differ(cached, hooked, model):
                worst = (cached - hooked).abs().max().item()
                return f"{what}: logits with a cache differ by {worst:.2g} from those under hooks"
    return None


def reads_on(model: HookedModel) -> bool:
    """Say whether a causal model reads on from a cache that it made of a text, with the logits of the whole text."""
    ids, mask, _ = _tiny_batch(model)
    cache = DynamicCache()
    with torch.no_grad():
        whole = _twin_logits(model, mask, None, input_ids=ids)[:, -2:]
        try:
            for begin, end in ((0, 3), (3, 5)):
                told = model.told_positions(torch.arange(begin, end, device=model.device).expand(len(ids), -1))
                rest = model.twin.base_model(
                    input_ids=ids[:, begin:end],
                    attention_mask=mask[:, :end],
                    past_key_values=cache,
                    use_cache=True,
                    **told,
                ).last_hidden_state
            return not _differ(model.unembed(rest), whole, model)
        except Exception:  # a cache of another kind, with more in it than keys and values
            return False


def shares_cache(model: HookedModel) -> bool:
    """Return whether the hooked model can continue from a cache of the plain model, with equal logits."""
    if model.family.kind != "causal":
        return False
    ids, mask, _ = _tiny_batch(model)
    placement = next(iter(sample_placements(model).values()))
    with torch.no_grad():
        whole = model.forward_hooked(ids, mask, placement)[:, placement.length :]
        try:
            rest = model.forward_hooked(ids, mask, prefix=prefix_of(placement, model))
        except Exception:  # a cache of its own: keys in another shape, or compressed
            return False
    return not _differ(rest, whole, model)


def check_finite(twin: PreTrainedModel, logits: torch.Tensor, name: str) -> None:
    """Raise ModelError if *logits* of a plain model are not finite; it names a weight with NaN, if there is one."""
    if torch.isfinite(logits).all():
        return
    weights = [*twin.named_parameters(), *twin.named_buffers()]
    broken = [name for name, x in weights if x.is_floating_point() and torch.isnan(x).any()]
    if broken:
        raise ModelError(
            f"{len(broken)} weights of {name!r} hold NaN (first {broken[0]!r}): the checkpoint is damaged, load "
            "another one"
        )
    raise ModelError(
        f"the logits of {name!r} are not finite in {twin.dtype}, although no weight is NaN: load it in another "
        "type, dtype='bfloat16' or 'float32'"
    )


def _tiny_batch(model: HookedModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    ids = tiny_ids(model.twin, 10).view(2, 5)
    decoder_ids = ids[:, :4] if model.family.kind == "seq2seq" else None
    return ids, torch.ones_like(ids), decoder_ids
