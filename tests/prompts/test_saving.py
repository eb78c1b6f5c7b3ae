"""Prompts on disk: what is written comes back, and what is damaged, foreign or another model's is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from promptscope.errors import PromptError
from promptscope.files import read_sealed, write_sealed, write_tensors
from promptscope.models import load_model
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, load_prompt
from tests.tiny_models import hooked, tiny_hf_model

KINDS: list[tuple[str, Any]] = [
    ("gpt2", lambda: SoftPrompt(3, seed=7)),
    ("bert", lambda: DeepPrompt(3, seed=7)),
    ("llama", lambda: DeepPrompt(3, tied=True, layers=[2, 0], seed=7)),
    ("t5", lambda: DeepPrompt(3, parts=["cross", "decoder"], seed=7)),
    ("t5", lambda: SoftPrompt(3, init="vocab:20", seed=7)),
]


@pytest.mark.parametrize(("family", "make"), KINDS)
def test_round_trip(family: str, make: Any, tmp_path: Path) -> None:
    model = hooked(family)
    prompt: Prompt = make().bind(model)
    prompt.provenance |= {"task": "sst2", "data_hash": "abc", "history": {"steps": 10, "best": 0.9}}
    prompt.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompt.json", "prompt.safetensors"]
    for loaded in (load_prompt(tmp_path), load_prompt(tmp_path, model)):
        assert type(loaded) is type(prompt) and loaded.settings() == prompt.settings()
        assert loaded.content_hash() == prompt.content_hash()
        names = ("embedding_hash", "model", "family", "revision", "seed", "init", "task", "data_hash", "history")
        assert {name: loaded.provenance[name] for name in names} == {name: prompt.provenance[name] for name in names}
        assert set(loaded.provenance["versions"]) == {"promptscope", "torch", "transformers", "transformer-lens"}
        ids = torch.tensor([[4, 5, 6]])
        assert torch.equal(model.logits(ids, prompt=loaded), model.logits(ids, prompt=prompt))
        assert all(number.requires_grad for number in loaded.parameters())


def test_saving_again_changes_nothing(tmp_path: Path) -> None:
    prompt = DeepPrompt(3).bind(hooked("gpt2"))
    prompt.save(tmp_path / "first")
    load_prompt(tmp_path / "first").save(tmp_path / "second")
    for name in ("prompt.json", "prompt.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_an_unbound_prompt_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"unbound.*bind\(model\)"):
        SoftPrompt(2).save(tmp_path / "prompt")
    assert not (tmp_path / "prompt").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("mine")
    with pytest.raises(PromptError, match=r"saved as a folder, and .* is a file"):
        SoftPrompt(2).bind(hooked("gpt2")).save(tmp_path / "prompt")
    assert (tmp_path / "prompt").read_text() == "mine"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    SoftPrompt(3).bind(hooked("gpt2")).save(tmp_path)
    return tmp_path


def test_another_models_embeddings(saved: Path) -> None:
    other, mine = hooked("gpt2", seed=1), hooked("gpt2")
    prompt = load_prompt(saved)
    for attempt in (lambda: prompt.bind(other), lambda: other.logits(torch.tensor([[1]]), prompt=prompt)):
        with pytest.raises(PromptError, match="strict=False") as error:
            attempt()
        assert mine.embedding_hash in str(error.value) and other.embedding_hash in str(error.value)
    with pytest.raises(PromptError, match="strict=False"):
        load_prompt(saved, other)
    for loose in (
        load_prompt(saved, other, strict=False),
        load_prompt(saved, strict=False),
        prompt.bind(other, strict=False),
    ):
        assert other.logits(torch.tensor([[1, 2]]), prompt=loose).isfinite().all()
    assert mine.embedding_hash == load_prompt(saved, other, strict=False).provenance["embedding_hash"]


def test_another_width_is_refused_even_without_strict(saved: Path) -> None:
    wide = load_model(tiny_hf_model("gpt2", d_model=64, layers=1))
    with pytest.raises(PromptError, match=r"32 dimensions.*64"):
        load_prompt(saved, wide, strict=False)


def test_another_depth_or_kind_is_refused_even_without_strict(tmp_path: Path) -> None:
    DeepPrompt(3).bind(hooked("gpt2")).save(tmp_path)
    with pytest.raises(PromptError, match=r"shape \(3, 3, 32\).*needs \(2, 3, 32\)"):
        load_prompt(tmp_path, load_model(tiny_hf_model("gpt2", layers=2)), strict=False)
    with pytest.raises(PromptError, match=r"needs \(3, 3, 16\)"):
        load_prompt(tmp_path, hooked("llama"), strict=False)
    with pytest.raises(PromptError, match=r"holds \['self_keys', 'self_values'\].*'encoder_keys'"):
        load_prompt(tmp_path, hooked("t5"), strict=False)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(
        PromptError, match=r"no prompt folder .*Check the path\. A prompt on the Hugging Face Hub is named 'user/name'"
    ):
        load_prompt(tmp_path / "nowhere")
    with pytest.raises(PromptError, match=r"neither prompt\.json .ours. nor adapter_config\.json .PEFT"):
        load_prompt(tmp_path)


def test_the_folder_of_a_run_says_where_its_prompt_is(tmp_path: Path) -> None:
    SoftPrompt(3).bind(hooked("gpt2")).save(tmp_path / "prompts" / "last")
    with pytest.raises(PromptError, match=r"it is a run, give '.*prompts.last' or use ps\.load_run"):
        load_prompt(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[1]", "does not describe a prompt of promptscope"),
        ('{"format": "other"}', "does not describe a prompt of promptscope"),
    ],
)
def test_damaged_or_foreign_json(text: str, message: str, saved: Path) -> None:
    (saved / "prompt.json").write_text(text)
    with pytest.raises(PromptError, match=rf"prompt\.json.*{message}"):
        load_prompt(saved)


def test_bytes_that_are_no_text(saved: Path) -> None:
    (saved / "prompt.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match=r"prompt\.json"):
        load_prompt(saved)


def edit(saved: Path, **changes: Any) -> None:
    """Write another description, as another program might: nothing is damaged."""
    write_sealed(saved / "prompt.json", read_sealed(saved / "prompt.json") | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "HardPrompt"}, "unknown type 'HardPrompt'"),
        ({"format": "promptscope.prompt.v9"}, r"expected format 'promptscope\.prompt\.v1'"),
        ({"settings": {"length": 4}}, "one tensor 'embedding' with 4 rows"),
        ({"settings": {"length": 3, "colour": "red"}}, "settings"),
        ({"settings": {}}, "settings|one tensor 'embedding'"),
        ({"sha256": "0" * 64}, "altered after it was saved"),
    ],
)
def test_json_that_does_not_fit_the_numbers(changes: dict[str, Any], message: str, saved: Path) -> None:
    edit(saved, **changes)
    with pytest.raises(PromptError, match=message):
        load_prompt(saved)


def test_a_changed_description(saved: Path) -> None:
    """Whatever it says: a length would show, a hash or a loss in the provenance would not."""
    text = (saved / "prompt.json").read_text()
    (saved / "prompt.json").write_text(text.replace('"embedding_hash": "', '"embedding_hash": "f'))
    with pytest.raises(PromptError, match=r"prompt\.json.*agree with its checksum"):
        load_prompt(saved)


def test_altered_numbers(saved: Path) -> None:
    file = saved / "prompt.safetensors"
    tensors = load_file(file)
    save_file({"embedding": tensors["embedding"] * 1.5}, file)
    with pytest.raises(PromptError, match=r"prompt\.safetensors.*altered after it was saved"):
        load_prompt(saved)


@pytest.mark.parametrize("keep", [0, 7, 60, -4])
def test_truncated_numbers(keep: int, saved: Path) -> None:
    file = saved / "prompt.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(PromptError, match=r"prompt\.safetensors.*missing or damaged"):
        load_prompt(saved)


def test_missing_numbers(saved: Path) -> None:
    (saved / "prompt.safetensors").unlink()
    with pytest.raises(PromptError, match=r"prompt\.safetensors.*missing or damaged"):
        load_prompt(saved)


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    prompt = SoftPrompt(3).bind(hooked("gpt2"))
    prompt.save(tmp_path)
    with torch.no_grad():
        prompt.embedding[1, 2] = float("nan")
    with pytest.raises(PromptError, match=r"1 of .* 'embedding' are NaN or infinite"):
        prompt.save(tmp_path)
    write_tensors(tmp_path / "prompt.safetensors", {"embedding": prompt.embedding})
    with pytest.raises(PromptError, match=r"embedding in .* NaN or infinite"):
        load_prompt(tmp_path)


def test_numbers_that_are_whole(tmp_path: Path) -> None:
    """With a checksum that is right they became a RuntimeError of PyTorch."""
    SoftPrompt(3).bind(hooked("gpt2")).save(tmp_path)
    file = tmp_path / "prompt.safetensors"
    sha256 = write_tensors(file, {name: number.to(torch.int64) for name, number in load_file(file).items()})
    edit(tmp_path, sha256=sha256)
    with pytest.raises(PromptError, match=r"must hold floating-point numbers, got embedding in torch\.int64"):
        load_prompt(tmp_path)


def test_what_is_loaded_begins_in_memory_where_new_tensors_do(tmp_path: Path) -> None:
    # In a file they begin anywhere, and a matrix product of the same numbers differs in its last bits there.
    for length in (1, 12, 33):
        DeepPrompt(length).bind(hooked("gpt2")).save(tmp_path)
        assert {number.data_ptr() % 64 for number in load_prompt(tmp_path).parameters()} == {0}
