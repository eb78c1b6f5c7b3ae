"""Hashes of tensors against hashlib, whatever the size of the parts they are read in."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from promptscope import files
from promptscope.errors import NoChecksumWarning
from promptscope.files import read_sealed, tensor_hash, write_sealed


@pytest.mark.parametrize("at_once", [1, 5, 2**22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_is_hashed_in_parts_as_one(at_once: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_HASHED_AT_ONCE", at_once)
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(dtype).t()  # not contiguous
    for wanted in (None, torch.float32):
        whole = tensor.contiguous().to(wanted or dtype)
        expected = hashlib.sha256(f"{whole.dtype}(4, 3)".encode() + whole.view(torch.uint8).numpy().tobytes())
        assert tensor_hash(tensor, wanted) == expected.hexdigest()
    assert tensor_hash(tensor) != tensor_hash(tensor + 1)
    assert tensor_hash(torch.tensor(2.0)) != tensor_hash(torch.tensor([2.0]))


@pytest.mark.parametrize(
    "tensor", [torch.arange(6.0)[::2], torch.randn(4, 3)[:, :1], torch.ones(1).expand(5), torch.zeros(0, 3)]
)
def test_what_lies_in_memory_in_steps_is_hashed_by_its_numbers(tensor: torch.Tensor) -> None:
    assert tensor_hash(tensor) == tensor_hash(tensor.clone(memory_format=torch.contiguous_format))


def test_a_description_without_a_checksum_says_so(tmp_path: Path) -> None:
    path = tmp_path / "prompt.json"
    write_sealed(path, {"length": 3})
    assert read_sealed(path) == {"length": 3}
    path.write_text(json.dumps({"length": 4}))  # taken out with what was changed
    with pytest.warns(NoChecksumWarning, match=r"prompt\.json' has no checksum"):
        assert read_sealed(path) == {"length": 4}
