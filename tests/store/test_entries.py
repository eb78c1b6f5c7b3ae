"""What is written is read back without its padding; what is damaged is refused by name."""

import json

import numpy as np
import pytest
import torch

from promptscope.errors import StoreError
from promptscope.files import content_hash
from promptscope.store import ActivationStore
from tests.probe_inputs import Residual, TokenNorms

MODEL = {"weights_hash": "w"}


def fill(entry, seed=0):
    """Write random ragged shards; return what was written, per example: (layer, n) values."""
    generator = torch.Generator().manual_seed(seed)
    written = []
    entry.lock()
    for shard in range(entry.n_shards):
        lengths = torch.tensor([3 + i % 4 for i in entry.examples_of(shard)])
        n = int(lengths.max())
        values = torch.randn(len(lengths), 2, n, generator=generator)  # (X, layer, n)
        special = torch.arange(n) >= lengths[:, None] - 1  # the last real token, and padding
        entry.write(shard, values, lengths, special, (0, 1))
        written += [value[:, :length].numpy() for value, length in zip(values, lengths, strict=True)]
    entry.unlock()
    return written


def ragged_entry(folder, n_examples=7):
    return ActivationStore(folder, shard_size=3).entry(TokenNorms(), MODEL, "p", "d", n_examples)


def test_ragged_shards_come_back_in_order_with_their_lengths(tmp_path):
    entry = ragged_entry(tmp_path)
    assert not entry.complete
    written = fill(entry)
    parts = list(ragged_entry(tmp_path).read())
    assert [len(part["lengths"]) for part in parts] == [3, 3, 1]
    read = [
        (value[:, :length], special[:length])
        for part in parts
        for value, length, special in zip(part["values"], part["lengths"], part["special"], strict=True)
    ]
    assert len(read) == len(written) == 7
    for (value, special), truth in zip(read, written, strict=True):
        np.testing.assert_array_equal(value, truth)
        assert special.tolist() == [False] * (len(special) - 1) + [True]
    padding = np.arange(parts[0]["special"].shape[1]) >= parts[0]["lengths"][:, None]
    assert parts[0]["special"][padding].all() and (parts[0]["values"].swapaxes(1, 2)[padding] == 0).all()


def test_padding_is_not_stored(tmp_path):
    long, short = torch.tensor([1000]), torch.tensor([1000] + [2] * 9)
    sizes = []
    for name, lengths in [("one", long), ("ten", short)]:
        entry = ActivationStore(tmp_path / name).entry(TokenNorms(), MODEL, "p", "d", len(lengths))
        entry.lock()
        entry.write(0, torch.zeros(len(lengths), 2, 1000), lengths, torch.ones(len(lengths), 1000).bool(), (0, 1))
        entry.unlock()
        sizes.append((entry.folder / "shard-00000.safetensors").stat().st_size)
    assert sizes[1] - sizes[0] < 500


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_shard_is_refused_by_name(tmp_path, damage):
    fill(ragged_entry(tmp_path))
    (path,) = tmp_path.glob("*/shard-00001.safetensors")
    content = path.read_bytes()
    broken = {"truncate": content[:-5], "flip": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[damage]
    path.write_bytes(broken)
    parts = ragged_entry(tmp_path).read()
    next(parts)  # the first shard is whole
    with pytest.raises(StoreError, match=r"shard-00001\.safetensors.*truncated or changed.*[Dd]elete this file"):
        next(parts)


def test_a_deleted_shard_is_missing_and_nothing_else(tmp_path):
    fill(ragged_entry(tmp_path))
    (path,) = tmp_path.glob("*/shard-00001.safetensors")
    path.unlink()
    entry = ragged_entry(tmp_path)
    assert [shard in entry for shard in range(3)] == [True, False, True]
    assert not entry.complete
    with pytest.raises(StoreError, match="2 of 3 shards"):
        next(entry.read())


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_index_is_refused_by_name(tmp_path, content):
    fill(ragged_entry(tmp_path))
    (path,) = tmp_path.glob("*/index.json")
    path.write_text(content)
    with pytest.raises(StoreError, match=r"index\.json"):
        ragged_entry(tmp_path)


def test_an_index_of_another_key_is_refused(tmp_path):
    fill(ragged_entry(tmp_path))
    (path,) = tmp_path.glob("*/index.json")
    index = json.loads(path.read_text())
    del index["checksum"]
    index["key"]["prompt"] = "another"
    path.write_text(json.dumps({**index, "checksum": content_hash(index)}))
    with pytest.raises(StoreError, match=r"another key in index\.json than its name says"):
        ragged_entry(tmp_path)


def test_every_part_of_the_key_counts(tmp_path):
    store = ActivationStore(tmp_path)
    entries = [
        store.entry(TokenNorms(), MODEL, "p", "d", 7),
        store.entry(TokenNorms(), {"weights_hash": "other"}, "p", "d", 7),
        store.entry(TokenNorms(), MODEL, "q", "d", 7),
        store.entry(TokenNorms(), MODEL, None, "d", 7),
        store.entry(TokenNorms(), MODEL, None, "d", 7, positions=4),
        store.entry(TokenNorms(), MODEL, "p", "e", 7),
        store.entry(TokenNorms(site="hook_resid_pre"), MODEL, "p", "d", 7),
        store.entry(Residual(), MODEL, "p", "d", 7),
        ActivationStore(tmp_path, shard_size=3).entry(TokenNorms(), MODEL, "p", "d", 7),
    ]
    assert len({entry.folder for entry in entries}) == len(entries)
    assert store.entry(TokenNorms(), MODEL, "p", "d", 7).folder == entries[0].folder


def test_writing_needs_the_lock_and_a_second_writer_waits(tmp_path):
    entry, other = ragged_entry(tmp_path), ragged_entry(tmp_path)
    with pytest.raises(StoreError, match="locked"):
        entry.write(0, torch.zeros(3, 2, 3), torch.tensor([3, 3, 3]), torch.zeros(3, 3).bool(), (0, 1))
    entry.lock()
    with pytest.raises(TimeoutError, match="another process"):
        other.lock(timeout=0.05)
    entry.unlock()
    fill(entry)
    other.lock(timeout=0.05)
    assert other.complete  # it sees what the first one wrote
    other.unlock()


def test_leftovers_of_a_killed_writer_are_swept_away(tmp_path):
    entry = ragged_entry(tmp_path)
    entry.folder.mkdir()
    (entry.folder / ".shard-00000.safetensors.abc.tmp").write_bytes(b"half")
    fill(entry)
    assert sorted(path.name for path in entry.folder.iterdir() if path.suffix == ".tmp") == []


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        ActivationStore(tmp_path / "store")


def test_entries_lists_what_is_there(tmp_path):
    fill(ragged_entry(tmp_path))
    store = ActivationStore(tmp_path)
    (row,) = store.entries().to_dict("records")
    assert (row["capture"], row["site"], row["n_examples"], row["complete"]) == (
        "TokenNorms",
        "hook_resid_post",
        7,
        True,
    )
    assert row["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors"))
    assert "1 entries" in repr(store)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoreError])
def test_who_is_interrupted_while_it_takes_a_lock_leaves_none(tmp_path, monkeypatch, error):
    """The traceback, which a notebook keeps, holds the entry."""
    entry, other = ragged_entry(tmp_path), ragged_entry(tmp_path)

    def interrupted(self):
        raise error

    store = ActivationStore(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(error) as kept:
        patch.setattr(type(entry), "refresh", interrupted)
        with store.writing([entry]):
            pass
    other.lock(timeout=0.0)
    other.unlock()
    assert kept.value.__traceback__ is not None
