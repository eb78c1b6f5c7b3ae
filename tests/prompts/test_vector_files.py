"""Embeddings in a file of PyTorch: one that is damaged is no prompt."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import promptscope as ps
from tests.old_safetensors import save_or_skip
from tests.tiny_models import hooked


@pytest.fixture
def written(tmp_path: Path) -> Path:
    torch.save(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), tmp_path / "prompt.pt")
    return tmp_path / "prompt.pt"


def test_whole_files_of_both_formats(written: Path, tmp_path: Path) -> None:
    assert ps.load_prompt(written).length == 4
    torch.save(torch.ones(3, 8), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert ps.load_prompt(tmp_path / "old.pt").length == 3


MATRIX = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
FILES: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "nan": (lambda: MATRIX * torch.nan, "finite|NaN"),
    "infinite in float32": (lambda: MATRIX.double() * 1e300, "finite numbers"),
    "int64": (lambda: MATRIX.long(), "one matrix of numbers"),
    "bfloat16 as uint16": (lambda: MATRIX.bfloat16().view(torch.uint16), "one matrix of numbers"),
    "bool": (lambda: MATRIX > 0, "one matrix of numbers"),
    "complex": (lambda: MATRIX.to(torch.complex64), "one matrix of numbers"),
    "NaN in 8 bits": (lambda: (MATRIX * torch.nan).to(torch.float8_e4m3fn), "finite|NaN"),
    "no rows": (lambda: MATRIX[:0], "at least one row"),
    "one vector": (lambda: MATRIX[0], "one matrix of numbers"),
    "another width": (lambda: MATRIX[:, :31].contiguous(), "31"),
    "longer than the context": (lambda: MATRIX.repeat(100, 1), "300 prompt positions"),
    "sparse": (lambda: MATRIX.to_sparse(), "sparse_coo tensor"),
    "rows of a sparse matrix": (lambda: MATRIX.to_sparse_csr(), "sparse_csr tensor"),
    "without numbers": (lambda: MATRIX.to("meta"), "meta tensor"),
}


PYTORCH_ALONE = ("NaN in 8 bits", "sparse", "rows of a sparse matrix", "without numbers")
"""Matrices that NumPy's files cannot hold; safetensors holds the first."""


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize(
    ("what", "suffix"),
    [(what, ".pt") for what in FILES]
    + [(what, ".safetensors") for what in FILES if what not in PYTORCH_ALONE[1:]]
    + [(what, ".npy") for what in FILES if what not in PYTORCH_ALONE],
)
def test_matrices_that_are_no_prompt(what: str, suffix: str, tmp_path: Path) -> None:
    make, message = FILES[what]
    matrix = make()
    path = tmp_path / f"prompt{suffix}"
    if suffix == ".pt":
        torch.save(matrix, path)
    elif suffix == ".safetensors":
        save_or_skip({"prompt": matrix}, path)
    else:
        np.save(path, matrix.numpy())
    with pytest.raises(ps.PromptError, match=message):
        ps.load_prompt(path, hooked("gpt2"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_floats_of_any_size_are_read_with_their_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    matrix = MATRIX.to(dtype)
    torch.save(matrix, tmp_path / "prompt.pt")
    save_file({"prompt": matrix}, tmp_path / "prompt.safetensors")
    for name in ("prompt.pt", "prompt.safetensors"):
        vectors = ps.load_prompt(tmp_path / name, hooked("gpt2")).place(hooked("gpt2")).vectors
        torch.testing.assert_close(vectors, matrix.float(), rtol=0, atol=0)


def test_a_placement_longer_than_the_context() -> None:
    with pytest.raises(ps.PromptError, match="300 prompt positions"):
        hooked("gpt2").logits(torch.tensor([[5, 6]]), prompt=ps.Placement(300, MATRIX.repeat(100, 1)))


def test_any_bit_of_a_file(written: Path) -> None:
    right, content = ps.load_prompt(written).content_hash(), written.read_bytes()
    refused = 0
    for place in range(0, len(content), 7):
        written.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            assert ps.load_prompt(written).content_hash() == right  # padding, dates and the like decide nothing
        except ps.PromptError as error:
            assert "cannot be read" in str(error) or "must hold" in str(error)
            refused += 1
    assert refused > 50


def test_any_end_of_a_file(written: Path) -> None:
    content = written.read_bytes()
    for length in range(0, len(content), 50):
        written.write_bytes(content[:length])
        with pytest.raises(ps.PromptError, match="cannot be read"):
            ps.load_prompt(written)
