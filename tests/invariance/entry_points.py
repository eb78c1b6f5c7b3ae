"""Every public entry point as a function from one call's circumstances to numbers, record by record in one order."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import promptscope as ps
from promptscope.models import Hook, HookedModel
from tests.training.toy import LABELS, VOCAB, toy_rows, toy_task

N = 6  # records


@dataclass(frozen=True)
class Call:
    """One call of an entry point: on which model, and all that must make no difference."""

    model: HookedModel
    folder: Path
    hooks: tuple[Hook, ...] = ()
    batch_size: int = 16
    reverse: bool = False
    left: bool = False

    def task(self) -> ps.Task:
        splits = {split: toy_rows(N, split) for split in ("train", "validation", "test")}
        if self.reverse:
            splits = {split: rows[::-1] for split, rows in splits.items()}
        return ps.Task.from_records(splits, verbalizer=toy_task().verbalizer, name="toy")

    def prompt(self) -> ps.Prompt:
        return ps.SoftPrompt(3, init="vocab", seed=1).bind(self.model)

    def in_order(self, values: Any) -> np.ndarray:
        """Return records in the order in which nobody reversed them."""
        values = np.asarray(values)
        return values[::-1] if self.reverse else values


def logits(call: Call) -> np.ndarray:
    ids, mask = _texts(call)
    ids, mask = (ids.flip(0), mask.flip(0)) if call.reverse else (ids, mask)
    rows = []
    for i in range(0, len(ids), call.batch_size):
        part = slice(i, i + call.batch_size)
        given = {"decoder_input_ids": ids[part].clamp(min=5)[:, -2:] * 0 + 7} if _writes(call) else {}
        found = call.model.logits(ids[part], mask[part], call.prompt(), hooks=call.hooks, **given)
        real = torch.ones(found.shape[:2], dtype=torch.bool) if given else mask[part].bool()
        rows += [row[seen][-1].detach().numpy() for row, seen in zip(found, real, strict=True)]
    return call.in_order(rows)


def _texts(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCAB, (N, 6), generator=generator)
    mask = (torch.arange(6) < torch.tensor([6, 3, 5, 4, 6, 2])[:, None]).long()
    if call.left:
        for row, seen in zip(ids, mask, strict=True):
            shift = 6 - int(seen.sum())
            row.copy_(row.roll(shift))
            seen.copy_(seen.roll(shift))
    return ids, mask


def _writes(call: Call) -> bool:
    return call.model.family.kind == "seq2seq"


def generate(call: Call) -> np.ndarray:
    ids, mask = _texts(call)
    ids, mask = (ids.flip(0), mask.flip(0)) if call.reverse else (ids, mask)
    texts: list[Any] = []
    for i in range(0, len(ids), call.batch_size):
        part = slice(i, i + call.batch_size)
        texts += ps.generate(call.model, call.prompt(), ids[part], mask[part], max_new_tokens=4, hooks=call.hooks)
    return call.in_order([str(list(map(int, text))) for text in texts])


def evaluate(call: Call) -> np.ndarray:
    scores = ps.evaluate(
        call.model, call.prompt(), call.task(), batch_size=call.batch_size, progress=False, hooks=call.hooks
    )
    return np.array([scores[name] for name in sorted(scores)])


def predict(call: Call) -> np.ndarray:
    found = ps.predict(
        call.model, call.prompt(), call.task(), batch_size=call.batch_size, progress=False, hooks=call.hooks
    )
    return call.in_order([LABELS.index(one) for one in found])


def score_labels(call: Call) -> np.ndarray:
    return call.in_order(
        ps.score_labels(
            call.model, call.prompt(), call.task(), batch_size=call.batch_size, progress=False, hooks=call.hooks
        )
    )


def probe(call: Call) -> np.ndarray:
    result = ps.probe(
        call.model,
        call.prompt(),
        call.task(),
        "attention_kl",
        store=call.folder / "store",
        batch_size=call.batch_size,
        progress=False,
        hooks=call.hooks,
    )
    return result["attention_kl"].values


def importance(call: Call) -> np.ndarray:
    result = ps.importance(
        call.model, call.prompt(), call.task(), batch_size=call.batch_size, progress=False, hooks=call.hooks
    )
    return result.loss.values


def shapley(call: Call) -> np.ndarray:
    result = ps.shapley(
        call.model, call.prompt(), call.task(), batch_size=call.batch_size, progress=False, hooks=call.hooks
    )
    return result.values


def logit_lens(call: Call) -> np.ndarray:
    reading = ps.readings.read_logit_lens(call.model, call.prompt(), hooks=call.hooks)
    return np.concatenate(
        [
            reading.data[name].values.ravel()
            for name in sorted(reading.data.data_vars)
            if reading.data[name].dtype.kind == "f"
        ]
    )


def patchscope(call: Call) -> np.ndarray:
    describe = ps.readings.DescribePrompt((("Korea", "a story"),), placeholder="a")
    reading = ps.readings.read_patchscope(
        call.model,
        call.prompt(),
        describe=describe,
        nulls=ps.readings.Nulls(random=1),
        max_new_tokens=3,
        batch_size=call.batch_size,
        hooks=call.hooks,
    )
    return reading.texts["text"].to_numpy(dtype=str)


def causal_patch(call: Call) -> np.ndarray:
    with _under(call):
        found = ps.causal.patch(call.model, call.prompt(), call.task(), batch_size=call.batch_size)
    return found.data["nats"].values


def token_attribution(call: Call) -> np.ndarray:
    with _under(call):
        return ps.causal.token_attribution(call.model, call.prompt(), call.task(), batch_size=call.batch_size)


def _under(call: Call) -> AbstractContextManager[None]:
    """Causal accounts take no hooks of their own, and run under those that are attached."""
    return call.model.turn(call.hooks) if call.hooks else nullcontext()


def train(call: Call) -> np.ndarray:
    """A batch holds all records: their order then makes no difference, nor do the parts it is computed in."""
    parts = (
        {"batch_size": call.batch_size, "accumulation": N // call.batch_size}
        if call.batch_size < N
        else {"batch_size": N}
    )
    config = ps.TrainConfig(steps=3, learning_rate=0.05, **parts)
    folder = call.folder / f"run-{len(list(call.folder.iterdir()))}"
    run = ps.train(call.model, call.prompt(), call.task(), config, folder, progress=False, hooks=call.hooks)
    return run.history[["loss", "grad_norm"]].to_numpy()


ENTRY_POINTS: dict[str, Callable[[Call], np.ndarray]] = {
    one.__name__: one
    for one in (
        *(logits, train, evaluate, predict, generate, score_labels, probe, importance, shapley, logit_lens),
        *(patchscope, causal_patch, token_attribution),
    )
}
