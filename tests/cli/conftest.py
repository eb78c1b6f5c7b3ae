"""A folder as a user has it: a model with its tokenizer, a data file, and a run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from promptscope.cli import app
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer

RECORDS = [
    {"text": f"the {noun} is {much} {word}", "label": label}
    for noun in ("film", "story")
    for much in ("very", "a")
    for word, label in (("good", "positive"), ("great", "positive"), ("bad", "negative"), ("dull", "negative"))
]


def run_command(*arguments: object) -> Result:
    """Run promptscope in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold `model/`, `reviews/{train,test}.jsonl`, and `runs/{v1,v2}`, trained with relative paths."""
    folder = tmp_path_factory.mktemp("workplace")
    tiny_hf_model("gpt2").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "reviews").mkdir()
    for split, rows in (("train", RECORDS[:10]), ("test", RECORDS[10:])):
        lines = [json.dumps({"id": f"{split}-{i}", **row}) for i, row in enumerate(rows)]
        (folder / "reviews" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        common = [
            "train",
            "--model",
            "model",
            "--task",
            "reviews",
            "--verbalizer",
            "labels",
            "--length",
            3,
            "--steps",
            4,
        ]
        for kind in ("v1", "v2"):
            done = run_command(*common, "--prompt", kind, "--batch-size", 4, "--seed", 5, "--out", f"runs/{kind}")
            assert done.exit_code == 0, done.output
    return folder
