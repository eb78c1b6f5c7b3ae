"""What `train` cannot work with: said at once, by name, before anything is trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

import promptscope as ps
from promptscope.errors import PromptError
from recipes.token_splitting.pictures import _some
from recipes.token_splitting.run import main
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.trained import Trained
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer

ONE = "embedded-masked-0"
SMALL = ["counts=[1,2]", "varied=0", "steps=1", "scored=4", "seeds=[0]", "short_length=0", "length=2"]


def embedded_tokenizer() -> AutoTokenizer:
    folder = Path(ps.__file__).parent / "embedded" / "masked-0"
    return AutoTokenizer.from_pretrained(folder)


def saved(folder: Path, tokenizer: AutoTokenizer, width: int) -> str:
    """Save a tiny random BERT of *width* with a tokenizer, as a user would give it."""
    config = BertConfig(
        hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=len(tokenizer)
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def refused(out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["train", "--out", str(out), *options]) == 1
    assert not (out / "runs").exists()
    return capsys.readouterr().err


def test_models_of_different_widths_are_named_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = saved(tmp_path / "narrow", embedded_tokenizer(), 32)
    said = refused(tmp_path / "out", capsys, "--models", ONE, narrow, "--set", *SMALL)
    assert f"one prompt needs models of one width, got d_model '{ONE}': 128, '{narrow}': 32" in said


def test_models_of_different_tokenizers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = saved(
        tmp_path / "other", tiny_tokenizer((*"abcdefgh", "Africa", "America", "Asia", "Europe", "Oceania")), 128
    )
    said = refused(tmp_path / "out", capsys, "--models", ONE, other, "--set", *SMALL)
    assert f"the vocabulary of '{other}' is not that of '{ONE}'" in said


def test_a_tokenizer_without_mask_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = embedded_tokenizer()
    tokenizer.mask_token = None
    folders = [saved(tmp_path / name, tokenizer, 32) for name in ("one", "two")]
    said = refused(tmp_path / "out", capsys, "--models", *folders, "--set", *SMALL)
    assert f"The tokenizer {folders[0]!r} has no token for {{mask}}" in said
    assert "masked language model's tokenizer" in said


def test_a_model_that_is_not_masked_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(tmp_path / "out", capsys, "--models", "embedded-causal", ONE, "--set", *SMALL)
    assert "'embedded-causal' is a causal model" in said


def test_a_label_of_several_pieces_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data" / "mnli"
    folder.mkdir(parents=True)
    labels = ("entailment", "contradiction", "neutral")
    rows = [{"premise": f"film {i}", "hypothesis": "a story", "label": labels[i % 3]} for i in range(9)]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    options = [
        "--data",
        str(tmp_path / "data"),
        "--models",
        ONE,
        "embedded-masked-1",
        "--set",
        *SMALL,
        'tasks=["mnli"]',
    ]
    said = refused(tmp_path / "out", capsys, *options)
    assert "the word 'entailment' of label 'entailment' is" in said
    assert "first_piece=True" in said


def test_a_prompt_of_another_width_is_refused() -> None:
    prompt = ps.SoftPrompt(2).bind(ps.load_model(tiny_hf_model("bert"), tokenizer=tiny_tokenizer()))
    with pytest.raises(PromptError, match=r"32.*128|128.*32"):
        ps.importance([ONE, "embedded-masked-1"], prompt, ps.load_task("continent_en"), limit=2, progress=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["counts=[1]"], "with at least one count above 1"),
        (["counts=[1,6]"], "must be in 1..5"),
        (["counts=[1,2]", "varied=3"], "varied must be one of counts, [1, 2], got 3"),
        (["seeds=[1,1]"], "at least one seed, each once"),
        (['models=["embedded-masked-0"]'], "at least two"),
        (['hows=["cut"]'], "must begin with 'zero'"),
        (['hows=["zero","erase"]'], "'erase'"),
        (["steps=0"], "no hyper-parameters for task 'continent_en'"),
        (['tasks=["continent_en","continent_en"]'], "each named once"),
        (['tasks=["capital_en"]'], "has none: name a classification"),
        (["counts=[1,2]", "varied=0", 'models=["embedded-masked-0","embedded-masked-9"]'], "embedded-masked-9"),
    ],
)
def test_settings_that_make_no_sense(
    changes: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path / "out", capsys, "--set", *changes)


OPTIONS = ["--models", ONE, "embedded-masked-1", "--set", *SMALL, "draws=1", "shown=10", 'hows=["zero"]']
OPTIONS += ["shapley_scored=0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert main(["train", "--out", str(folder), *OPTIONS]) == 0
    return folder


def test_other_settings_in_the_same_folder_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--out", str(finished), *OPTIONS, "learning_rate=0.1"]) == 1
    assert "learning_rate" in capsys.readouterr().err


def test_a_damaged_prompt_of_a_finished_run_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    (damaged,) = (tmp_path / "copy" / "runs" / "continent_en_1_model_1" / "prompts" / "last").glob("*.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert main(["train", "--out", str(tmp_path / "copy"), *OPTIONS]) == 1
    assert "continent_en_1_model_1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_measured_result_that_is_gone_is_measured_again(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it the command ended in a KeyError, or a line of a table was left out."""
    shutil.copytree(finished, tmp_path / "copy")
    folder = tmp_path / "copy" / "measured" / "continent_en_1_model_1"
    shutil.rmtree(folder / "zero")
    assert main(["train", "--out", str(tmp_path / "copy"), *OPTIONS]) == 0
    said = capsys.readouterr().out
    assert f"{folder / 'measured.json'} or its files are damaged" in said and said.count("damaged") == 1
    for name in ("importance", "accuracy", "tokens", "findings"):
        assert (tmp_path / "copy" / f"{name}.csv").read_text() == (finished / f"{name}.csv").read_text()


def test_a_row_of_zeros_is_in_no_picture() -> None:
    """[PAD] is a row of zeros in many BERTs, and `train` failed at its end: they have no cosine distance."""
    tables = {"a": np.eye(5), "b": np.ones((5, 5))}
    tables["b"][2] = 0
    for n, kept in ((0, 4), (3, 3), (9, 4)):
        drawn = _some(tables, n)
        assert [rows.shape for rows in drawn.values()] == [(kept, 5)] * 2
        assert not any((row == tables["a"][2]).all() for row in drawn["a"])  # the same rows of both


def test_a_duration_in_steps_is_not_compared_with_the_papers_epochs() -> None:
    """With `paper --set steps=2` the row of two steps was compared with the printed one of two epochs."""
    settings = Settings(tasks=("mnli",), steps=2, varied=5, durations=(2.5,))
    assert Trained(settings, {}, {}).durations("mnli") == {"2 steps": "5", "5 steps": "e5"}
    assert Trained(replace(settings, steps=0), {}, {}).durations("mnli") == {"5": "5", "12.5": "e12.5"}
