"""The self-test at load time: turns hook points that silently do nothing into errors."""

from collections import Counter
from collections.abc import Callable

import torch

from promptscope.errors import ModelError
from promptscope.models.hooked import HookedModel

# Bridge and twin run the same maths in another order; half precision rounds at 1e-2 of the largest logit.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}


def self_test(model: HookedModel) -> None:
    """Check the promises of the hook-point table on one tiny batch.

    The bridge's logits equal the twin's; every hook point fires exactly once; a write to each acting
    hook point moves the logits (its first-order effect, the gradient with respect to an added zero, is
    not zero). One forward and one backward pass for all of them.

    Raises:
        ModelError: naming the hook points that broke their promise.
    """
    ids, mask, decoder_ids = _tiny_batch(model)
    with torch.no_grad():
        # The twin itself: whatever is attached to the bridge must not reach what the bridge is compared with.
        decoder = {} if decoder_ids is None else {"decoder_input_ids": decoder_ids}
        plain = model.twin(input_ids=ids, attention_mask=mask, use_cache=False, **decoder).logits
    table = model.hook_points()
    fired: Counter[str] = Counter()
    probes: dict[str, torch.Tensor] = {}

    def add_zero(name: str) -> Callable[..., torch.Tensor]:
        def hook_function(x: torch.Tensor, hook: object) -> torch.Tensor:
            fired[name] += 1
            probes[name] = torch.zeros_like(x, requires_grad=True)
            return x + probes[name]

        return hook_function

    with torch.enable_grad():
        hooked = model.forward_hooked(
            ids, mask, decoder_input_ids=decoder_ids, hooks=[(name, add_zero(name)) for name in table["name"]]
        )
        # A fixed random direction: the plain sum of logits could be blind to a shift.
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(hooked.shape, generator=generator).to(hooked)
        (hooked * direction).sum().backward()

    _check_finite(model, plain)
    scale = plain.abs().max().item() or 1.0
    difference = (hooked.detach() - plain).abs().max().item() / scale
    if not difference <= _TOLERANCE[model.dtype]:
        raise ModelError(
            f"the hooked model's logits differ from the plain model's by {difference:.1e} of the largest logit "
            f"(expected at most {_TOLERANCE[model.dtype]:.0e}): probes would look at another model. The bridge of "
            "transformer-lens does not know an option of this model's config.json, or the versions installed are not "
            "those in constraints.txt"
        )
    wrong = {name: fired[name] for name in table["name"] if fired[name] != 1}
    if wrong:
        raise ModelError(f"hook points must fire exactly once per forward pass, these did not: {wrong}")
    dead = [
        name
        for name in table.loc[table["acts"], "name"]
        if (gradient := probes[name].grad) is None or not gradient.abs().max() > 0
    ]
    if dead:
        raise ModelError(f"writes to these hook points do not move the logits, although they should: {dead}")


def _check_finite(model: HookedModel, logits: torch.Tensor) -> None:
    if torch.isfinite(logits).all():
        return
    weights = [*model.twin.named_parameters(), *model.twin.named_buffers()]
    broken = [name for name, x in weights if x.is_floating_point() and torch.isnan(x).any()]
    if broken:
        raise ModelError(f"{len(broken)} weights of {model.name!r} hold NaN, first {broken[0]!r}: load others")
    raise ModelError(
        f"the logits of {model.name!r} are not finite in {model.dtype}, although no weight is NaN: load it in another "
        "type, dtype='bfloat16' or 'float32'"
    )


def _tiny_batch(model: HookedModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.shape.vocab_size, (2, 5), generator=generator).to(model.device)
    decoder_ids = ids[:, :4] if model.family.kind == "seq2seq" else None
    return ids, torch.ones_like(ids), decoder_ids
