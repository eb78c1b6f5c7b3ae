"""The single checks: each runs the probe and says what was observed if the probe fails it."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptscope.errors import PromptscopeError
from promptscope.probes.base import Probe
from promptscope.probes.checking.bench import Bench, some
from promptscope.probes.checking.compare import difference, loss_in_saving
from promptscope.probes.checking.memory import held_bytes, watching
from promptscope.probes.checking.state import changes, hooks_of, restored, take_state
from promptscope.probes.entries import Entries
from promptscope.probes.function import probe_function
from promptscope.probes.plan import OUTPUT
from promptscope.probes.result import ProbeResult
from promptscope.probes.saved import load_result
from promptscope.probes.writing import WritingProbe
from promptscope.store import ActivationStore
from promptscope.tasks import Encoded

_HELD = ("tensors", "arrays", "Python objects")
# Bytes of them that may be held for each input when its passes are over; type checkers keep some of what they saw.
_PER_INPUT = (512, 512, 48 * 1024)


class CheckFailed(Exception):  # noqa: N818 (never leaves check_probe)
    """A check failed; the message says what was observed."""


class Interrupted(Exception):  # noqa: N818 (never leaves check_probe)
    """The exception that the checks raise inside a forward pass."""


def _stop(x: Tensor, hook: object) -> None:
    raise Interrupted


def _middle(bench: Bench) -> str:
    return bench.model.site("hook_resid_post")[bench.model.shape.n_layers // 2]


def labelled(bench: Bench) -> None:
    """The result has a name, units and a direction, and its numbers are finite."""
    result = bench.run()
    if not isinstance(result, ProbeResult):
        raise CheckFailed(f"compute returned {type(result).__name__}, not a ProbeResult (entries.result makes one)")
    for field in ("name", "units", "direction"):
        if not getattr(result, field):
            raise CheckFailed(
                f"the result has no {field}: entries.result(..., units='nats', direction='higher = more')"
            )
    if not np.isfinite(result.values.values.astype(float)).all():
        raise CheckFailed(f"{int((~np.isfinite(result.values.values)).sum())} of its values are not finite numbers")


def state(bench: Bench) -> dict[str, str]:
    """Return part -> change, for all that a successful run must leave unchanged."""
    before = take_state(bench.model, bench.prompts)
    bench.run(probe=NOTHING)
    between = take_state(bench.model, bench.prompts)
    bench.run()
    after = take_state(bench.model, bench.prompts)
    # What changes without the probe is not its doing, such as numbers that a type checker draws.
    for part in before:
        for name in [name for name, value in before[part].items() if between[part].get(name) != value]:
            del between[part][name], after[part][name]
    return changes(between, after)


def bad_input(bench: Bench) -> None:
    """Inputs that no model can run raise a PromptscopeError, and leave no hook."""
    size = bench.model.shape.vocab_size
    causal = bench.model.family.kind != "seq2seq"
    wrong = [size + i for i in range(12)]
    flags = [False] * 12
    targets = [-100] * 11 + [1] if causal else [1]
    record = Encoded("bad", wrong, ["text"] * 12, flags, targets, None if causal else [0], 11 if causal else 0, False)
    before = hooks_of(bench.model)
    with restored(bench.model):
        try:
            bench.run([record] * 8)
        except PromptscopeError:
            pass
        except Exception as error:
            raise CheckFailed(
                f"token ids that the model does not have gave {type(error).__name__} ({error}), not a PromptscopeError"
            ) from error
        else:
            raise CheckFailed("token ids that the model does not have gave a result, and no error")
        _same_hooks(bench, before, "after inputs that the model cannot run")


def exception(bench: Bench) -> None:
    """An exception inside a forward pass leaves no hook, and reaches the caller unchanged."""

    before = hooks_of(bench.model)
    with restored(bench.model):
        try:
            bench.run(hooks=[(_middle(bench), _stop)])
        except Interrupted:
            pass
        except Exception as error:
            raise CheckFailed(
                "an exception inside a forward pass must reach the caller unchanged, and arrived as "
                f"{type(error).__name__}: {error}"
            ) from error
        else:
            raise CheckFailed(
                f"an exception at {_middle(bench)} did not reach the caller: the probe catches it, or runs no pass"
            )
        _same_hooks(bench, before, "after an exception in a forward pass")


def unchanged_after_exception(bench: Bench) -> None:
    """After an exception in a forward pass, model, tokenizer, prompts, random numbers and settings are as before."""
    found = []
    with restored(bench.model):
        for probe in (NOTHING, bench.probe):
            before = take_state(bench.model, bench.prompts)
            with suppress(Exception):
                bench.run(hooks=[(_middle(bench), _stop)], probe=probe)
            found.append(changes(before, take_state(bench.model, bench.prompts)))
    by_itself, changed = found
    for part in changed.keys() - by_itself.keys() - {"hooks"}:
        raise CheckFailed(
            f"after an exception in a forward pass the probe leaves {part} changed: {changed[part]}. "
            "What ready() changes is not restored by compute() if a pass fails"
        )


def batch_size(bench: Bench) -> None:
    """Batches of 1, 3 and 8 inputs of equal lengths give the same numbers."""
    task = some(bench.even, 8)
    alone = bench.run(task, batch_size=1)
    for size in (3, 8):
        if seen := difference(alone, bench.run(task, batch_size=size), everything=True):
            raise CheckFailed(f"batches of 1 and of {size} inputs give different numbers, {seen}")


def padding(bench: Bench) -> None:
    """Inputs of different lengths give the same numbers alone and padded."""
    if seen := difference(bench.run(batch_size=1), bench.run(batch_size=8), everything=True):
        raise CheckFailed(
            f"inputs without padding (one by one) and padded give different numbers, {seen}. Leave padding out: "
            "view.tokens is True on real tokens, view.at picks a position"
        )


def padding_side(bench: Bench) -> None:
    """The side on which the tokenizer pads changes nothing."""
    tokenizer = bench.model.tokenizer
    with restored(bench.model):
        found = []
        for side in ("left", "right"):
            tokenizer.padding_side = side
            found.append(bench.run())
    if seen := difference(found[0], found[1], everything=True):
        raise CheckFailed(f"tokenizer.padding_side = 'left' and 'right' give different numbers, {seen}")


def order(bench: Bench) -> None:
    """Inputs in reverse order give the same numbers, each input its own."""
    forward, backward = (bench.run(some(bench.even, 6, reverse), batch_size=1) for reverse in (False, True))
    if seen := difference(forward, backward):
        raise CheckFailed(f"inputs in reverse order give different numbers, {seen}")


def deterministic(bench: Bench) -> None:
    """Two runs give the same numbers, whatever the state of the global random number generators."""
    found = []
    with restored(bench.model):
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            found.append(bench.run())
    if seen := difference(found[0], found[1], tolerance=1e-6, everything=True):
        raise CheckFailed(f"two runs under the same seed give different numbers, {seen}")
    if seen := difference(found[0], found[2], tolerance=1e-6, everything=True):
        raise CheckFailed(
            f"the numbers depend on the global random number generators, {seen}. Give the probe a seed of its own: "
            "torch.Generator().manual_seed(self.seed)"
        )


def saves(bench: Bench) -> None:
    """The result can be saved, and the loaded result is equal."""
    result = bench.run()
    with tempfile.TemporaryDirectory(prefix="promptscope-check-") as folder:
        try:
            result.save(Path(folder) / "result")
            again = load_result(Path(folder) / "result")
        except Exception as error:
            raise CheckFailed(f"result.save and ps.load_result fail: {type(error).__name__}: {error}") from error
    if seen := loss_in_saving(result, again):
        raise CheckFailed(f"the loaded result differs from the saved one: {seen}")


def stored(bench: Bench) -> None:
    """A second call with the same store runs no pass, and gives the same numbers."""
    passes = []
    with tempfile.TemporaryDirectory(prefix="promptscope-check-") as folder:
        store = ActivationStore(folder, shard_size=4)
        first = bench.run(store=store)
        entries = len(store.entries())
        second = bench.run(store=store, probe=copy.deepcopy(bench.probe))
        passes.append(len(store.entries()) - entries)
    if passes[0]:
        raise CheckFailed(
            "a second run of the same probe captured everything again: a capture's fields or code are different each "
            "time it is made"
        )
    if seen := difference(first, second, tolerance=1e-9, everything=True):
        raise CheckFailed(
            f"numbers computed again from the store are different, {seen}: compute must not keep state between calls"
        )


def acts(bench: Bench) -> None:
    """A change of the activations changes the result; the probe's own writes change the loss."""
    if isinstance(bench.probe, WritingProbe):
        result = bench.run()
        per_write = result.values.transpose("write", ...).values.reshape(result.data.sizes["write"], -1)
        names = result.data["write"].values.tolist()
        idle = [str(name) for name, changed in zip(names, per_write, strict=True) if not changed.any()]
        if idle:
            raise CheckFailed(f"the write {idle[0]!r} changes the loss of no input: it returns its input unchanged")
        return
    _edits_act(bench)
    sites = _sites(bench)
    edited = bench.run(hooks=[(name, _noise) for name in sites])
    if difference(bench.run(), edited, tolerance=1e-6) is None:
        raise CheckFailed(
            f"noise at the hook points that it reads ({', '.join(sites[:3])}) does not change the "
            "result: its numbers do not depend on what is captured"
        )


