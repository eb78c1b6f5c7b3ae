"""An index that is not what was written answers for nothing; a store that cannot be written to says so."""

import json

import pytest

import promptscope as ps


@pytest.fixture(scope="module")
def model():
    return ps.load_model("embedded-causal")


def run(model, store):
    return ps.probe(model, ps.SoftPrompt(2), ps.load_task("continent_en"), "attention_mass", store=store, limit=2)


@pytest.mark.parametrize(
    "edit",
    [
        lambda index: index.update(layers=index["layers"][::-1]),
        lambda index: index.update(n_examples=1),
        lambda index: index.update(complete=False),
        lambda index: index.pop("checksum"),
        lambda index: index["shards"].clear(),
        lambda index: index.update({"more": "\ud800"}),
    ],
)
def test_an_altered_index_is_refused(model, tmp_path, edit) -> None:
    run(model, tmp_path)
    for path in tmp_path.glob("*/index.json"):
        index = json.loads(path.read_text())
        edit(index)
        path.write_text(json.dumps(index))
    with pytest.raises(ps.StoreError, match=r"index.json is damaged .*checksum"):
        run(model, tmp_path)
    with pytest.raises(ps.StoreError, match="is damaged"):
        ps.ActivationStore(tmp_path).entries()
    assert "is damaged" in repr(ps.ActivationStore(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"format": 2}', "[" * 100_000, "\xff"])
def test_what_is_no_index(tmp_path, content) -> None:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "index.json").write_bytes(content.encode("latin-1"))
    assert "is damaged" in repr(ps.ActivationStore(tmp_path))


def test_a_place_that_cannot_be_written_to(model, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ps.StoreError, match=r"cannot write into the activation store .* name a store folder"):
        run(model, tmp_path / "file" / "store")
