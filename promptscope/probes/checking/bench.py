"""What the checks run a probe on: a small model, two prompts, and inputs of different and of equal lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptscope.errors import ProbeError
from promptscope.models import Hook, HookedModel, load_model
from promptscope.probes.base import Probe
from promptscope.probes.result import ProbeResult
from promptscope.probes.run import probe as run_probe
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.store import ActivationStore
from promptscope.tasks import Task, load_task

_SPLIT = "check"
_EVEN = 12  # tokens of each input of equal lengths


@dataclass(frozen=True, eq=False)
class Bench:
    """A probe and what it is run on; `task` has inputs of different lengths, `even` inputs of one length."""

    probe: Probe
    model: HookedModel
    prompts: Mapping[str, Prompt]
    task: Task
    even: Task

    def run(
        self,
        task: Any = None,
        batch_size: int = 4,
        store: ActivationStore | str | None = None,
        hooks: Sequence[Hook] = (),
        probe: Probe | None = None,
        prompts: Mapping[str, Prompt] | None = None,
    ) -> ProbeResult:
        """Run the probe with a store of its own, in shards of four inputs."""
        with tempfile.TemporaryDirectory(prefix="promptscope-check-") as folder:
            results = run_probe(
                self.model,
                self.prompts if prompts is None else prompts,
                self.task if task is None else task,
                probe or self.probe,
                store or ActivationStore(folder, shard_size=4),
                split=_SPLIT,
                batch_size=batch_size,
                progress=False,
                hooks=hooks,
            )
        (result,) = results.values()
        return result


def make_bench(
    probe: Probe,
    model: HookedModel | None,
    prompts: Mapping[str, Prompt] | None,
    task: Task | None,
    split: str,
) -> Bench:
    """Return a bench of what the caller gives, with defaults for the rest.

    The defaults are the embedded causal model, two random prompts and a bundled task.

    Raises:
        ProbeError: a model without tokenizer, or a task with too few inputs that are long enough.
    """
    model = load_model("embedded-causal") if model is None else model
    if not model.has_tokenizer:
        raise ProbeError(f"check_probe needs a model with a tokenizer, and {model.name!r} has none")
    if task is None:
        task, split = load_task("sentiment_en"), "test"
    if prompts is None:
        prompts = {"v1": SoftPrompt(3, seed=1), "v2": DeepPrompt(2, seed=2)}
    for prompt in prompts.values():
        prompt.bind(model)
    records = task.split(split)[:200]
    whole = replace(task, splits={_SPLIT: records}, source=None)
    encoded = whole.encode(
        model.tokenizer, model.family.kind, _SPLIT, with_label=False, decoder_start_id=model.decoder_start_id
    )
    lengths = [len(example.input_ids) for example in encoded]
    long = [record for record, n in zip(records, lengths, strict=True) if n >= _EVEN]
    fitting = [record for record, n in zip(records, lengths, strict=True) if _EVEN - 5 <= n <= 3 * _EVEN]
    if len(long) < 24 or len(fitting) < 8:
        raise ProbeError(
            f"check_probe needs 24 inputs of at least {_EVEN} tokens, eight of them with at most {3 * _EVEN}, and "
            f"split {split!r} of task {task.name!r} has {len(long)} and {len(fitting)}"
        )
    even = replace(whole, splits={_SPLIT: tuple(long[:24])}, max_length=_EVEN)
    return Bench(probe, model, dict(prompts), replace(whole, splits={_SPLIT: tuple(fitting[:8])}), even)


def some(task: Task, n: int, reverse: bool = False) -> Task:
    """Return the first *n* inputs of a task of the bench, in this or the reverse order."""
    records = task.split(_SPLIT)[:n]
    return replace(task, splits={_SPLIT: records[::-1] if reverse else records})
