"""Which prompt tokens a model needs: what happens to its loss and its output without each of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError, PromptError, TaskError, nearest
from promptscope.inference.batches import encode_split
from promptscope.inference.model_set import Models, ModelSet
from promptscope.interventions.measuring import Distribution, Measured, measure
from promptscope.interventions.result import Importance
from promptscope.interventions.summary import summarise
from promptscope.interventions.tokens import kept_tokens, without_each
from promptscope.models import Hook, HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import Encoded, Task

HOWS = {
    "zero": "zeroed",
    "mean": "replaced by the mean token",
    "remove": "removed",
    "cut": "cut from attention",
}
"""The interventions by name, and what is said of a token that went through them."""


@checked(batch_size=1, limit=1)
def importance(
    models: Models,
    prompt: Prompt,
    task: Task,
    how: str = "zero",
    split: str = "test",
    limit: int | None = None,
    output: str = "vocabulary",
    batch_size: int = 16,
    variants_per_pass: int = 4,
    max_length: int | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> Importance:
    """Return what each token of *prompt* is worth to each model: the loss without it and with all tokens.

    `loss_m(P without token i)` over k tokens and M models (*token splitting* (S2), section 3.1), where *how* says what
    "without" is: `zero` (the paper's), `mean`, `remove` or `cut`, see `ps.interventions`. Losses are means over all
    target tokens of the examples, as those of `ps.evaluate`. Besides the loss: its difference and ratio to the whole
    prompt's, and the KL divergence of the output.

    Exact, and cheaper than k + 1 evaluations: on causal models the variants' keys and values (and those of a template
    that all texts begin with) are computed once for all data; several variants share a pass; nothing runs on padding,
    nor after the last target; logits exist at target positions only.

    Args:
        models: one model, or several (a list, or a dict with names) of one width and tokenizer; those given by name
            are loaded in turn.
        split, limit: the records: of this split, the first *limit*.
        output: distribution that `kl` compares at the first target token: over the whole `vocabulary`, or over the
            verbalizer's words (`labels`), renormalised.
        batch_size, variants_per_pass: a pass holds so many records with so many variants.
        hooks: attached to every model during the call, in addition to those attached before; see `model.hooks`.

    Raises:
        ProbeError: no such intervention or output, or nothing in a pass.
        PromptError: an unbound prompt, one of another width, or with tokens that cannot be removed.
        ModelError: models of different widths or tokenizers.
        TaskError: the task cannot be encoded, or `output="labels"` and a label's word is several tokens.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.importance(model, ps.SoftPrompt(3).bind(model), task, limit=4, progress=False)
    >>> result.difference.values.shape
    (1, 3)
    """
    every = check_request(models, prompt, how, batch_size, variants_per_pass, hooks)
    if output not in ("vocabulary", "labels"):
        raise ProbeError(f"output must be 'vocabulary' or 'labels', got {output!r}")
    if how == "remove" and prompt.length == 1:
        raise PromptError("the only token of a prompt cannot be removed: use how='zero', or ps.evaluate without prompt")
    kept = without_each(prompt.length)
    examples: Sequence[Encoded] = ()

    def of_model(model: HookedModel) -> Measured:
        nonlocal examples
        mine = fit(prompt, model, alone=len(every) == 1)
        examples = encode_split(model, mine, task, split, max_length=max_length, limit=limit)
        distribution = _distribution(model, task, output)
        return measure(model, mine, how, kept, examples, batch_size, variants_per_pass, distribution, progress)

    found = every.map(of_model)
    about = {
        "how": how,
        "output": output,
        "task": task.name,
        "split": split,
        "data_hash": task.data_hash(split),
        "prompt": prompt.content_hash(),
    }
    losses = np.stack([one.losses.T for one in found.values()], axis=1)  # (X, M, 1 + k)
    n_targets = np.stack([one.n_targets for one in found.values()], axis=1)  # (X, M)
    kl = np.stack([one.kl.T[:, 1:] for one in found.values() if one.kl is not None], axis=1)
    coords = {"model": list(found), "token": range(prompt.length), "example": [example.id for example in examples]}
    return summarise(losses, n_targets, kl, coords, HOWS[how], about)


def check_request(
    models: Models, prompt: Prompt, how: str, batch_size: int, variants_per_pass: int, hooks: Sequence[Hook] = ()
) -> ModelSet:
    """Return the models, after everything that can be wrong before any of them runs."""
    if how not in HOWS:
        raise ProbeError(f"how must be one of {', '.join(HOWS)}, got {how!r}.{nearest(how, HOWS)}")
    for knob, size in (("batch_size", batch_size), ("variants_per_pass", variants_per_pass)):
        if size < 1:
            raise ProbeError(f"{knob} must be at least 1, got {size}")
    kept_tokens(prompt, [])
    return ModelSet(models, hooks)


def fit(prompt: Prompt, model: HookedModel, alone: bool) -> Prompt:
    """Return the prompt bound to *model*: one of several models may have other embeddings than it was made for."""
    return prompt.bind(model) if alone else prompt.copy().bind(model, strict=False)


def _distribution(model: HookedModel, task: Task, output: str) -> Distribution:
    if output == "vocabulary":
        return _over_vocabulary
    words = task.label_ids(model.tokenizer, model.family.kind)
    for label, ids in words.items():
        if len(ids) > 1:
            pieces = model.tokenizer.convert_ids_to_tokens(ids)
            raise TaskError(
                f"output='labels' compares one token for each label, and the word of label {label!r} is {len(ids)} "
                f"tokens for {model.name!r}: {pieces}. Choose words of one token, or output='vocabulary'"
            )
    columns = [ids[0] for ids in words.values()]
    return lambda logits: logits[:, columns].log_softmax(dim=-1)


def _over_vocabulary(logits: Float[Tensor, "rows V"]) -> Float[Tensor, "rows V"]:
    return logits.log_softmax(dim=-1)
