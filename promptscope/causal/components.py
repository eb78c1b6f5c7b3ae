"""The components that can be patched: outputs of heads, outputs of FFNs, and the residual stream after each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from promptscope.checks import checked
from promptscope.errors import ProbeError, nearest
from promptscope.models import HookedModel

At = Literal["heads", "ffn", "residual"]


@dataclass(frozen=True)
class Component:
    """One output inside a model that can be patched.

    `point` is its hook point and `stack` the stack of layers it is in (of encoder-decoders `encoder` or `decoder`);
    `layer` and, for heads, `head` are counted from 0. `part` names the attention module (`self`; of encoder-decoders
    `encoder`, `decoder` or `cross`) or the stack, and `stream` the sequence whose positions the output has.

    >>> import promptscope as ps
    >>> head = ps.causal.components(ps.load_model("embedded-causal"), "heads")[7]
    >>> head.point, head.layer, head.head
    ('blocks.1.attn.hook_z', 1, 2)
    """

    point: str
    part: str
    layer: int
    head: int | None
    stream: str
    stack: str

    def __str__(self) -> str:
        where = f"layer {self.layer}" if self.part in ("self", "blocks") else f"{self.part}, layer {self.layer}"
        return where if self.head is None else f"{where}, head {self.head}"


@checked()
def components(model: HookedModel, at: At) -> list[Component]:
    """Return all components of one kind, layer by layer.

    *at* is `heads` (outputs of attention heads before W_O), `ffn` (FFN outputs) or `residual` (the residual stream
    after each layer).

    Raises:
        ProbeError: another kind, or a model whose heads or FFNs have no hook point for their outputs.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> heads = components(model, "heads")
    >>> len(heads), heads[0].point, heads[0].head
    (30, 'blocks.0.attn.hook_z', 0)
    """
    if at not in get_args(At):
        raise ProbeError(f"at must be one of {', '.join(get_args(At))}, got {at!r}.{nearest(str(at), get_args(At))}")
    family = model.family
    if at == "heads":
        for a in family.attentions.values():
            if not family.has(site := f"{a.stack}.{{i}}.{a.module}.hook_z"):
                raise ProbeError(
                    f"single heads of {model.name!r} cannot be patched: {site} "
                    f"{family.missing.get(site, 'does not exist')}. Patch at 'ffn' or 'residual'"
                )
        return [
            Component(f"{a.stack}.{layer}.{a.module}.hook_z", part, layer, head, a.queries, a.stack)
            for part, a in family.attentions.items()
            for layer in range(model.layers[a.stack])
            for head in range(model.shape.n_heads)
        ]
    known = set(model.hook_points()["name"])
    found = []
    for stack in family.stacks:
        # What the FFN adds has another name where a norm comes after it, or where the bridge has no alias for it.
        names = ("hook_mlp_out", "mlp.hook_out", "mlp.out.hook_out") if at == "ffn" else ("hook_resid_post",)
        name = next((one for one in names if family.has(f"{stack}.{{i}}.{one}")), names[0])
        stream = next(a.queries for a in family.attentions.values() if a.stack == stack)
        for layer in range(model.layers[stack]):
            if f"{stack}.{layer}.{name}" not in known:
                raise ProbeError(
                    f"{family.name} models have no hook point {stack}.{layer}.{name}, so these "
                    "outputs cannot be patched: use at='heads' or at='residual'"
                )
            found.append(Component(f"{stack}.{layer}.{name}", stack, layer, None, stream, stack))
    return found
