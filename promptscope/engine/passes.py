"""Several passes with gradient behind the same prompts: what stands in front is computed once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from promptscope.engine.causal import computed
from promptscope.engine.choice import is_packed, kernel
from promptscope.engine.shared import Shared, sees_everywhere
from promptscope.engine.template import common_template
from promptscope.models import HookedModel
from promptscope.prompts import Prompt


@contextmanager
def shared_over_passes(
    model: HookedModel,
    prompts: Sequence[Prompt],
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"],
    where: Bool[Tensor, "R t"],
    which: Int[Tensor, "R"] | None = None,
) -> Iterator[Shared | None]:
    """Give keys and values that collect the gradient of every pass inside, and take it back to the prompts at the end.

    *ids*, *mask*, *where*, *which*: the texts of all passes together. None where nothing can be shared.
    """
    if model.family.kind != "causal" or not is_packed(model, prompts):
        yield None
        return
    template = common_template(ids, mask.bool(), where, which, len(prompts)) if sees_everywhere(model, prompts) else []
    with kernel(model):
        whole = computed(model, Shared.of(model, prompts, template))
    if whole.prefix is None:
        yield None
        return
    leaves = whole.detached()
    yield leaves
    assert leaves.prefix is not None
    ends = (*whole.prefix.keys, *whole.prefix.values)
    grads = [leaf.grad for leaf in (*leaves.prefix.keys, *leaves.prefix.values)]
    pairs = [(end, grad) for end, grad in zip(ends, grads, strict=True) if grad is not None and end.requires_grad]
    torch.autograd.backward([end for end, _ in pairs], [grad for _, grad in pairs])
