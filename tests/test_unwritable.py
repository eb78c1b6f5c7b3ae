"""What cannot be written or read: one error of ours, which names the place, and nothing half written."""

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import plotly.graph_objects as go
import pytest

import promptscope as ps
from promptscope.cli.new_probe import new_probe
from promptscope.files import write_json
from tests.training.toy import toy_model, toy_task

TRAINED = ps.TrainConfig(steps=1, batch_size=2)
UNREADABLE = Path("/proc/self/mem")  # a file that is there, and gives an OSError to whoever reads it


@contextmanager
def full_disk(size: int = 100) -> Iterator[None]:
    """Let no file become longer than *size* bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def writers() -> dict[str, Callable[[Path], object]]:
    """Return everything that writes, given where."""
    model, task = toy_model("gpt2"), toy_task()
    prompt = ps.SoftPrompt(2).bind(model)
    found = ps.probe(model, prompt, task, "attention_kl", limit=2, progress=False)["attention_kl"]
    report = ps.Report("a")
    report.section("words")
    return {
        "train": lambda place: ps.train(model, ps.SoftPrompt(2), task, TRAINED, place, progress=False),
        "prompt": prompt.save,
        "adapter": lambda place: ps.write_peft(model, prompt, place),
        "result": found.save,
        "store": lambda place: ps.probe(model, prompt, task, "attention_kl", limit=2, store=place, progress=False),
        "table": lambda place: found.to_csv(place / "a.csv"),
        "parquet": lambda place: found.to_parquet(place / "a.parquet"),
        "figure": lambda place: ps.plots.save_figure(go.Figure(go.Bar(y=[1])), place / "a.html"),
        "report": lambda place: report.write(place / "a.html"),
        "new probe": lambda place: new_probe("no_such_one", place),
    }


NAMES = ["train", "prompt", "adapter", "result", "store", "table", "parquet", "figure", "report", "new probe"]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(name: str, writers: dict[str, Callable[[Path], object]], tmp_path: Path) -> None:
    write = writers[name]
    with full_disk(), pytest.raises((ps.FileError, ps.StoreError), match=r"cannot write .*space.*(folder|place)"):
        write(tmp_path / "place")
    there = [path.name for path in (tmp_path / "place").rglob("*") if path.is_file() and path.stat().st_size]
    assert there == []
    write(tmp_path / "place")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_where_a_folder_should_be(
    name: str, writers: dict[str, Callable[[Path], object]], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ps.PromptscopeError, match="file"):
        writers[name](tmp_path / "file" / "place")


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "inner").mkdir(parents=True)
    with pytest.raises(ps.FileError, match=r"cannot write '.*a\.json' \(.*directory"):
        write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    ps.train(toy_model("gpt2"), ps.SoftPrompt(2), toy_task(), TRAINED, folder, progress=False)
    return folder


@pytest.mark.skipif(not UNREADABLE.exists(), reason="only Linux has such a file")
@pytest.mark.parametrize("name", ["config.json", "result.json", "history.csv", "prompts/last/prompt.json"])
def test_a_file_that_cannot_be_read(name: str, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / name).unlink()
    (folder / name).symlink_to(UNREADABLE)
    with pytest.raises(ps.PromptscopeError, match=name.rpartition("/")[2]):
        _ = ps.load_run(folder).prompt, ps.load_run(folder).history