def memory(bench: Bench) -> None:
    """After the passes, and when the result is deleted, nothing of the inputs is held in memory."""
    with watching():
        _held(bench, 24)  # what is made once, such as caches of type checkers, is made now
        few, many = _held(bench, 8), _held(bench, 24)
    for when, before, after in zip(("after the passes", "when its result is gone"), few, many, strict=True):
        for what, allowed, less, more in zip(_HELD, _PER_INPUT, before, after, strict=True):
            if more - less > 16 * allowed:
                raise CheckFailed(
                    f"{when}, {(more - less) / 1024:.0f} KiB more of {what} are held for 24 inputs than for 8: memory "
                    "grows with the number of inputs. Reduce activations inside the hook, and keep no reference to them"
                )


def _held(bench: Bench, n: int) -> list[tuple[int, ...]]:
    """Return the memory that a run over *n* inputs holds, for each of `_HELD`: after its passes, and at the end."""
    held = [held_bytes()]
    with _looking(bench.probe, lambda entries: held.append(held_bytes())) as probe:
        bench.run(some(bench.even, n), probe=probe)
    held.append(held_bytes())
    return [tuple(now - before for now, before in zip(one, held[0], strict=True)) for one in held[1:]]


@contextmanager
def _looking(probe: Probe, look: Callable[[Entries], None]) -> Iterator[Probe]:
    """Return a copy of the probe that calls *look* on its entries before it computes."""

    class Looking(type(probe)):  # type: ignore[misc]
        """The probe, with a look at its entries."""

        def compute(self, entries: Entries) -> ProbeResult:
            look(entries)
            return super().compute(entries)

    looking = copy.copy(probe)
    looking.__class__ = Looking
    yield looking


