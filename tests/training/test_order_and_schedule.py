"""The two pure functions that make a run resumable: order of records and learning rate."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.training.order import batch_indices, batches_per_epoch
from promptscope.training.schedule import learning_rate_factor

SCHEDULES = ("constant", "linear", "cosine")
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=seeds, epoch=st.integers(0, 1000))
def test_every_epoch_holds_every_record_once(n: int, size: int, seed: int, epoch: int) -> None:
    count = batches_per_epoch(n, size)
    numbers = range(epoch * count, (epoch + 1) * count)
    parts = [batch_indices(n, size, seed, number) for number in numbers]
    assert sorted(i for part in parts for i in part) == list(range(n))
    assert all(len(part) == size for part in parts[:-1])
    # Whatever was asked or drawn before does not matter.
    torch.manual_seed(1)
    assert [batch_indices(n, size, seed, number) for number in reversed(numbers)] == parts[::-1]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(batch_indices(50, 50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@settings(max_examples=100, deadline=None)
@given(total=st.integers(1, 500), warmup=st.integers(0, 500), schedule=st.sampled_from(SCHEDULES), data=st.data())
def test_factor_stays_in_range_and_meets_the_warm_up(
    total: int, warmup: int, schedule: str, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total - 1))
    assert 0 < learning_rate_factor(step, total, warmup, schedule) <= 1
    if 0 < warmup < total:  # the peak is reached at the end of the warm-up, and not left by a jump
        assert learning_rate_factor(warmup - 1, total, warmup, schedule) == 1
        assert learning_rate_factor(warmup, total, warmup, schedule) == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 10])
def test_factor_is_that_of_transformers_after_the_warm_up(schedule: str, warmup: int) -> None:
    total, optimizer = 40, torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = {} if schedule == "constant" else {"num_training_steps": total}
    make = getattr(transformers, f"get_{schedule}_schedule_with_warmup")
    theirs = make(optimizer, num_warmup_steps=warmup, **arguments).lr_lambdas[0]
    for step in range(warmup, total):
        assert learning_rate_factor(step, total, warmup, schedule) == pytest.approx(theirs(step), rel=1e-12)
    for step in range(warmup):  # ours is one step ahead, so that the first step learns
        assert learning_rate_factor(step, total, warmup, schedule) == pytest.approx(theirs(step + 1), rel=1e-12)
