"""`ps.probe`: run probes on a model, prompts and a task, by way of the activation store."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.inference.batches import encode_split
from promptscope.models import Hook, HookedModel
from promptscope.models.identity import is_known
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries
from promptscope.probes.passes import fill
from promptscope.probes.plan import Plan, data_hash, inputs_of, make_plans
from promptscope.probes.registry import get_probes
from promptscope.probes.result import ProbeResult
from promptscope.prompts import Prompt
from promptscope.store import ActivationStore
from promptscope.tasks import Encoded, Task

_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy")


@checked(batch_size=1, limit=1)
def probe(
    model: HookedModel,
    prompts: Mapping[str, Prompt] | Prompt | None,
    task: Task | Sequence[Encoded],
    probes: Probe | str | Iterable[Probe | str],
    store: ActivationStore | str | os.PathLike[str] | None = None,
    split: str = "test",
    limit: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> dict[str, ProbeResult]:
    """Run probes on a model with and without prompts, over the inputs of a task.

    All probes share the forward passes: one with each prompt and one without, over each batch. What they keep is
    written to *store*: a second call with the same model, prompts and inputs reads it from there and runs no pass, and
    an interrupted call goes on where it stopped.

    Args:
        model: a hooked model, of `ps.load_model`.
        prompts: name -> prompt; the names become the dimension `prompt` of results. Or a single prompt, or None for
            probes of the model without a prompt.
        task: a task, whose inputs are `[prompt] source`, without labels (with them for a `labelled` probe); or a list
            of encoded records.
        probes: probes, or their names (keys of `ps.probes.PROBES`); one or several.
        store: folder of the activation store. None: a temporary one; so it is too under hooks whose identity cannot be
            determined (see `HookedModel.identity`), which `provenance["store"]` of the results then says.
        split, limit: the records: the first *limit* of this split (None: all).
        batch_size: inputs per forward pass; it decides how much memory is needed, and does not change results.
        progress: show a progress bar if it takes more than a second.
        hooks: attached during the call, in addition to those attached before; see `model.hooks`. Captures see their
            edits.

    Returns:
        Probe name -> `ps.ProbeResult`.

    Raises:
        ProbeError: an unknown probe, none at all, no inputs, or inputs that a probe cannot use.
        PromptError: a prompt that was made for another model, or is too long.
        ModelError: a capture names an unknown hook point.
        StoreError: a damaged store.
        TaskError: an unknown split.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompts = {"seed 0": ps.SoftPrompt(4), "seed 1": ps.SoftPrompt(4, seed=1)}
    >>> results = ps.probe(model, prompts, task, ["attention_mass"], limit=2, progress=False)
    >>> results["attention_mass"].values.dims
    ('prompt', 'layer', 'head')
    """
    with model.turn(hooks):
        chosen = get_probes([probes] if isinstance(probes, Probe | str) else probes)
        named = _named(prompts)
        for prompt in named.values():
            prompt.bind(model)
        if batch_size < 1:
            raise ProbeError(f"batch_size must be at least 1, got {batch_size}")
        examples = {
            labelled: _examples(model, task, named, split, limit, labelled)
            for labelled in {one.labelled for one in chosen}
        }
        if not all(examples.values()):
            raise ProbeError(
                f"split {split!r} of {getattr(task, 'name', 'the task')!r} is empty, and a "
                "probe needs at least one record: choose another split"
            )
        longest_input = max(len(example.input_ids) for every in examples.values() for example in every)
        for slots in ({}, *(prompt.slots(model) for prompt in named.values())):
            model.rules.check_context(longest_input, slots.get("encoder", 0))  # now, rather than in some later batch
        chosen = [one.ready(model, task if isinstance(task, Task) else None, named) for one in chosen]
        # What hooks compute that cannot be told apart must not answer for others, in this store or a later call.
        if store is None or not is_known(model.identity):
            with tempfile.TemporaryDirectory(prefix="promptscope-") as folder:
                return _probe(
                    model, chosen, named, task, examples, ActivationStore(folder), split, batch_size, progress
                )
        if not isinstance(store, ActivationStore):
            store = ActivationStore(store)
        return _probe(model, chosen, named, task, examples, store, split, batch_size, progress)


def _probe(
    model: HookedModel,
    probes: Sequence[Probe],
    prompts: Mapping[str, Prompt],
    task: Task | Sequence[Encoded],
    examples: Mapping[bool, Sequence[Encoded]],
    store: ActivationStore,
    split: str,
    batch_size: int,
    progress: bool,
) -> dict[str, ProbeResult]:
    inputs = inputs_of(probes, prompts, examples)
    identity = model.identity
    plans = make_plans(model, identity, probes, prompts, inputs, store)
    extra_inputs = {one.name: more for one in probes if (more := one.extra_inputs(examples[one.labelled]))}
    extra_plans = make_plans(model, identity, probes, prompts, extra_inputs, store)
    for plan in dict.fromkeys([*plans.values(), *extra_plans.values()]):
        fill(model, prompts, plan, store, batch_size, progress)
    shared = {
        labelled: _provenance(model, identity, prompts, task, every, split) for labelled, every in examples.items()
    }

    def entries(one: Probe, plan: Plan, extra: Entries | None = None) -> Entries:
        return Entries(
            one,
            model,
            task if isinstance(task, Task) else None,
            plan.examples,
            tuple(prompts),
            {(name, prompt): entry for (probe, name, prompt), entry in plan.plain.items() if probe == one.name},
            {(name, prompt): entry for (probe, name, prompt), entry in plan.prompted.items() if probe == one.name},
            shared[one.labelled] | {"probe": {"type": type(one).__name__} | one.parameters()},
            extra,
            {(name, prompt, edit): e for (probe, name, prompt, edit), e in plan.written.items() if probe == one.name},
        )

    results = {}
    for one in probes:
        extra = entries(one, extra_plans[one.name]) if one.name in extra_plans else None
        results[one.name] = one.compute(entries(one, plans[one.name], extra))
    return results


def _examples(
    model: HookedModel,
    task: Task | Sequence[Encoded],
    prompts: Mapping[str, Prompt],
    split: str,
    limit: int | None,
    labelled: bool,
) -> Sequence[Encoded]:
    if not isinstance(task, Task):
        return task[:limit]
    longest = max(prompts.values(), key=lambda prompt: prompt.length, default=None)
    return encode_split(model, longest, task, split, with_label=labelled, limit=limit)


def _named(prompts: Any) -> dict[str, Prompt]:
    if prompts is None:
        return {}
    if isinstance(prompts, Prompt):
        return {"prompt": prompts}
    for name, prompt in prompts.items():
        if not isinstance(name, str) or not name or not isinstance(prompt, Prompt):
            raise ProbeError(
                f"prompts must be a prompt or a dict name -> prompt, such as {{'v2': prompt}}; got {name!r}: {prompt!r}"
            )
    return dict(prompts)


def _provenance(
    model: HookedModel,
    identity: dict[str, Any],
    prompts: Mapping[str, Prompt],
    task: Task | Sequence[Encoded],
    examples: Sequence[Encoded],
    split: str,
) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "n": len(examples),
        "n_truncated": sum(example.truncated for example in examples),
        "data_hash": data_hash(examples),
    }
    if isinstance(task, Task):
        inputs |= {"task": task.name, "split": split, "language": task.language, "fields": list(task.template.fields)}
    return {
        "model": {"name": model.name, "revision": model.revision} | identity,
        "store": "kept" if is_known(identity) else "bypassed: a hook is attached whose identity cannot be told",
        "prompts": {
            name: {"prompt": repr(prompt), "length": prompt.length, "content_hash": prompt.content_hash()}
            for name, prompt in prompts.items()
        },
        "inputs": inputs,
        "versions": {name: version(name) for name in ("promptscope", *_PACKAGES)},
    }
