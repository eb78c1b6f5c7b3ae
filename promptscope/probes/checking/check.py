"""`ps.check_probe`: does a probe fulfil the requirements for all probes?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Probe
from promptscope.probes.checking.bench import make_bench
from promptscope.probes.checking.checks import CHECKS, NOTHING, STATE_CHECKS, CheckFailed, state
from promptscope.probes.checking.state import restored
from promptscope.probes.registry import get_probes
from promptscope.prompts import Prompt
from promptscope.tasks import Task


class ProbeCheckError(ProbeError):
    """A probe fails checks: `failed` maps their names to what was observed; `passed` has the names of the others.

    >>> error = ProbeCheckError("mine", {"batch size": "differs by 0.3"}, passed=("deterministic",))
    >>> print(error)
    the probe 'mine' fails 1 of 2 checks
    - batch size: differs by 0.3
    """

    def __init__(self, probe: str, failed: Mapping[str, str], passed: tuple[str, ...]) -> None:
        lines = [f"- {name}: {seen}" for name, seen in failed.items()]
        super().__init__(
            f"the probe {probe!r} fails {len(failed)} of {len(failed) + len(passed)} checks\n" + "\n".join(lines)
        )
        self.failed = dict(failed)
        self.passed = passed


@dataclass(frozen=True)
class CheckReport:
    """The names of the checks that a probe passed.

    >>> print(CheckReport("mine", passed=("deterministic", "batch size")))
    the probe 'mine' passes 2 checks: deterministic, batch size
    """

    probe: str
    passed: tuple[str, ...]

    def __str__(self) -> str:
        return f"the probe {self.probe!r} passes {len(self.passed)} checks: {', '.join(self.passed)}"


@checked()
def check_probe(
    probe: Probe | str,
    model: HookedModel | None = None,
    prompts: Mapping[str, Prompt] | None = None,
    task: Task | None = None,
    split: str = "test",
    only: Collection[str] = (),
) -> CheckReport:
    """Check that a probe fulfils the requirements for all probes; use it in tests of your own probes.

    It takes some seconds on the embedded model. The checks:

    - *labelled result*: it returns a `ProbeResult` with name, units and direction, and finite numbers;
    - *no hook left* after success, after inputs that the model cannot run, and after an exception in a forward pass;
      both errors are raised to the caller, the first as a `PromptscopeError`;
    - *model*, *tokenizer*, *prompts*, *random numbers* (torch, NumPy, Python) and *global settings* are unchanged,
      after a run and after an exception in a forward pass;
    - *batch size*, *padding*, *padding side* and *order of inputs* do not change a number by more than 1e-4 of the
      largest;
    - *deterministic*: two runs give the same numbers, whatever the global seeds;
    - *result saves and loads*: the loaded result is equal;
    - *served from the store*: a second run needs no forward pass and gives the same numbers;
    - *edits act*: noise at the hook points that it reads changes the result; its own writes change the loss, or what it
      captures;
    - *memory flat in inputs*: after the passes, and when the result is deleted, no memory is held that grows with the
      number of inputs.

    All checks are run even if some fail. What a check finds changed in the model is restored for the next one, except
    for weights. Only *padding* is left out if *batch size* fails, and all others if the probe does not run at all.

    Args:
        probe: the probe, or its name.
        model: a model with a tokenizer, whose weights may be changed by a faulty probe; by default the embedded causal
            model.
        prompts: name -> prompt; by default one random input-level and one random deep prompt.
        task, split: the inputs; by default `sentiment_en`.
        only: names of checks; by default all are run.

    Returns:
        A report with the names of the checks that were `passed`.

    Raises:
        ProbeCheckError: the probe fails; it names each check that failed, and what was observed.
        ProbeError: an unknown check, or a model, prompts or task that cannot be used.

    >>> report = check_probe("attention_mass", only=["labelled result", "batch size"])  # all of them, without `only`
    >>> report.passed[-1]
    'batch size'
    """
    (chosen,) = get_probes([probe])
    if unknown := sorted(set(only) - {"runs", *STATE_CHECKS, *CHECKS}):
        raise ProbeError(f"there is no check {unknown[0]!r}. There are: {', '.join([*STATE_CHECKS, *CHECKS])}")
    bench = make_bench(chosen, model, prompts, task, split)
    bench.run(probe=NOTHING)  # what is set up at the first run is not the probe's doing
    failed: dict[str, str] = {}
    passed: list[str] = []

    def run(name: str, check: Any) -> Any:
        try:
            with restored(bench.model):
                found = check(bench)
        except CheckFailed as failure:
            failed[name] = str(failure)
        except Exception as error:
            failed[name] = f"the probe raised {type(error).__name__}: {error}"
        else:
            passed.append(name)
            return found
        return None

    changed = run("runs", state)
    if changed is None:
        raise ProbeCheckError(chosen.name, failed, tuple(passed))
    for name, part in STATE_CHECKS.items():
        if only and name not in only:
            continue
        if part in changed:
            failed[name] = f"one run of the probe changed {part}: {changed[part]}"
        else:
            passed.append(name)
    for name, check in CHECKS.items():
        if (only and name not in only) or (name == "padding" and "batch size" in failed):
            continue
        run(name, check)
    if failed:
        raise ProbeCheckError(chosen.name, failed, tuple(passed))
    return CheckReport(chosen.name, tuple(passed))
