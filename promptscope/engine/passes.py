"""Several passes with gradient with the same prompts: each prompt is placed, and what is shared computed, once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.engine.causal import computed
from promptscope.engine.choice import is_packed, kernel
from promptscope.engine.shared import Shared
from promptscope.engine.template import common_template
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement


@contextmanager
def over_passes(
    model: HookedModel, placements: Sequence[Placement], texts: Texts, which: Int[Tensor, "R"] | None = None
) -> Iterator[tuple[list[Placement], Shared | None]]:
    """Share placements between several passes: gradients are summed, and reach the prompts once, at the end.

    *texts*, *which*: those of all passes together. On causal models that run packed, the keys and values that all
    passes share come with them; else None.

    >>> import torch, promptscope as ps
    >>> from promptscope.engine import logits
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(length=4).bind(model)
    >>> ids = torch.tensor([[5, 7, 9], [5, 7, 8]])
    >>> texts, which = Texts(ids, torch.ones_like(ids), ids > 7), torch.tensor([0, 0])
    >>> with over_passes(model, [prompt.place(model)], texts, which) as (placements, shared):
    ...     for row in torch.eye(2).bool():  # two passes of one text, one gradient
    ...         logits(model, texts.pick(row), placements, which[row], shared).logsumexp(-1).sum().backward()
    >>> [parameter.grad.shape == (4, model.shape.d_model) for parameter in prompt.parameters()]
    [True]
    """
    leaves = _Leaves([], [])
    if model.family.kind != "causal" or not is_packed(model, placements):
        yield [placement.map(leaves.of) for placement in placements], None
        leaves.backward()
        return
    template: list[list[int]] = []
    if all(placement.sees_everywhere(model) for placement in placements):
        template = common_template(texts.ids, texts.mask.bool(), texts.where, which, len(placements))
    with kernel(model):
        shared = computed(model, Shared.of(model, placements, template))
    if shared.prefix is not None:
        keys, values = (tuple(map(leaves.of, part)) for part in (shared.prefix.keys, shared.prefix.values))
        shared = replace(shared, prefix=replace(shared.prefix, keys=keys, values=values))
    yield list(placements), shared
    leaves.backward()


@dataclass
class _Leaves:
    """Tensors of one graph, and leaves that stand for them in others."""

    ends: list[Tensor]
    leaves: list[Tensor]

    def of(self, end: Tensor) -> Tensor:
        """Return a leaf with the numbers of *end*."""
        self.ends.append(end)
        self.leaves.append(end.detach().requires_grad_())
        return self.leaves[-1]

    def backward(self) -> None:
        """Go on backward from the leaves, in the graph of the ends."""
        pairs = [(end, leaf.grad) for end, leaf in zip(self.ends, self.leaves, strict=True)]
        found = [(end, grad) for end, grad in pairs if grad is not None and end.requires_grad]
        torch.autograd.backward([end for end, _ in found], [grad for _, grad in found])
