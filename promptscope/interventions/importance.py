"""Which prompt tokens a model needs: by how much its loss and its output change without each of them."""

from collections.abc import Sequence

import numpy as np

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
"""The interventions by name, and the words for them in titles."""


@checked(batch_size=1, variants_per_pass=1, limit=1)
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
    """Return how important each token of *prompt* is to each model: the loss without the token, and with all tokens.

    For k tokens and M models, `loss_m(prompt without token i)` (Reimann & Sadrieh 2024, section 3.1), a mean over all
    target tokens of the examples, in nats per target token, as in `ps.evaluate`. *how* says what "without" means. The
    result also has the difference from the loss with the whole prompt, the ratio to it, and the KL divergence of the
    output, see `ps.Importance`; higher = more important in all four.

    The numbers are those of k + 1 evaluations, computed faster: on causal models, the keys and values of each variant
    of the prompt (and of a template that all texts begin with) are computed once for all inputs, several variants share
    a pass, and logits are computed at target positions only.

    Args:
        models: one model, or several (a list, or name -> model) of the same width and tokenizer; models given by name
            are loaded one after the other.
        prompt: a bound prompt.
        how: `"zero"` (as in the paper), `"mean"`, `"remove"` or `"cut"`: the functions of these names in
            `ps.interventions`.
        split, limit: the records: the first *limit* of this split; None: all.
        output: the distribution that `kl` compares, at the first target token: over the whole `"vocabulary"`, or over
            the verbalizer's `"labels"` only, renormalised.
        batch_size, variants_per_pass: records, and variants of the prompt, in one pass; results do not depend on them.
        max_length: longest text in tokens; longer ones are truncated.
        hooks: attached to every model during the call, in addition to those attached before; see `model.hooks`.

    Raises:
        ProbeError: an unknown *how* or *output*.
        ArgumentError: *batch_size*, *variants_per_pass* or *limit* below 1.
        PromptError: an unbound prompt, one of another width, or the removal of its only token.
        ModelError: models of different widths or tokenizers.
        TaskError: records cannot be encoded, or `output="labels"` and a label's word is several tokens.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.importance(model, ps.SoftPrompt(3).bind(model), task, limit=4, progress=False)
    >>> result.difference.values.shape
    (1, 3)
    """
    every = check_request(models, prompt, how, hooks)
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


def check_request(models: Models, prompt: Prompt, how: str, hooks: Sequence[Hook]) -> ModelSet:
    """Return the models, after all checks that need no forward pass."""
    if how not in HOWS:
        raise ProbeError(f"how must be one of {', '.join(HOWS)}, got {how!r}.{nearest(how, HOWS)}")
    kept_tokens(prompt, [])
    return ModelSet(models, hooks)


def fit(prompt: Prompt, model: HookedModel, alone: bool) -> Prompt:
    """Return the prompt bound to *model*; of several models, one may have other embeddings than it was made for."""
    return prompt.bind(model) if alone else prompt.copy().bind(model, strict=False)


def _distribution(model: HookedModel, task: Task, output: str) -> Distribution:
    if output == "vocabulary":
        return lambda logits: logits.log_softmax(dim=-1)
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
