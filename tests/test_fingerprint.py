"""The hash that notices edits: no edit of a weight goes unseen, on the CPU's way and the GPU's."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from promptscope.files import _hash_on_device, fingerprint


def on_device(tensor: torch.Tensor) -> str:
    """The GPU's way, run on the CPU."""
    return str(_hash_on_device(tensor.detach().contiguous().reshape(-1)))


WAYS = pytest.mark.parametrize("hashed", [fingerprint, on_device])
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8])


@WAYS
@DTYPES
@hypothesis.given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 9), columns=st.integers(1, 9))
@hypothesis.settings(deadline=None, max_examples=20, suppress_health_check=[hypothesis.HealthCheck.too_slow])
def test_every_rearrangement_is_seen(hashed, dtype: torch.dtype, seed: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(1, 100, (rows, columns), generator=generator).to(dtype)
    edits = {
        "rows permuted": weight.roll(1, 0),
        "two signs": torch.cat([-weight[:2], weight[2:]]),
        "all signs": -weight,
        "zero": torch.zeros_like(weight),
        "constant": torch.ones_like(weight),
        "one number": torch.cat([weight[:1] + 1, weight[1:]]),
        "sorted": weight.flatten().sort().values.reshape(weight.shape),
    }
    assert hashed(weight.clone()) == hashed(weight)
    for name, edited in edits.items():
        assert (hashed(edited) == hashed(weight)) == torch.equal(edited, weight), name


@WAYS
def test_zero_and_constants_differ(hashed) -> None:
    assert len({hashed(torch.full((64, 64), value)) for value in (0.0, -0.0, 1.0, -1.0, 2.0)}) == 5


@pytest.mark.parametrize("size", [0, 1, 3, 2**12 + 1])
@DTYPES
def test_any_size(size: int, dtype: torch.dtype) -> None:
    tensor = torch.ones(size, dtype=dtype)
    assert on_device(tensor) == on_device(tensor.clone())
    assert fingerprint(tensor) == fingerprint(tensor.clone())
    if size:
        tensor[-1] = 3
        assert on_device(tensor) != on_device(torch.ones(size, dtype=dtype))


def test_long_tensors_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptscope.files._HASHED_AT_ONCE", 8)
    tensor = torch.arange(100.0)
    swapped = torch.cat([tensor[8:16], tensor[:8], tensor[16:]])  # two whole parts
    assert on_device(tensor) != on_device(swapped)


def test_shape_and_type_count() -> None:
    tensor = torch.arange(6, dtype=torch.float32)
    prints = [fingerprint(x) for x in (tensor, tensor.reshape(2, 3), tensor.reshape(3, 2), tensor.view(torch.int32))]
    assert len(set(prints)) == 4
