"""The recipe from end to end on the embedded model, and its observations on results whose answer is known."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy.signal import find_peaks

import promptscope as ps
from promptscope.probes import ProbeResult, correlate, on_scores
from recipes.attention_and_neurons import observations
from recipes.attention_and_neurons.paper_tables import table_2, table_7
from recipes.attention_and_neurons.regenerate import PUBLISHED
from recipes.attention_and_neurons.run import main
from recipes.attention_and_neurons.settings import KNOWN, PAPER_PEAKS, PAPER_TASKS, PAPER_TROUGHS, PRESETS, Settings
from recipes.attention_and_neurons.tasks import load_tasks
from recipes.attention_and_neurons.training import make_prompt, train_config
from recipes.common import read_published
from tests.report.test_report import Page

TINY = ["steps=2", "scored=8", "probed=8", "permutations=9", "length=3"]
TASKS = 'tasks=["continent_en", "same_country_ko"]'
FIGURES = {f"figure_{number}" for number in range(1, 16)}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    assert main(["--out", str(folder), "--set", TASKS, *TINY]) == 0
    return folder


def test_every_figure_and_table_is_there(out: Path) -> None:
    about = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert {path.stem for path in (out / "figures").glob("*.html")} >= FIGURES
    assert set(about["files"]) <= {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"table_2.csv", "table_7.csv", "observations.csv", "ablation.csv", "report.html"} <= set(about["files"])
    assert about["settings"]["steps"] == 2
    assert {"versions", "hardware", "model", "groups", "training_seconds"} <= set(about)
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    for name in FIGURES:
        assert name.replace("_", " ").capitalize() in page.text


def test_numbers_have_their_nulls_beside_them(out: Path) -> None:
    scores = pd.read_csv(out / "scores.csv")
    expected = {"frozen", "v1", "random v1", "v2", "random v2", "peak", "trough"}
    for task, of_task in scores.groupby("task"):
        assert set(of_task["variant"]) == expected, task
    assert set(pd.read_csv(out / "figure_5.csv")["prompt"]) == {"v1", "v2", "random v1", "random v2"}
    ablation = pd.read_csv(out / "ablation.csv")
    assert list(ablation.columns) == ["task", "none", "trough", "peak", "all"]
    accuracy = scores[(scores["metric"] == "accuracy") & (scores["variant"] == "v2")].set_index("task")["score"]
    np.testing.assert_allclose(ablation.set_index("task")["all"], 100 * accuracy.loc[ablation["task"]])


def test_turns_of_the_curves_are_scipys(out: Path) -> None:
    curves = pd.read_csv(out / "figure_5.csv")
    turns = pd.read_csv(out / "figure_5_turns.csv", dtype=str, keep_default_na=False)
    assert set(turns[turns["prompt"] == "v2"]["published"].str[:4]) == {"1 7 ", "2 8 "}
    for row in turns.itertuples(index=False):
        curve = curves[(curves["prompt"] == row.prompt) & (curves["group"] == row.language)].sort_values("layer")[
            "value"
        ]
        expected = find_peaks(curve if row.turns == "peaks" else -curve)[0]
        assert row.computed == " ".join(map(str, expected))


def test_random_prompts_of_two_tasks_are_as_far_apart_as_random_vectors(out: Path) -> None:
    """One seed for all tasks would give them the same directions, and an ON score of 1."""
    scores = pd.read_csv(out / "figure_7.csv")
    last = scores[(scores["prompt"] == "random v1") & (scores["layer"] == scores["layer"].max())]["value"]
    assert (last < 0.999).all()


def test_groups_of_layers_are_the_runs_own(out: Path) -> None:
    groups = json.loads((out / "results.json").read_text(encoding="utf-8"))["groups"]
    for name, layers in groups.items():
        run = ps.load_prompt(next((out / "runs" / "ablation").glob(f"continent_en-{name}-*")) / "prompts" / "last")
        assert isinstance(run, ps.DeepPrompt)
        assert run.layers == tuple(layers)
        assert run.tied


def test_a_second_call_trains_nothing_and_runs_no_pass(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading the model tests itself with a few passes; after that no module may run."""
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model = ps.load_model("embedded-causal")
    monkeypatch.setattr(ps, "load_model", lambda *_, **__: model)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        assert main(["--out", str(out), "--set", TASKS, *TINY]) == 0
        assert calls == 0
        ps.evaluate(model, ps.load_task("continent_en"), limit=2, progress=False)
        assert calls > 0  # the counter counts
    finally:
        handle.remove()
    assert "score " not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == before


def test_help_names_the_presets_and_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for word in (*PRESETS, "--data", "continent_en", "deep_learning_rate"):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['tasks=["continent_en", "continent_ne"]'], "no task, file or folder called 'continent_ne'"),
        (['tasks=["continent_en"]'], "at least two"),
        (['tasks=["continent_en", "continent_en"]'], "each once"),
        (["layers=paper"], "--set layers=measured"),
        (["layers=all"], "measured, paper"),
        (["steps=0"], "no hyper-parameters for task 'continent_en'"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    changes: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--set", *changes]) == 1
    assert message in capsys.readouterr().err


def test_an_unknown_value_of_a_preset_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="NAME is one of"):
        main(["--out", str(tmp_path), "--set", "stpes=3"])
    with pytest.raises(SystemExit, match="expected a int"):
        main(["--out", str(tmp_path), "--set", "steps=many"])


