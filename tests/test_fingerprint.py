"""The hash that notices edits: whatever changes a number or its place changes it, on the CPU and as a GPU does it."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptscope import files
from promptscope.files import fingerprint, hash_on_device


def on_device(tensor: Tensor) -> object:
    return hash_on_device(tensor.contiguous().reshape(-1).view(torch.uint8))


HASHES = [fingerprint, on_device]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8]


def numbers(seed: int, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x * 50 if dtype == torch.int8 else x).to(dtype)


@pytest.mark.parametrize("hash_of", HASHES)
@given(
    st.integers(0, 10_000),
    st.integers(2, 9),
    st.integers(1, 9),
    st.sampled_from(DTYPES),
    st.sampled_from(
        [
            lambda x: x.flip(0),
            lambda x: x[torch.randperm(len(x))],
            lambda x: -x,
            lambda x: x * torch.tensor([-1] * 2 + [1] * (len(x) - 2))[:, None].to(x.dtype),  # two rows' signs
            lambda x: torch.zeros_like(x),
            lambda x: torch.ones_like(x),
            lambda x: x * 3,
            lambda x: torch.roll(x.reshape(-1), 1).view_as(x),
            lambda x: x.index_fill(0, torch.tensor([1]), 0),
        ]
    ),
)
@settings(deadline=None, max_examples=300)
def test_two_tensors_hash_alike_exactly_if_they_are_alike(
    hash_of: Callable[[Tensor], object],
    seed: int,
    rows: int,
    columns: int,
    dtype: torch.dtype,
    edit: Callable[[Tensor], Tensor],
) -> None:
    x = numbers(seed, rows, columns, dtype)
    y = edit(x).contiguous()
    same_bytes = torch.equal(x.view(torch.uint8), y.view(torch.uint8))
    assert (hash_of(x) == hash_of(y)) == same_bytes
    assert hash_of(x.clone()) == hash_of(x)


@pytest.mark.parametrize("hash_of", HASHES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_single_bit_counts(hash_of: Callable[[Tensor], object], dtype: torch.dtype) -> None:
    x = torch.zeros(3, 5, dtype=dtype)
    seen = {str(hash_of(x))}
    for byte in range(x.numel() * x.element_size()):
        for bit in range(8):
            y = x.clone()
            y.view(-1).view(torch.uint8)[byte] ^= 1 << bit
            seen.add(str(hash_of(y)))
    assert len(seen) == 1 + 8 * x.numel() * x.element_size()


def test_numbers_moved_between_blocks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 4)
    files._multipliers.cache_clear()
    try:
        x = torch.arange(40, dtype=torch.int16)
        swapped = x.clone()
        swapped[:4], swapped[4:8] = x[4:8], x[:4]
        assert on_device(x) != on_device(swapped)
        assert on_device(x) == on_device(x.clone())
    finally:
        files._multipliers.cache_clear()


def test_shape_and_type_count_and_steps_in_memory_do_not() -> None:
    x = torch.arange(12.0)
    assert fingerprint(x) != fingerprint(x.view(3, 4)) != fingerprint(x.view(4, 3))
    assert fingerprint(torch.zeros(2, dtype=torch.float16)) != fingerprint(torch.zeros(2, dtype=torch.bfloat16))
    assert fingerprint(x.view(3, 4).t()) == fingerprint(x.view(3, 4).t().contiguous())
    assert fingerprint(torch.zeros(0, 3)) != fingerprint(torch.zeros(0, 2))
    assert fingerprint(torch.tensor(True)) != fingerprint(torch.tensor(False))
