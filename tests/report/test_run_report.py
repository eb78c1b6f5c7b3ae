"""The page about runs says what the runs say."""

from pathlib import Path

import pytest

import promptscope as ps
from promptscope.report import run_report
from tests.report.test_report import Page
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer

ROWS = [
    {"text": f"the {noun} is {word}", "label": label}
    for noun in ("film", "story")
    for word, label in (("good", "positive"), ("great", "positive"), ("bad", "negative"), ("dull", "negative"))
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[ps.Run]:
    """Two runs of one name in two folders; the second's records came from memory."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_hf_model("gpt2").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    model = ps.load_model(folder / "model")
    for split in ("train", "test", "validation"):
        (folder / f"data/{split}.csv").parent.mkdir(exist_ok=True)
        lines = [f"{row['text']},{row['label']}" for row in ROWS]
        (folder / f"data/{split}.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    config = ps.TrainConfig(steps=4, batch_size=4, evaluate_every=2)
    first = ps.train(model, ps.SoftPrompt(2), ps.load_task(folder / "data"), config, out=folder / "a" / "run")
    memory = ps.Task.from_records({"train": ROWS, "test": ROWS, "validation": ROWS}, name="memory")
    second = ps.train(model, ps.DeepPrompt(2), memory, config, out=folder / "b" / "run")
    return [first, second]


def test_what_stands_on_the_page(runs: list[ps.Run]) -> None:
    page = Page(run_report(runs).html())
    learning, validation, norms = page.figures()
    names = [str(Path(run.folder.parent.name) / "run") for run in runs]
    assert [trace["name"] for trace in norms["data"]] == names
    assert [trace["name"] for trace in validation["data"]] == [f"{name}: accuracy" for name in names]
    assert len(learning["data"]) == 4  # each run: single steps and their running mean
    for name in names:
        assert name in page.text
    assert "b/run was not scored" in page.text.replace("\\", "/")
    assert runs[0].prompt.content_hash() in page.text


def test_scores_are_those_of_evaluate(runs: list[ps.Run]) -> None:
    model = ps.load_model(runs[0].description["model"]["source"])
    task = ps.load_task(runs[0].description["task"]["source"]["name_or_path"])
    page = Page(run_report(runs[:1]).html())
    for prompt in (runs[0].prompt, None):
        scores = ps.evaluate(model, prompt, task, progress=False)
        assert f"{scores['accuracy']:.3f}" in page.text
        assert f"{scores['loss']:.3f}" in page.text


def test_an_unfinished_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ps.RunError, match="not a run"):
        run_report([tmp_path])