def test_presets_follow_the_paper() -> None:
    paper = PRESETS["paper"]
    assert paper.tasks == PAPER_TASKS == tuple(KNOWN)
    assert (paper.length, paper.seeds, paper.steps, paper.first_n) == (20, (42,), 0, 10)
    assert train_config(paper, "ag_news", "v2", 42).batch_size == 64
    assert train_config(paper, "klue_ynat", "v2", 42).batch_size == 32
    epochs = {"stsb": 10, "kor_nli": 16, "nsmc": 20, "korquad": 12, "commongen": 20}
    assert {name: train_config(paper, name, "v2", 42).epochs for name in epochs} == epochs
    assert len(PAPER_PEAKS) == len(PAPER_TROUGHS) == 12
    deep = make_prompt("peak", paper, 42, {"peak": PAPER_PEAKS})
    assert isinstance(deep, ps.DeepPrompt)
    assert deep.tied
    assert deep.layers == PAPER_PEAKS


def test_the_published_numbers_are_complete() -> None:
    assert read_published(PUBLISHED)["table"].value_counts().to_dict() == {"2": 28, "7": 28, "text": 4}


def test_scores_find_their_published_cells() -> None:
    """Every printed cell is met by exactly one score, of its own task, variant and metric."""
    tasks = {name: _task(name) for name in PAPER_TASKS}
    metrics = {"STS": "accuracy", "NLI": "macro_f1", "SA": "accuracy", "TC": "macro_f1", "CG": "coverage"}
    rows = []
    for name, known in KNOWN.items():
        own = {"squad2": "squad", "korquad": "korquad"}.get(name)
        for metric in (f"{own}_f1", f"{own}_exact") if own else (metrics[known.kind],):
            rows += [(name, variant, 42, metric, 0.5) for variant in ("v1", "v2", "peak", "trough", "frozen")]
    scores = pd.DataFrame(rows, columns=["task", "variant", "seed", "metric", "score"])
    published = read_published(PUBLISHED)
    for table, cells in (("2", table_2(scores, tasks)), ("7", table_7(scores, tasks))):
        printed = published[published["table"] == table]
        assert set(cells) == set(zip(printed["row"], printed["column"], strict=True))
        assert set(cells.values()) == {50.0}


