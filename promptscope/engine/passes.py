"""Several passes with gradient over the same prompts, whose placements and shared keys are computed once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.engine.causal import computed
from promptscope.engine.choice import is_packed
from promptscope.engine.settings import kernel
from promptscope.engine.shared import Shared
from promptscope.engine.template import common_template
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement


@contextmanager
def over_passes(
    model: HookedModel, placements: Sequence[Placement], texts: Texts, which: Int[Tensor, "R"] | None = None
) -> Iterator[tuple[list[Placement], Shared | None]]:
    """Share the computation of prompts between several passes, for gradient accumulation.

    Yield placements and shared keys and values, to be given to `logits` of every pass. Gradients of the passes are
    summed, and reach the prompts' parameters once, at the end of the `with` block.

    Args:
        model: a hooked model.
        placements: the prompts' placements, with gradient.
        texts: the texts of all passes together.
        which: the prompt of each text, by its number; None: there is one prompt or none.

    The shared keys and values are None unless the model is causal and runs packed.

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
    """Tensors of one autograd graph, and detached leaves with the same numbers for use in other graphs."""

    ends: list[Tensor]
    leaves: list[Tensor]

    def of(self, end: Tensor) -> Tensor:
        """Return a detached leaf with the numbers of *end*."""
        self.ends.append(end)
        self.leaves.append(end.detach().requires_grad_())
        return self.leaves[-1]

    def backward(self) -> None:
        """Continue the backward pass in the original graph, from the gradients of the leaves."""
        pairs = [(end, leaf.grad) for end, leaf in zip(self.ends, self.leaves, strict=True)]
        found = [(end, grad) for end, grad in pairs if grad is not None and end.requires_grad]
        torch.autograd.backward([end for end, _ in found], [grad for _, grad in found])
