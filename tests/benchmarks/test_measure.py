"""A ratio counts only beside equality, and work is counted as it is done."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from benchmarks.equality import Outcome, difference, within
from benchmarks.flops import CountLinearFlops, LinearWeights, Work, padded_rows, text_rows
from benchmarks.measure import measure
from benchmarks.report import case_table, verdict
from benchmarks.results import CaseResult, Results
from benchmarks.timing import cpu_clock
from benchmarks.workload import Variant, Workload
from promptscope.engine.linears import prepacked
from tests.tiny_models import bare

WORK, LIMITS = Work(tokens=10, padded_tokens=20, flops=2e9), {"loss": 1e-3}


def measured(ours: list[float], theirs: float = 1.0, truth: float | None = None) -> CaseResult:
    """Measure a variant that comes to *ours*, run by run, beside a baseline that comes to *theirs*."""
    left = iter(ours)
    variants = (
        Variant("baseline", lambda: {"loss": torch.tensor(theirs)}, WORK),
        Variant("ours", lambda: {"loss": torch.tensor(next(left))}, WORK, against="baseline"),
    )
    truths: Mapping[str, Outcome] = {} if truth is None else {"baseline": {"loss": torch.tensor(truth)}}
    rounds = len(ours) - 1  # and one to warm up
    clock = lambda run: (cpu_clock(run)[0], 0.5)  # noqa: E731
    return measure("case", {}, Workload(variants, LIMITS, truths), rounds, clock, "cpu", peak_gflops=8.0)


def results(case: CaseResult) -> Results:
    return Results("today", 1, {}, {}, {}, cases=[case])


def test_equal_variants_pass() -> None:
    case = measured([1.0, 1.0005, 1.0])
    baseline, ours = case.measurements
    assert baseline.ratio is None and baseline.differences == {}
    assert ours.ratio is not None and ours.ratio.median == 1.0
    assert ours.differences["loss"] == pytest.approx(5e-4, rel=1e-3)  # the largest of the rounds
    assert not ours.failed and "FAILED" not in case_table(case)
    assert results(case).failures == []


@pytest.mark.parametrize("outcomes", [[1.1, 1.0, 1.0], [1.0, 1.0, 1.1], [1.0, float("nan"), 1.0]])
def test_one_unequal_round_fails_the_ratio(outcomes: list[float]) -> None:
    case = measured(outcomes)
    assert case.measurements[1].failed and "**FAILED**" in case_table(case)
    assert results(case).failures == ["case: ours"]
    assert verdict(results(case)).startswith("FAILED")


def test_a_truth_takes_the_place_of_a_wrong_baseline() -> None:
    baseline, ours = measured([2.0, 2.0], theirs=1.0, truth=2.0).measurements
    assert baseline.differences == {"loss": 0.5} and not baseline.failed  # shown, not judged
    assert ours.differences == {"loss": 0.0} and not ours.failed
    assert measured([1.0, 1.0], theirs=1.0, truth=2.0).measurements[1].failed


def test_share_of_peak_is_needed_work_over_what_the_machine_could_do() -> None:
    assert measured([1.0, 1.0]).measurements[0].share_of_peak == pytest.approx(2 / (0.5 * 8.0))


def test_an_outcome_that_lacks_an_entry_fails() -> None:
    variants = (
        Variant("baseline", lambda: {"loss": torch.ones(())}, WORK),
        Variant("ours", lambda: {}, WORK, against="baseline"),
    )
    case = measure("case", {}, Workload(variants, LIMITS), 1, cpu_clock, "cpu", 1.0)
    assert case.measurements[1].failed
    assert not within({}, LIMITS) and not within({"gradient": 0.0}, LIMITS)


def test_differences() -> None:
    assert difference(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert difference(torch.tensor([1.0]), torch.tensor([1.0, 2.0])) == float("inf")
    assert difference(torch.tensor([1, 5]), torch.tensor([1, 2])) == 0.5


@pytest.mark.parametrize("layer", [nn.Linear(8, 24), nn.Linear(8, 24, bias=False), Conv1D(24, 8)])
@pytest.mark.parametrize("packed", [False, True])
def test_counts_the_products_of_a_frozen_layer_both_ways(layer: nn.Module, packed: bool) -> None:
    layer.requires_grad_(False)
    x = torch.randn(2, 5, 8, requires_grad=True)

    def step() -> None:
        layer(x).sum().backward()

    with CountLinearFlops() as counted:
        if packed:
            with prepacked(layer):
                step()
        else:
            step()
    assert counted.total == 2 * (2 * 10 * 8 * 24)


def test_needed_flops_are_those_of_the_plain_model_without_padding() -> None:
    model, ids = bare("gpt2"), torch.arange(14).view(2, 7)
    with CountLinearFlops() as counted, torch.no_grad():
        model(ids)
    assert counted.total == LinearWeights.of(model).flops(text_rows=14, logit_rows=14, training=False)


def test_needed_flops_of_an_encoder_decoder() -> None:
    model, ids = bare("t5"), torch.arange(14).view(2, 7)
    with CountLinearFlops() as counted, torch.no_grad():
        model(input_ids=ids, decoder_input_ids=ids[:, :3], use_cache=False)
    assert counted.total == LinearWeights.of(model).flops(14, 6, decoder_rows=6, training=False)


def test_rows() -> None:
    batches = [[3, 5], [2, 2]]
    assert text_rows(batches, k=4, causal=True) == 12 + 4
    assert text_rows(batches, k=4, causal=False) == 12 + 4 * 4
    assert padded_rows(batches, k=4) == 2 * (4 + 5) + 2 * (4 + 2)
