"""Embeddings in a file of PyTorch: one that is damaged is no prompt."""

from pathlib import Path

import pytest
import torch

import promptscope as ps


@pytest.fixture
def written(tmp_path: Path) -> Path:
    torch.save(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), tmp_path / "prompt.pt")
    return tmp_path / "prompt.pt"


def test_whole_files_of_both_formats(written: Path, tmp_path: Path) -> None:
    assert ps.load_prompt(written).length == 4
    torch.save(torch.ones(3, 8), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert ps.load_prompt(tmp_path / "old.pt").length == 3


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
