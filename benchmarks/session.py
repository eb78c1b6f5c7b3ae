"""Measures a list of cases; results are written after every case, so that a stopped session keeps those it has."""

import datetime
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch

from benchmarks.hardware import describe, gemm_gflops, versions
from benchmarks.measure import measure
from benchmarks.memory import process_peak_mb
from benchmarks.models import Models
from benchmarks.proofs import proofs
from benchmarks.results import CaseResult, Proof, Results
from benchmarks.timing import clock_for
from benchmarks.workload import Case

_NO_WEIGHTS = (subprocess.CalledProcessError, subprocess.TimeoutExpired)
"""What fetching a model raises where there is no network."""

Tell = Callable[[Results, Proof | CaseResult], None]


def run_session(
    cases: Sequence[Case],
    rounds: int,
    device: str,
    proof_model: str | None,
    tell: Tell,
    budget: float | None = None,
) -> Results:
    """Measure *cases*; *proof_model* is the model of the equality proofs, None for no proofs.

    *tell* is called with the results so far and what is new in them. *budget*: minutes in all; a case is listed as
    not run if the longest case so far would not fit into the minutes that are left.
    """
    begun, longest = time.monotonic(), 0.0
    models = Models(device)
    results = Results(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rounds=rounds,
        hardware=describe(device),
        versions=versions(),
        gemm_gflops=gemm_gflops(device),
    )
    try:
        for proof in proofs(models, proof_model) if proof_model is not None else ():
            results.proofs.append(proof)
            tell(results, proof)
    except _NO_WEIGHTS as error:
        results.cases.append(CaseResult("proofs", {}, not_run=f"{type(error).__name__}: {error}"))
    for case in cases:
        started = time.monotonic()
        if budget is not None and started - begun + longest > 60 * budget:
            done = CaseResult(case.name, asdict(case), not_run=f"the budget of {budget:g} minutes")  # type: ignore[call-overload]
        else:
            done = _run(results, case, models)
        longest = max(longest, time.monotonic() - started)
        results.cases.append(done)
        tell(results, done)
    results.hardware["process_peak_mb"] = process_peak_mb()
    return results


def _run(results: Results, case: Case, models: Models) -> CaseResult:
    settings = asdict(case)  # type: ignore[call-overload]
    peak_gflops, device = max(results.gemm_gflops.values()), models.device
    try:
        results.prepacking[case.model] = models.get(case.model).prepacking
        workload = case.workload(models)
        return measure(case.name, settings, workload, results.rounds, clock_for(device), device, peak_gflops)
    except _NO_WEIGHTS as error:
        return CaseResult(case.name, settings, not_run=f"{type(error).__name__}: {error}")
    except Exception as error:  # one failed case must not end a session of hours
        traceback.print_exc()
        return CaseResult(case.name, settings, not_run=f"{type(error).__name__}: {error}", failed=True)


def pin(device: str) -> None:
    """Fix what would make figures vary between sessions: one thread, and float32 products in full precision."""
    torch.set_float32_matmul_precision("highest")
    if not device.startswith("cuda"):
        torch.set_num_threads(1)