def test_folders_go_before_the_hub_and_lacking_splits_are_cut(tmp_path: Path) -> None:
    rows = [{"text": f"film {i}", "label": ("positive", "negative")[i % 2]} for i in range(10)]
    for name, file in (("sst2", "test"), ("imdb", "train")):
        (tmp_path / name).mkdir()
        lines = "\n".join(map(json.dumps, rows))
        (tmp_path / name / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    tasks = load_tasks(Settings(tasks=("sst2", "imdb"), train_limit=5), tmp_path)
    for task in tasks.values():
        assert {split: len(records) for split, records in task.splits.items()} == {"train": 5, "test": 2}
        assert not {r.text("text") for r in task.split("train")} & {r.text("text") for r in task.split("test")}


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_low_layers(shift: float) -> None:
    noise = np.random.default_rng(0)
    tasks = {}
    for task in "abcd":
        heads = 0.4 + 0.01 * noise.random((10, 8, 4))
        heads[:, 2:] += shift
        tasks[task] = ProbeResult.from_examples(heads)
    found = observations.low_layers_depend_less_on_content(tasks)
    assert found.verdict == ("holds" if shift > 0 else "does not hold")
    assert found.low <= found.number <= found.high
    assert found.number == pytest.approx(shift, abs=0.01)


@pytest.mark.parametrize("moved", ["v1", "v2"])
def test_change_in_the_middle(moved: str) -> None:
    noise = np.random.default_rng(0)
    tasks = {}
    for task in "abc":
        heads = {variant: 1 + 0.01 * noise.random((5, 8, 3)) for variant in ("v1", "v2")}
        heads[moved][:, 2:6] *= 3
        tasks[task] = ProbeResult.from_examples(heads)
    found = observations.v2_changes_the_middle(tasks)
    assert found.verdict == ("holds" if moved == "v2" else "does not hold")
    assert abs(found.number) == pytest.approx(0.75 - 0.5, abs=0.01)  # 12 of 16 layers' worth, against 4 of 8


@pytest.mark.parametrize(
    ("second", "last", "verdict"), [(1, -1, "holds"), (1, 1, "does not hold"), (-1, -1, "does not hold")]
)
def test_content_heads(second: int, last: int, verdict: str) -> None:
    noise = np.random.default_rng(0)
    correlations = {}
    for task in "abc":
        base = noise.random((6, 8, 10))
        change = noise.random((6, 8, 10)) * 0.2
        change[:, 2:4] += second * base[:, 2:4] + 1
        change[:, 6:8] += last * base[:, 6:8] + 1
        correlations[task] = correlate(
            ProbeResult.from_examples({"v2": change}, name="attention_kl"), ProbeResult.from_examples(base, name="v")
        )
    assert observations.v2_changes_content_heads(correlations).verdict == verdict


@pytest.mark.parametrize("common", [True, False])
def test_neurons(common: bool) -> None:
    found = observations.neurons_common_before_the_last(_scores_of_neurons(common))
    assert found.verdict == ("holds" if common else "does not hold")


def _scores_of_neurons(common: bool) -> ProbeResult:
    """Twelve tasks whose neurons are alike in the first layer, and in the second-to-last if *common*."""
    noise = np.random.default_rng(0)
    alike = [1.0, 0.5, 0.5, 0.3, 0.2, 0.1, 0.9 if common else 0.0, 0.1]
    shared = noise.normal(size=(8, 1, 200))
    states = {}
    for i in range(12):
        own = noise.normal(size=(8, 1, 200))
        share = np.array(alike)[:, None, None]
        values = (np.sqrt(share) * shared + np.sqrt(1 - share) * own)[None]
        data = xr.Dataset(
            {"values": (("prompt", "layer", "position", "neuron"), values)},
            coords={"prompt": ["v2"], "layer": range(8), "position": [0], "neuron": range(200)},
        )
        states[f"task {i}"] = ProbeResult("neuron_states", data)
    return on_scores(states, {task: ("en", "ko")[i % 2] for i, task in enumerate(states)})


@pytest.mark.parametrize("sign", [1, -1])
def test_label_space(sign: int) -> None:
    gaps = sign * np.array([0.0, 0.0, 0.0, 0.1, 0.02, 0.2])
    tasks = {}
    for task, size in (("a", 1.0), ("b", 1.1), ("c", 0.9)):
        result = ProbeResult.from_examples({"v2": np.zeros((4, 2, 6))}, dims=("word", "layer"))
        result.data["gap"] = (("prompt", "layer"), size * gaps[None])
        tasks[task] = result
    found = observations.leans_to_the_gold_label(tasks)
    assert found.verdict == ("holds" if sign > 0 else "does not hold")
    assert found.number == pytest.approx(sign * 0.2)
    assert f"{sign * 0.13:.3f}" in found.meaning  # (0.1 + 0.2) / 2 - 0.02


def test_peaks_and_troughs() -> None:
    means = pd.DataFrame({"peak": [80.0, 70.0, 61.0, 90.0], "trough": [78.0, 69.0, 60.0, 88.0]}, index=list("abcd"))
    found = observations.peaks_beat_troughs(means)
    assert (found.verdict, found.number) == ("holds", 1.5)
    assert "4 of 4 tasks" in found.meaning
    assert observations.peaks_beat_troughs(means[["peak"]]).verdict == "not measured"
    means.loc["d", "trough"] = 99.0
    assert observations.peaks_beat_troughs(means).verdict == "does not hold"


@pytest.mark.parametrize(
    ("v1", "v2", "verdict"),
    [
        ((0.0, 0.5), (0.4, 0.01), "holds"),
        ((0.3, 0.01), (0.4, 0.01), "undecided"),
        ((0.4, 0.5), (0.1, 0.5), "does not hold"),
    ],
)
def test_clusters(v1: tuple[float, float], v2: tuple[float, float], verdict: str) -> None:
    found = observations.clusters_by_task(_silhouette(v1, 1), _silhouette(v2, 6))
    assert found.verdict == verdict
    assert found.number == pytest.approx(v2[0] - v1[0])


def _silhouette(of: tuple[float, float], n_layers: int) -> ProbeResult:
    variables = {
        name: (("layer",), np.full(n_layers, value))
        for name, value in zip(("silhouette_task", "silhouette_task_p"), of, strict=True)
    }
    data = xr.Dataset({"values": (("layer",), np.zeros(n_layers)), **variables}, coords={"layer": range(n_layers)})
    return ProbeResult("prompt_pca", data)


@pytest.mark.parametrize(
    "observe",
    [
        lambda: observations.low_layers_depend_less_on_content({}),
        lambda: observations.v2_changes_the_middle({}),
        lambda: observations.v2_changes_content_heads({}),
        lambda: observations.neurons_common_before_the_last(None),
        lambda: observations.leans_to_the_gold_label({}),
        lambda: observations.clusters_by_task(None, None),
    ],
)
def test_what_was_not_measured_is_said(observe: Callable[[], observations.Observation]) -> None:
    assert observe().verdict == "not measured"


def _task(name: str) -> ps.Task:
    """A task with the metrics of a known one and two records."""
    from promptscope.tasks.known import KNOWN as DATA_SETS

    known = DATA_SETS[name]
    if known.words is None:
        rows: list[Mapping[str, object]] = [
            {"text": "a b", "text1": "a", "text2": "b", "concepts": ["a"], "references": ["c"]}
        ]
        return ps.Task.from_records(list(rows), metric=known.metrics, name=name)
    labels = [{"text": str(i), "label": label} for i, label in enumerate(known.words)]
    return ps.Task.from_records(labels, verbalizer=dict(known.words), metric=known.metrics, name=name)
