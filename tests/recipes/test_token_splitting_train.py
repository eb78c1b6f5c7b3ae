"""`train` on three embedded models: what it writes, that it never repeats anything, and sums by hand."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from datasets import ClassLabel, Dataset, DatasetDict

import promptscope as ps
from promptscope.inference.model_set import ModelSet
from promptscope.interventions import remove, zero
from recipes.common import Number, judge
from recipes.common.findings import VERDICTS
from recipes.token_splitting.findings import _each_token_has_one_model, findings
from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.mixing import taken_tokens
from recipes.token_splitting.page_tables import beside_published
from recipes.token_splitting.per_run import _one_only_by_chance, run_table
from recipes.token_splitting.places import Places
from recipes.token_splitting.plans import Plan, make_plans
from recipes.token_splitting.run import main
from recipes.token_splitting.settings import KNOWN, PRESETS, Settings
from recipes.token_splitting.tasks import load_tasks
from recipes.token_splitting.training import fresh_prompt, train_config
from tests.report.test_report import Page

MODELS = ["embedded-masked-0", "embedded-masked-1", "embedded-masked-2"]
TINY = [
    "counts=[1,2]",
    "varied=2",
    "durations=[2.0]",
    "length=3",
    "short_length=1",
    "steps=2",
    "scored=6",
    "seeds=[0,1]",
]
TINY += ["shapley_scored=3", "shown=10", "permutations=50", "draws=1"]


def train(out: Path, *changes: str) -> int:
    return main(["train", "--out", str(out), "--models", *MODELS, "--set", *TINY, *changes])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    assert train(folder) == 0
    return folder


def scored_task() -> ps.Task:
    """The task with the six records that are scored."""
    return load_tasks(Settings(scored=6), None)["continent_en"]


def prompt_of(out: Path, run: str) -> ps.SoftPrompt:
    prompt = ps.load_prompt(out / "runs" / run / "prompts" / "last", strict=False)
    assert isinstance(prompt, ps.SoftPrompt)
    return prompt


def test_everything_is_written(out: Path) -> None:
    about = json.loads((out / "results.json").read_text())
    assert set(about["files"]) <= {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert {"findings.csv", "table_1.csv", "table_14.csv", "mixing.csv", "report.html"} <= set(about["files"])
    assert {"settings", "versions", "hardware", "models", "cost", "seconds"} <= set(about)
    names = {path.stem for path in (out / "figures").glob("*.html")}
    assert {"figure_1_pca", "figure_1_tsne", "figure_2_pca", "figure_2_tsne", "accuracy", "alignment"} <= names
    assert {"importance_continent_en_2_model_0", "shapley_continent_en_2_model_0"} <= names
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "most tokens matter to one model only" in page.text
    assert len(page.figures()) == len(names)
    findings = pd.read_csv(out / "findings.csv")
    assert len(findings) == 10  # one task: nothing over tasks
    assert set(findings["where"]) == {"continent_en"}
    assert set(findings["verdict"]) <= set(VERDICTS)


def test_numbers_are_those_of_single_evaluations(out: Path) -> None:
    task, run = scored_task(), "continent_en_2_model_1"  # models 1 and 2
    prompt = prompt_of(out, run)
    transfer = pd.read_csv(out / "transfer.csv").query("run == @run").set_index("model")
    masked = pd.read_csv(out / "importance.csv").query("run == @run and how == 'zero'")
    compression = pd.read_csv(out / "compression.csv").query("run == @run").set_index("model")
    assert transfer["own"].to_dict() == dict(zip(MODELS, (False, True, True), strict=True))
    losses = masked.pivot_table(index="token", columns="model", values="loss")
    for name in MODELS:
        model = ps.load_model(name)
        whole = ps.evaluate(model, prompt.copy(), task, limit=6, progress=False)
        assert transfer.loc[name, ["loss", "accuracy"]].tolist() == pytest.approx([whole["loss"], whole["accuracy"]])
        fresh = ps.SoftPrompt(3, ps.init.Uniform(-0.5, 0.5), seed=1)
        initial = ps.evaluate(model, fresh, task, limit=6, progress=False)
        assert transfer.loc[name, "initial_loss"] == pytest.approx(initial["loss"])
        if name == MODELS[0]:
            continue
        for token in range(3):
            loss = ps.evaluate(model, zero(prompt, token), task, limit=6, progress=False)["loss"]
            assert losses.loc[token, name] == pytest.approx(loss, rel=1e-4)
        others = [token for token in range(3) if losses.loc[token].idxmax() != name]
        assert compression.loc[name, "own_tokens"] == 3 - len(others)
        for column, short in (
            ("masked_loss", zero(prompt, others)),
            ("shortened_loss", remove(prompt, others) if len(others) < 3 else None),
        ):
            found = ps.evaluate(model, short, task, limit=6, progress=False)["loss"]
            assert compression.loc[name, column] == pytest.approx(found, rel=1e-4)


def test_the_papers_tables_hold_these_runs(out: Path) -> None:
    transfer = pd.read_csv(out / "transfer.csv")
    table = pd.read_csv(out / "table_1.csv", dtype=str).set_index(["row", "column"])["computed"]
    for row in ("1", "2"):
        mine = transfer[transfer["own"] & transfer["run"].str.fullmatch(rf"continent_en_{row}_model_\d")]
        each = mine.groupby("run")["loss"].mean()
        assert float(table[row, "continent_en mean"]) == pytest.approx(each.mean(), abs=5e-4)
        assert float(table[row, "continent_en std"]) == pytest.approx(each.std(ddof=0), abs=5e-4)
    absent = pd.read_csv(out / "absent.csv")
    assert absent["reason"].str.contains("does not train|trains no runs").all()
    thirteen = pd.read_csv(out / "table_13.csv", dtype=str).set_index(["row", "column"])
    assert thirteen.loc[("2", "random"), ["published", "computed"]].tolist() == ["0.5", "0.500"]
    tokens = pd.read_csv(out / "tokens.csv")
    plain = tokens[tokens["run"].str.fullmatch(r"continent_en_2_model_\d")]
    agree = (plain["by_loss"] == plain["vote_cosine"]).groupby(plain["run"]).mean()
    assert float(thirteen.loc[("2", "continent_en cos mean"), "computed"]) == pytest.approx(agree.mean(), abs=5e-4)


def test_votes_and_words_are_those_of_all_embeddings(out: Path) -> None:
    run = "continent_en_2_model_0"
    vectors = prompt_of(out, run).vectors().detach().double()
    tables = [ps.load_model(name).embed(torch.arange(4096)).double() for name in MODELS[:2]]
    tokens = pd.read_csv(out / "tokens.csv").query("run == @run")
    words = pd.read_csv(out / "back_translation.csv", keep_default_na=False).query("run == @run and metric == 'l2'")
    for token, vector in enumerate(vectors):
        distances = torch.cat([(table - vector).norm(dim=1) for table in tables])
        spaces = (distances.argsort()[:7] // 4096).tolist()
        winner = max(dict.fromkeys(spaces), key=spaces.count)
        assert tokens.iloc[token]["vote_l2"] == MODELS[winner]
        nearest = distances[:4096].min()
        found = words[(words["token"] == token) & (words["model"] == MODELS[0])]
        assert found["distance"].item() == pytest.approx(float(nearest), abs=1e-5)


def test_shapley_values_are_means_over_orders(out: Path) -> None:
    task, run = scored_task(), "continent_en_2_model_0"
    prompt, model = prompt_of(out, run), ps.load_model(MODELS[1])
    table = pd.read_csv(out / "shapley.csv").query("run == @run and model == @MODELS[1]")
    values = np.zeros(3)
    for order in permutations(range(3)):
        left = {0, 1, 2}
        before = ps.evaluate(model, zero(prompt, sorted(left)), task, limit=3, progress=False)["loss"]
        for token in order:
            left.remove(token)
            after = ps.evaluate(model, zero(prompt, sorted(left)), task, limit=3, progress=False)["loss"]
            values[token] += (before - after) / 6
            before = after
    np.testing.assert_allclose(table["values"], values, atol=1e-4)
    assert table["efficiency_residual"].abs().max() < 1e-5


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_measures_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    models = {name: ps.load_model(name) for name in MODELS}
    monkeypatch.setattr("promptscope.inference.model_set.load_model", models.__getitem__)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for model in models.values():
        model.twin.base_model.encoder.register_forward_pre_hook(count)
        model.bridge.original_model.register_forward_pre_hook(count)
        model.watch()  # they only count
    assert train(out) == 0
    assert calls == 0
    ps.evaluate(models[MODELS[0]], None, ps.load_task("continent_en"), limit=2, progress=False)
    assert calls > 0  # the counter counts
    said = capsys.readouterr().out
    assert "train continent" not in said
    assert "measure continent" not in said
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == before


@pytest.mark.slow
def test_models_in_turn_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [
        "counts=[1,2]",
        "varied=0",
        "durations=[]",
        "short_length=0",
        "seeds=[0]",
        "shapley_scored=0",
        'hows=["zero"]',
    ]
    assert train(tmp_path / "all", *few) == 0
    keep: list[int] = []
    original = ModelSet._with

    def counted(self: ModelSet, name: str, source: object, work: object) -> object:
        keep.append(sum(isinstance(one, ps.HookedModel) for one in self.sources.values()))
        return original(self, name, source, work)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelSet, "_with", counted)
    command = ["train", "--in-turn", "--out", str(tmp_path / "turn"), "--models", *MODELS, "--set", *TINY, *few]
    assert main(command) == 0
    assert max(keep) <= 1
    for name in ("transfer", "importance", "tokens", "mixing"):
        frames = [pd.read_csv(tmp_path / folder / f"{name}.csv") for folder in ("all", "turn")]
        pd.testing.assert_frame_equal(*frames, rtol=1e-5, atol=1e-6)


def test_the_classes_of_runs_are_the_papers() -> None:
    plans = make_plans(PRESETS["paper"], "imdb")
    names = [plan.name for plan in plans]
    assert len(set(names)) == len(names)
    kinds = pd.Series([plan.kind for plan in plans]).value_counts().to_dict()
    assert kinds == {"1": 25, "sp": 25, "2": 5, "5": 5, "10": 5, "init": 4, "train": 4, "e2": 5, "e10": 5, "e20": 5}
    by_name = {plan.name: plan for plan in plans}
    assert by_name["5_model_0"].models == (0, 1, 2, 3, 4)
    assert by_name["5_model_init_1"].models == by_name["5_model_train_1"].models == (0, 1, 2, 3, 4)
    assert (by_name["5_model_init_1"].init_seed, by_name["5_model_init_1"].train_seed) == (1, 0)
    assert len({plan.models for plan in plans if plan.kind == "5"}) == 5
    assert make_plans(PRESETS["paper"], "mnli")[0].name == "mnli_1_model_0"


def test_presets_follow_the_paper() -> None:
    paper = PRESETS["paper"]
    assert paper.tasks == tuple(KNOWN)
    assert (paper.length, len(paper.models), paper.mask_attended, paper.neighbours) == (16, 25, False, 7)
    config = train_config(paper, make_plans(paper, "mnli")[0])
    assert config.batch_size * config.accumulation == 304
    assert (config.learning_rate, config.epochs, config.weight_decay) == (0.266, 5.0, 0.173)
    assert (config.schedule, config.warmup_steps, config.max_grad_norm, config.betas) == (
        "cosine",
        0,
        1.0,
        (0.803, 0.939),
    )
    assert PRESETS["fixed"].mask_attended
    start = fresh_prompt(paper, make_plans(paper, "imdb")[0]).bind(ps.load_model(MODELS[0])).vectors()
    assert start.std().item() == pytest.approx(1.0, abs=0.05)


def test_the_papers_own_data_are_read_as_the_text_says(shared_data: Path) -> None:
    tasks = load_tasks(Settings(tasks=("mnli", "imdb"), mask_attended=False, first_piece=True), shared_data)
    template = tasks["mnli"].template_for("masked")
    assert (template.source, template.mask_attended) == ("{bos}{text1};{text2}{sep}{mask}", False)
    assert tasks["imdb"].template_for("masked").source.endswith("{sep}{mask}")
    assert not tasks["imdb"].template_for("masked").mask_attended
    encoded = tasks["mnli"].encode(ps.load_model(MODELS[0]).tokenizer, "masked", "test", limit=2)
    assert not any(example.mask_attended for example in encoded)


def sorted_data(folder: Path) -> Path:
    """IMDb and MNLI as the Hub has them: all records of one label first."""
    labels = {"imdb": ("negative", "positive"), "mnli": ("entailment", "neutral", "contradiction")}
    for name, of_task in labels.items():
        (folder / name).mkdir(parents=True)
        texts = ("text",) if name == "imdb" else ("premise", "hypothesis")
        for split in ("train", "test"):
            rows = [{text: f"film {i}" for text in texts} | {"label": label} for label in of_task for i in range(30)]
            (folder / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_records_are_drawn_with_as_many_of_each_label(tmp_path: Path) -> None:
    settings = Settings(tasks=("imdb", "mnli"), train_limit=12, scored=12, first_piece=True)
    tasks = load_tasks(settings, sorted_data(tmp_path))
    for name, n in (("imdb", 6), ("mnli", 4)):
        for split in ("train", "test"):
            labels = [record.label for record in tasks[name].split(split)]
            assert set(pd.Series(labels).value_counts()) == {n}
        half = [record.label for record in tasks[name].split("test")[:6]]  # what a smaller limit takes later
        assert set(pd.Series(half).value_counts()) == {n // 2}
    again = load_tasks(settings, tmp_path)
    assert again["imdb"].split("train") == tasks["imdb"].split("train")
    other = load_tasks(replace(settings, data_seed=1), tmp_path)
    assert other["imdb"].split("train") != tasks["imdb"].split("train")


def test_a_plan_of_paper_draws_its_numbers_from_data_sorted_by_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder as the Hub has IMDb: sorted by label, its own names of the labels, numbers of classes, texts without."""
    names = ClassLabel(names=["neg", "pos"])
    label = {"train": [0] * 100 + [1] * 60, "test": [0] * 30 + [1] * 30, "unsupervised": [-1] * 5}
    copy = {
        split: Dataset.from_dict({"text": [f"film {i}" for i in range(len(of))], "label": of})
        for split, of in label.items()
    }
    DatasetDict({split: of.cast_column("label", names) for split, of in copy.items()}).save_to_disk(tmp_path / "imdb")
    options = ["--preset", "paper", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--plan"]
    changes = ['tasks=["imdb"]', "train_limit=40", "scored=10"]
    assert main(["train", *options, "--set", *changes]) == 0
    said = capsys.readouterr().out
    assert "40: 20 negative, 20 positive" in said and "10: 5 negative, 5 positive" in said
    # one step of 168 an epoch: 5 epochs for each of 25 + 25 + 15 + 8 prompts, and 5 each of 2, 10 and 20
    # models by steps: 5 x (25 + 25) of one, 25 x (2 + 5 + 10) of several, 5 x 8 of 5 varied, 5 x 5 x (2 + 10 + 20)
    assert f"88 runs, 525 steps, {(250 + 425 + 200 + 800) * 168:,} texts" in said
    assert not (tmp_path / "out").exists()


def test_a_batch_of_the_papers_size_goes_in_parts() -> None:
    for task, size in (("imdb", 168), ("emotion", 180), ("mnli", 304)):
        for preset in ("paper", "fixed"):
            config = train_config(PRESETS[preset], make_plans(PRESETS[preset], task)[0])
            assert (config.batch_size, config.batch_size * config.accumulation) == (4, size)
    # One setting for three batch sizes: only 1, 2 and 4 divide all of them.
    large = replace(PRESETS["paper"], micro_batch=50)
    for task, part, parts in (("imdb", 42, 4), ("emotion", 45, 4), ("mnli", 38, 8)):
        config = train_config(large, make_plans(large, task)[0])
        assert (config.batch_size, config.accumulation) == (part, parts)
    all_at_once = train_config(replace(large, micro_batch=1000), make_plans(large, "imdb")[0])
    assert (all_at_once.batch_size, all_at_once.accumulation) == (168, 1)
    assert train_config(Settings(), make_plans(Settings(), "continent_en")[0]).accumulation == 1


@pytest.mark.parametrize(
    "change",
    ["steps=-5", "neighbours=0", "learning_rate=-1", "counts=[0,2]", "durations=[-1.0]", "draws=0", "length=0"],
)
def test_numbers_out_of_range_are_refused_at_once(change: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected numbers (above|of at least) 0"):
        train(tmp_path / "out", change)
    assert not (tmp_path / "out").exists()


def test_prompts_that_learned_nothing_neither_lose_nor_transfer(out: Path) -> None:
    """Two steps teach nothing: that nothing is lost is then no finding."""
    found = pd.read_csv(out / "findings.csv").set_index("claim")
    for claim in ("one prompt for several models loses little", "nothing is transferred to other models"):
        assert found.loc[claim, "verdict"] == "not measured"
        assert "learned nothing" in found.loc[claim, "meaning"]


def test_a_small_share_of_tokens_with_one_model_is_no_splitting() -> None:
    """0.06 of the tokens that matter, matter to one model: whatever concentration says, not each has one."""
    shares = {"matter": [0.94, 0.9, 0.95], "one_only": [0.06, 0.1, 0.05], "one_only_null": [0.1, 0.11, 0.1]}
    found = _each_token_has_one_model("continent_ko", pd.DataFrame({"models": 5, **shares}))
    assert found.verdict == "does not hold" and found.number == pytest.approx(-0.43)
    wide = judge("c", "4.5", "sst2", Number(0.6, -4.05, 4.74), "m", p_value=0.01)
    assert wide.verdict == "undecided"  # an interval over zero, whatever a p-value says


def test_tokens_that_have_one_model_each_no_more_than_by_chance_are_no_splitting() -> None:
    shares = {"matter": [0.95, 0.96, 0.95], "one_only": [0.9, 0.95, 0.92], "one_only_null": [0.91, 0.94, 0.92]}
    table = pd.DataFrame({"models": 5, "to_one": 1.0, **shares})
    found = _each_token_has_one_model("imdb", table)
    assert found.low > 0 and found.verdict == "undecided"
    assert (found.null, found.beyond) == (pytest.approx(0.4233, abs=1e-3), pytest.approx(0.0, abs=1e-9))
    assert _each_token_has_one_model("imdb", table.assign(one_only_null=[0.5, 0.52, 0.51])).verdict == "holds"


def test_chance_gives_each_model_as_many_tokens() -> None:
    """Two models that need one of two tokens each: both the same one, or one each, equally often."""
    both = np.array([[True, False], [True, False]])
    assert _one_only_by_chance(both, 400) == pytest.approx(0.5, abs=0.1)
    assert _one_only_by_chance(np.array([[True, True], [False, False]]), 9) == 1.0


def noisy(name: str, kind: str, number: int, names: tuple[str, ...], gain: float) -> Measured:
    """A prompt of which no token matters; it lowers each model's loss by *gain*."""
    generator = np.random.default_rng(int(kind) * 100 + number)
    plan = Plan(name, "imdb", kind, number, tuple(range(len(names))), 16, 0, 0)
    before = {model: 5 + 0.2 * int(model) for model in [str(m) for m in range(12)]}
    own = np.array([before[model] for model in names]) - gain
    losses = own[:, None] + 1e-4 * generator.normal(size=(len(names), 16))
    measures = {"loss": losses, "difference": losses - own[:, None], "ratio": losses / own[:, None]}
    zero = {measure: SimpleNamespace(values=xr.DataArray(value)) for measure, value in measures.items()}
    rows = [
        (model, model in names, variant, 0, 16, loss - gain * (variant == "whole" and model in names), 0.5)
        for model, loss in before.items()
        for variant in ("initial", "whole", "masked", "random_masked")
    ]
    scores = pd.DataFrame(rows, columns=["model", "own", "variant", "draw", "n_kept", "loss", "accuracy"])
    votes = generator.integers(len(names), size=16).tolist()
    places = Places({"cosine": votes, "l2": votes}, {}, [])
    return Measured(plan, names, {"zero": SimpleNamespace(**zero)}, scores, places, None, 0.0)  # type: ignore[dict-item]


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_prompts_without_a_token_that_matters_support_no_claim(gain: float) -> None:
    """The largest of many models' losses is above the largest of few, so a "rise" was found where nothing matters."""
    found = {f"1_model_{m}": noisy(f"1_model_{m}", "1", m, (str(m),), gain + 1e-3 * gain * m) for m in range(12)}
    for count in (2, 5, 10):
        for i in range(5):
            models = tuple(sorted((str((i + j) % 12) for j in range(count)), key=int))
            found[f"{count}_model_{i}"] = noisy(f"{count}_model_{i}", str(count), i, models, gain)
    table = findings(found, run_table(found, 50), 200).set_index("claim")
    assert not (table["verdict"] == "holds").any()
    assert "learned nothing" in table.loc["one prompt for several models loses little", "meaning"]
    rise = table.loc["the loss without an important token rises with the number of models"]
    assert rise["verdict"] == ("undecided" if gain else "not measured")
    if not gain:
        assert (table["verdict"] == "not measured").all()
        assert table["meaning"].str.contains("learned nothing").all()
    assert not gain or (rise["number"] > 0.5 and rise["p_value"] < 0.05)  # the paper's number alone would hold


def test_random_tokens_of_an_equal_share_are_kept(out: Path) -> None:
    """Three tokens for two models: two are left to each, never none."""
    kept = json.loads(next((out / "measured" / "continent_en_2_model_0").glob("measured.json")).read_text())
    equal = [row for row in kept["value"]["scores"] if row[2] == "random_equal"]
    assert [row[4] for row in equal] == [2, 2]


def test_published_numbers_stand_beside_those_of_other_tasks() -> None:
    rows = [
        ("2", "mine mean", "", "0.5"),
        ("2", "mine std", "", "0.1"),
        ("2", "IMDb mean", "0.3", ""),
        ("9", "x", "1", ""),
    ]
    frame = pd.DataFrame(rows, columns=["row", "column", "published", "computed"])
    wide = beside_published(frame)
    assert wide.to_dict("records") == [
        {"row": "2", "mine": "0.5 ± 0.1", "IMDb, published": "0.3", "x, published": ""},
        {"row": "9", "mine": "", "IMDb, published": "", "x, published": "1"},
    ]


def test_half_of_the_tokens_go_where_they_are_needed() -> None:
    needed = np.array([5.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.2, 0.1, 0.0])
    assert taken_tokens(*needed).tolist() == [1, 2]
    assert taken_tokens(*needed[::-1]).tolist() == [0, 3]


@pytest.mark.slow
def test_the_smoke_preset_runs(tmp_path: Path) -> None:
    assert main(["train", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    scores = pd.read_csv(tmp_path / "accuracy.csv")
    joint = scores[scores["kind"] == "5"]
    assert joint["accuracy"].mean() > 0.9 > joint["frozen_accuracy"].mean()