def _edits_act(bench: Bench) -> None:
    """Each edit of the probe changes some number that it captures."""
    idle: list[str] = []

    def look(entries: Entries) -> None:
        changed = dict.fromkeys((edit for _, _, edit in entries.edited), False)
        for capture, prompt, edit in entries.edited:
            pairs = zip(entries.written(capture, prompt, edit), entries.unedited(capture, prompt), strict=True)
            changed[edit] |= any(not np.array_equal(a["values"], b["values"]) for a, b in pairs)
        idle.extend(edit for edit, acted in changed.items() if not acted)

    with _looking(bench.probe, look) as probe:
        bench.run(probe=probe)
    if idle:
        raise CheckFailed(
            f"the edit {idle[0]!r} changes nothing that the probe captures: it returns its input unchanged"
        )


def _same_hooks(bench: Bench, before: dict[str, Any], when: str) -> None:
    if seen := changes({"hooks": before}, {"hooks": hooks_of(bench.model)}):
        raise CheckFailed(f"a hook is still attached {when}: {seen['hooks']}")


def _sites(bench: Bench) -> list[str]:
    ready: Probe = bench.probe.ready(bench.model, bench.task, bench.prompts)
    sites = {capture.site for capture in ready.captures().values()}
    sites = {"unembed.hook_in" if site == OUTPUT else site for site in sites}
    return [name for site in sorted(sites) for name in bench.model.site(site)]


def _noise(x: Tensor, hook: object) -> Tensor:
    """Multiply by numbers around 1; what sums to 1 over the last dimension is renormalised."""
    generator = torch.Generator().manual_seed(x.shape[-1])
    factor = torch.rand(x.shape[-1], generator=generator, dtype=torch.float32) + 0.5
    new = x * factor.to(x)
    sums = x.sum(dim=-1, keepdim=True)
    if bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3)) and bool((x >= 0).all()):
        new = new / new.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return new


NOTHING = probe_function("hook_resid_post", name="nothing")(lambda x, view: x[:, 0, 0])
"""A probe that keeps a number and does nothing else."""


CHECKS: dict[str, Callable[[Bench], None]] = {
    "labelled result": labelled,
    "no hook left after bad input": bad_input,
    "no hook left after an exception": exception,
    "unchanged after an exception": unchanged_after_exception,
    "batch size": batch_size,
    "padding": padding,
    "padding side": padding_side,
    "order of inputs": order,
    "deterministic": deterministic,
    "result saves and loads": saves,
    "served from the store": stored,
    "edits act": acts,
    "memory flat in inputs": memory,
}
"""Name -> check, in the order in which they run."""

STATE_CHECKS: dict[str, str] = {
    "no hook left after success": "hooks",
    "model unchanged": "model",
    "tokenizer unchanged": "tokenizer",
    "random numbers unchanged": "random numbers",
    "global settings unchanged": "global settings",
    "prompts unchanged": "prompts",
}
"""Name -> part of the state that one successful run must not change."""
