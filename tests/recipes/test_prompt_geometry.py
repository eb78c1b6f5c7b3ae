"""Prompt geometry: tables against naive loops, tests that find what is planted, the whole recipe on a small grid."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import promptscope as ps
from promptscope.training import grid as grid_module
from promptscope.training import jobs
from recipes.common import compare, read_published
from recipes.prompt_geometry import figures as figures_module
from recipes.prompt_geometry import scores as scores_module
from recipes.prompt_geometry.along import pairs_along
from recipes.prompt_geometry.claims import claim_table, factor_tests, label_test
from recipes.prompt_geometry.descriptions import description_match, names_one
from recipes.prompt_geometry.distances import kinds_of_pairs, panel_means, word_correlations
from recipes.prompt_geometry.figures import projection_table, projections
from recipes.prompt_geometry.grid import _path_of, load_tasks
from recipes.prompt_geometry.neighbourhoods import (
    closest_table,
    matched_epsilon,
    matched_prompt_epsilon,
    neighbour_tokens,
    neighbourhood_table,
    neighbourhoods_at,
    saturation,
    task_counts,
)
from recipes.prompt_geometry.paper_tables import MATCHED, counted_once, data_cells, paper_cells, without_counts
from recipes.prompt_geometry.regenerate import PUBLISHED
from recipes.prompt_geometry.run import main
from recipes.prompt_geometry.scores import behind_examples
from recipes.prompt_geometry.settings import PRESETS, Settings, as_the_code
from recipes.prompt_geometry.vectors import Geometry, geometry, steps
from tests.report.test_report import Page

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "prompt_geometry" / "run.py"
TASKS, WORDS, LENGTH = ("country_capital", "landmark_country", "present_past"), ("cat", "dog", "pen", "sun"), 2


def planted(by_word: float, by_task: float, seed: int = 0, d: int = 12) -> Geometry:
    """Make vectors out of noise and as much of their word's and of their task's direction."""
    generator = np.random.default_rng(seed)
    words, tasks = (dict(zip(names, generator.normal(size=(9, d)), strict=False)) for names in (WORDS, TASKS))
    rows = list(product(TASKS, WORDS, range(LENGTH)))
    x = np.stack([by_word * words[w] + by_task * tasks[t] + generator.normal(size=d) for t, w, _ in rows])
    vocabulary = np.concatenate([np.stack([words[w] for w in WORDS]), generator.normal(size=(40, d))])
    return Geometry(
        x=x,
        start=np.stack([words[w] for _, w, _ in rows]),
        labels=pd.DataFrame(rows, columns=["task", "word", "position"]),
        vocabulary=vocabulary,
        names=[f"token {i}" for i in range(len(vocabulary))],
        sample=np.arange(10, 30),
        words={word: i for i, word in enumerate(WORDS)},
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return 1.0 - float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def test_data_are_found_under_the_name_that_the_error_asks_for(tmp_path: Path) -> None:
    """`FOLDER/NAME holds the files of task NAME`, where NAME is fv/country-capital; without fv/ too."""
    for folder in (tmp_path / "a" / "fv" / "country-capital", tmp_path / "b" / "country-capital"):
        folder.mkdir(parents=True)
        assert _path_of("fv/country-capital", tmp_path / folder.relative_to(tmp_path).parts[0]) == folder
    assert _path_of("fv/country-capital", tmp_path) is None


def test_the_published_numbers_are_complete_and_the_data_are_the_papers(shared_data: Path) -> None:
    published = read_published(PUBLISHED)
    assert published["table"].value_counts().to_dict() == {"1": 10, "2": 6, "3": 36, "text": 15, "data": 12}
    cells = compare(published[published["table"] == "data"], data_cells(load_tasks(Settings(), shared_data / "fv")))
    assert cells["status"].unique().tolist() == ["equal"]


def test_tasks_are_found_in_the_folder_that_their_authors_publish(tmp_path: Path) -> None:
    rows = [{"input": f"country {i}", "output": f"city {i}"} for i in range(10)]
    (tmp_path / "abstractive").mkdir()
    (tmp_path / "abstractive" / "country-capital.json").write_text(json.dumps(rows), encoding="utf-8")
    tasks = load_tasks(Settings(tasks=("fv/country-capital",)), tmp_path)
    assert {name: len(task.split("test")) for name, task in tasks.items()} == {"country_capital": 2}
    template = tasks["country_capital"].template
    assert (template.source, template.target) == ("Input: {text}\nLabel: ", "{label}")


@pytest.mark.parametrize("settings", [Settings(tokens=20, epsilon=0.9), as_the_code(Settings(epsilon=0.9))])
def test_the_papers_cells_are_those_of_naive_loops(settings: Settings) -> None:
    where = planted(0.5, 0.5)
    cells = paper_cells(where, settings)
    x, pairs, n = where.x, settings.self_pairs, len(where.x)
    apart = {(i, j): 0.0 if i == j else cosine(x[i], x[j]) for i in range(n) for j in range(n)}
    kept = {at: value for at, value in apart.items() if pairs or at[0] != at[1]}
    labels = where.labels.to_dict("records")
    for table, factor, groups in (("1", "word", WORDS), ("2", "task", TASKS)):
        assert [row for row, _ in cells[table]] == list(groups)
        for (group, _), value in cells[table].items():
            naive = mean([d for (i, j), d in kept.items() if labels[i][factor] == labels[j][factor] == group])
            assert value == pytest.approx(naive)
    for (row, column), value in cells["3"].items():
        near = [(i, j) for (i, j), d in kept.items() if d < settings.table3_epsilon]
        assert value == sum(labels[i]["task"] == row and labels[j]["task"] == column for i, j in near)
    text, epsilon = cells["text"], settings.epsilon
    assert text["all prompts", "average cosine distance"] == pytest.approx(mean(list(kept.values())))
    near = [at for at, d in kept.items() if d < epsilon]
    assert text["prompt tokens", "prompts"] == pytest.approx(len(near) / n)
    for factor in ("word", "task", "position"):
        alike = sum(labels[i][factor] == labels[j][factor] for i, j in near)
        assert text["prompt tokens", f"same_{factor}"] == pytest.approx(alike / n)
    to_tokens = [[cosine(vector, token) for token in where.vocabulary] for vector in x]
    again = list(where.words.values()) if pairs else []  # the authors' list holds initial words twice
    around = sum(row[j] < epsilon for row in to_tokens for j in [*range(44), *again])
    assert text["prompt tokens", "vocabulary"] == pytest.approx(around / n)
    nearest = [min(row) for row in to_tokens]
    within = [d for d in nearest if d < epsilon]
    assert text["prompt tokens", "distance to the closest token"] == pytest.approx(mean(within))
    assert text["prompt tokens", "without a token in reach"] == n - len(within)
    closest = [min([d for (i, j), d in apart.items() if i == at and j != at] + [nearest[at]]) for at in range(n)]
    assert text["prompt tokens", "distance to the closest"] == pytest.approx(mean(closest))
    tokens = [*where.sample.tolist(), *where.words.values()]
    own = [
        sum(cosine(where.vocabulary[i], where.vocabulary[j]) < epsilon for j in [*range(44), *again] if pairs or i != j)
        for i in tokens
    ]
    assert text["tokens", "vocabulary"] == pytest.approx(mean(own))


def test_self_pairs_make_the_tables_low_by_the_known_factor() -> None:
    where = planted(0.5, 0.5)
    fixed, printed = (paper_cells(where, s) for s in (Settings(), as_the_code(Settings())))
    for table, size in (("1", len(TASKS) * LENGTH), ("2", len(WORDS) * LENGTH)):
        for cell, value in fixed[table].items():
            assert printed[table][cell] == pytest.approx(value * (size - 1) / size)


@pytest.mark.parametrize(("by_word", "by_task"), [(2.0, 0.0), (0.0, 2.0), (0.0, 0.0)])
def test_factor_tests_find_what_is_planted_and_nothing_else(by_word: float, by_task: float) -> None:
    p_values = [
        factor_tests(planted(by_word, by_task, seed), 99).set_index("same")["p_value"].to_dict() for seed in range(12)
    ]
    for factor, strength in (("word", by_word), ("task", by_task)):
        found = [p[factor] <= 0.05 for p in p_values]
        assert all(found) if strength else sum(found) <= 4


def test_the_null_moves_labels_within_their_group_only() -> None:
    """Against all 3! x 3! x 3! orders; runs of one group lie far apart, so other orders would have another mean."""
    generator = np.random.default_rng(0)
    within, labels = list("AAABBBCCC"), list("xyzxyzxyz")
    apart = generator.uniform(size=(9, 9)) + 5.0 * (np.array(within)[:, None] == np.array(within)[None, :])
    apart = apart + apart.T
    means = []
    for orders in product(permutations("xyz"), repeat=3):
        given = [label for order in orders for label in order]
        means.append(mean([apart[i, j] for i in range(9) for j in range(9) if i != j and given[i] == given[j]]))
    observed, shuffled, p_value = label_test(apart, labels, within, n_permutations=2000)
    assert observed == pytest.approx(
        mean([apart[i, j] for i in range(9) for j in range(9) if i != j and i % 3 == j % 3])
    )
    assert shuffled == pytest.approx(mean(means), abs=0.05)
    assert p_value == pytest.approx(sum(value <= observed + 1e-12 for value in means) / len(means), abs=0.05)


def test_pairs_are_counted_once_and_the_run_is_apart() -> None:
    where = planted(2.0, 0.5)
    kinds = kinds_of_pairs(where).set_index("pairs")
    assert kinds["n_pairs"].tolist() == [12, 48, 72, 144]
    assert kinds["n_pairs"].sum() == 24 * 23 / 2
    labels = where.labels.to_dict("records")
    word_only = [
        cosine(where.x[i], where.x[j])
        for i in range(24)
        for j in range(i)
        if labels[i]["word"] == labels[j]["word"] and labels[i]["task"] != labels[j]["task"]
    ]
    measured = kinds.loc["same word, other task", "average cosine distance"]
    assert measured == pytest.approx(mean(word_only))


def test_correlations_of_noise_are_not_called_significant_by_every_p_value() -> None:
    table = word_correlations(planted(0.0, 0.0), 99)
    assert len(table) == 6 and table["n_distances"].unique().tolist() == [15]
    assert (table["as_printed"] > table["correlation"]).all()  # the zeros of the diagonal push it up
    assert (table["mantel_p"] > 0.05).any() and (table["within_position_p"] > 0.05).any()
    strong = word_correlations(planted(0.0, 9.0), 99)
    assert (strong["mantel_p"] < 0.1).all() and strong["correlation"].min() > 0.5


def test_claims_follow_the_numbers() -> None:
    words, tasks = (
        claim_table(planted(*s), Settings(permutations=199, prompt_epsilon=0.9)) for s in ((3.0, 0.0), (0.0, 3.0))
    )
    for table, expected in ((words, "holds"), (tasks, "does not hold")):
        over = table[table["where"] == "over 3 tasks"].set_index(["claim", "reading"])["verdict"]
        for reading in ("fixed", "paper code"):
            assert over["same word closer than same task", reading] == expected
    over = tasks[tasks["where"] == "over 3 tasks"].set_index(["claim", "reading"])
    assert over.loc[("same task closer than all prompts", "fixed"), "verdict"] == "holds"
    by_task = tasks[(tasks["claim"] == "same task closer than all prompts") & (tasks["reading"] == "fixed")]
    assert by_task["where"].tolist() == [*TASKS, "over 3 tasks"]
    naive = [_task_less_all(planted(0.0, 3.0), task) for task in TASKS]
    np.testing.assert_allclose(by_task["number"], [*naive, mean(naive)])


def _task_less_all(where: Geometry, task: str) -> float:
    """All other runs, less other runs of the task: mean over its words, by loops over vectors."""
    labels = where.labels.to_dict("records")
    runs = list(product(TASKS, WORDS))

    def apart(one: tuple[str, str], other: tuple[str, str]) -> float:
        a, b = ([i for i, r in enumerate(labels) if (r["task"], r["word"]) == run] for run in (one, other))
        return mean([cosine(where.x[i], where.x[j]) for i in a for j in b])

    found = []
    for word in WORDS:
        others = [run for run in runs if run != (task, word)]
        found.append(
            mean([apart((task, word), run) for run in others])
            - mean([apart((task, word), run) for run in others if run[0] == task])
        )
    return mean(found)


def test_a_claim_with_a_large_p_does_not_hold() -> None:
    """Where nothing is planted, no claim about the word or the task holds, whatever its mean says."""
    held = 0
    for seed in range(6):
        table = claim_table(planted(0.0, 0.0, seed), Settings(permutations=99, prompt_epsilon=0.9))
        fixed = table[(table["reading"] == "fixed") & table["p_value"].notna()]
        assert not ((fixed["verdict"] == "holds") & (fixed["p_value"] >= 0.05)).any()
        held += int((fixed["verdict"] == "holds").sum())
    assert held <= 1


def test_training_that_changed_nothing_cannot_be_what_a_claim_says() -> None:
    where = planted(0.5, 3.0)
    still = replace(where, start=where.x)
    table = claim_table(still, Settings(permutations=99, prompt_epsilon=0.9))
    over = table[(table["where"] == "over 3 tasks") & (table["reading"] == "fixed")].set_index("claim")
    claim = "same task closer than all prompts"
    assert over.loc[claim, "number"] == pytest.approx(over.loc[claim, "null"]) and over.loc[claim, "low"] > 0
    assert over.loc[claim, "verdict"] != "holds"


def test_a_grid_that_is_too_small_says_so_and_judges_nothing() -> None:
    where = planted(0.5, 0.5)
    assert saturation(where) == "24 vectors cannot have 69.8 others around them"
    table = claim_table(where, Settings(permutations=19, prompt_epsilon=0.7), matched_prompts=True)
    saturated = table[table["section"] == "3.2.2, Table 3"]
    assert set(saturated["verdict"]) == {"not measured"} and saturated["meaning"].str.contains("24 vectors").all()
    share = neighbourhood_table(where, matched_prompt_epsilon(where), False).set_index("of").loc["prompt tokens"]
    assert share["prompts"] == pytest.approx(23 * 69.8 / 239, abs=0.1)
    cells = without_counts(paper_cells(where, Settings(epsilon=0.9)))
    assert not cells["3"] and ("prompt tokens", "prompts") not in cells["text"]


def test_the_bars_of_figures_3_and_5_are_pairs_of_positions_tasks_and_words() -> None:
    """As in the authors' notebook (cells 9 and 10): by naive loops, with and without self-pairs."""
    where = planted(0.5, 0.5)
    labels = where.labels.to_dict("records")
    for metric, apart in (("cosine", cosine), ("l2", lambda a, b: float(np.linalg.norm(a - b)))):
        for pairs in (False, True):
            panels = panel_means(where, metric, pairs)
            assert [len(bars) for bars in panels.values()] == [12, 8, 6]
            fixed = (("task", "word"), ("word", "position"), ("task", "position"))
            for bars, factors in zip(panels.values(), fixed, strict=True):
                for name, value in bars.items():
                    at = [i for i, r in enumerate(labels) if ", ".join(str(r[f]) for f in factors) == name]
                    kept = [apart(where.x[i], where.x[j]) for i in at for j in at if pairs or i != j]
                    assert value == pytest.approx(mean(kept), abs=1e-7)
    full = Settings()
    assert [len(full.tasks) * len(full.words), len(full.words) * full.length, len(full.tasks) * full.length] == [
        60,
        40,
        24,
    ]


def test_printed_numbers_are_compared_less_what_they_count_twice() -> None:
    printed = read_published(PUBLISHED)
    once = counted_once(printed).set_index(["table", "row", "column"])["published"]
    assert once["1", "cat", "average cosine distance"] == "0.570"  # 0.546 of 24 vectors with themselves
    assert once["3", "present_past", "present_past"] == "56" < once["3", "present_past", "singular_plural"] == "74"
    text = {column: once["text", "prompt tokens", column] for column in ("prompts", "same_word", "same_task")}
    assert text == {"prompts": "69.80", "same_word": "19.7", "same_task": "16.99"}
    assert once["text", "tokens", "vocabulary"] == "35.57"
    assert once["text", "prompt tokens", "vocabulary"] == "15.68"
    assert once["data", "present_past", "train"] == "234"


def test_the_papers_counts_hold_the_token_itself_and_initial_words_twice() -> None:
    where = planted(0.5, 0.5)
    around = {pairs: neighbourhood_table(where, 0.7, pairs).set_index("of") for pairs in (False, True)}
    tokens = [*where.sample.tolist(), *where.words.values()]
    listed = [*range(len(where.vocabulary)), *where.words.values()]
    for pairs, table in ((True, listed), (False, list(range(len(where.vocabulary))))):
        naive = [
            sum(cosine(where.vocabulary[i], where.vocabulary[j]) < 0.7 for j in table if pairs or i != j)
            for i in tokens
        ]
        assert around[pairs].loc["tokens", "vocabulary"] == pytest.approx(mean(naive))


def test_a_matched_number_is_no_comparison(tmp_path: Path) -> None:
    numbers = read_published(PUBLISHED).query("table == 'text'")
    frame = compare(numbers, {("tokens", "vocabulary"): 36.66, ("prompt tokens", "same_word"): 20.7}, matched=MATCHED)
    status = frame.set_index(["row", "column"])["status"]
    assert status["tokens", "vocabulary"] == "matched" and status["prompt tokens", "same_word"] == "equal"


def test_what_training_added_is_apart_from_where_it_started() -> None:
    where = planted(1.0, 0.5)
    added = steps(where)
    np.testing.assert_allclose(added.x + where.start, where.x)
    strong, weak = (factor_tests(one, 199).set_index("same")["p_value"] for one in (where, added))
    assert strong["word"] == pytest.approx(1 / 200) and weak["word"] > 1 / 200


def test_pairs_along_training_begin_at_the_words_and_end_at_the_prompts(tmp_path: Path) -> None:
    model, config = ps.load_model("embedded-causal"), ps.TrainConfig(steps=4, batch_size=4, snapshot_every=2)
    grid = {
        (task, word): ps.GridRun(ps.SoftPrompt(2, f"text: {word}"), ps.load_task(task), config)
        for task in ("plural_en", "past_en")
        for word in ("book", "city")
    }
    done = ps.train_grid(model, {"-".join(key): run for key, run in grid.items()}, tmp_path, progress=False)
    runs = {key: done["-".join(key)] for key in grid}
    where = geometry(model, runs, Settings(words=(" book", " city"), length=2, tokens=20))
    along = pairs_along(where, runs, stages=4)
    assert along["share"].unique().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    start, end = (along[along["share"] == share].set_index("pairs") for share in (0.0, 1.0))
    np.testing.assert_allclose(end["average cosine distance"], kinds_of_pairs(where)["average cosine distance"])
    assert start.loc["same word, other task", "average cosine distance"] == pytest.approx(0.0, abs=1e-6)
    book, city = (run.snapshots[0].vectors()[0].detach().numpy() for run in list(runs.values())[:2])
    measured = start.loc["same task, other word", "average cosine distance"]
    assert measured == pytest.approx(cosine(book, city), abs=1e-5)


def test_descriptions_are_held_against_those_of_other_tasks() -> None:
    assert [names_one(["Rome", "Oslo"])(text) for text in ("rome, Italy", "Romeo", "")] == [1.0, 0.0, 0.0]
    tasks = ["a", "b", "c", "d", "e"]
    rows = [
        {"task": task, **{f"subject of {other}": 0.7 if other == task else 0.2 for other in tasks}} for task in tasks
    ]
    rows = [row | {f"answers of {other}": 0.2 for other in tasks} for row in rows]
    table = description_match(pd.DataFrame(rows), tasks, Settings(permutations=199)).set_index("score")
    assert table.loc["subject", ["matched", "mismatched"]].tolist() == pytest.approx([0.7, 0.2])
    assert table.loc["subject", "p_value"] < 0.05 < table.loc["answers", "p_value"] == 1.0
    assert description_match(pd.DataFrame(rows), tasks[:1], Settings()).empty


def test_a_picture_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: Any, **settings: Any) -> None:
        raise ImportError("no umap")

    monkeypatch.setattr(figures_module, "umap_projection", absent)
    made = projections(planted(1.0, 1.0), 0)
    table = projection_table(made).set_index("method")
    assert table.loc["t-SNE", "trustworthiness"] == made["figure_4_tsne"].trustworthiness
    assert "not installed" in table.loc["UMAP", "note"] and np.isnan(table.loc["UMAP", "trustworthiness"])
    monkeypatch.setattr(figures_module, "umap_projection", lambda x, seed: made["pca"])
    drawn = projections(planted(1.0, 1.0), 0)
    assert list(drawn) == ["figure_4_tsne", "pca", "umap"] and projection_table(drawn)["note"].eq("").all()


def test_the_matched_epsilon_gives_random_tokens_the_papers_number_of_neighbours() -> None:
    where = planted(0.5, 0.5)
    for n in (1.0, 5.5, 20.0):
        around = neighbourhood_table(where, matched_epsilon(where, n), self_pairs=False).set_index("of")
        assert around.loc["tokens", "vocabulary"] == pytest.approx(n, abs=0.05)
    for n in (1.0, 5.5, 20.0):
        around = neighbourhood_table(where, matched_prompt_epsilon(where, n), self_pairs=False).set_index("of")
        assert around.loc["prompt tokens", "prompts"] == pytest.approx(n, abs=0.1)
    each = neighbourhoods_at(where, Settings(epsilon=0.5, prompt_epsilon=0.9))
    assert each["epsilon"].tolist() == [0.5] * 4 + [0.9] * 4 + [0.7] * 4
    pd.testing.assert_frame_equal(
        each[4:8].drop(columns="epsilon").reset_index(drop=True), neighbourhood_table(where, 0.9, False)
    )
    all_of_them = neighbourhood_table(where, matched_epsilon(where, 1e6), False).set_index("of")
    assert all_of_them.loc["tokens", "vocabulary"] > 42


def test_neighbour_tokens_name_each_token_with_the_prompts_around_it() -> None:
    where = planted(1.0, 0.0)
    table = neighbour_tokens(where, 0.6).set_index("token_id")
    for token in range(len(where.vocabulary)):
        distances = [cosine(vector, where.vocabulary[token]) for vector in where.x]
        near = [d for d in distances if d < 0.6]
        assert (token in table.index) == bool(near)
        if near:
            assert table.loc[token, "n_prompt_tokens"] == len(near)
            assert table.loc[token, "nearest_distance"] == pytest.approx(min(near))
    assert len(neighbour_tokens(where, 1e-9)) == 0
    assert neighbourhood_table(where, 1e-9, False)["neighbours"].tolist() == [0.0] * 4
    assert np.isnan(closest_table(where, 1e-9)["vocabulary_within"]).all()
    assert np.diag(task_counts(where, 1e-9, True)).tolist() == [8, 8, 8]


def test_examples_are_written_as_the_template_writes_them() -> None:
    record = ps.tasks.Record("a", {"text": "cat {"}, label="cats", references=("cats",))
    template = ps.Template("{bos}In: {text}\nOut:", " {label}{eos}")
    behind = behind_examples(template, [record, record])
    assert behind.source == "{bos}In: cat {{\nOut: cats\n\nIn: cat {{\nOut: cats\n\nIn: {text}\nOut:"
    assert behind.target == template.target
    assert behind_examples(ps.Template("{text}{sep}", "{label}"), [record]).source == "cat {{{sep}cats\n\n{text}{sep}"


def test_a_model_that_copies_is_helped_by_examples() -> None:
    """Behind examples with one label the frozen model finds that label likelier: the examples are read."""
    model = ps.load_model("embedded-causal")
    task = load_tasks(PRESETS["smoke"], None)["plural_en"]
    fixed = replace(task.split("train")[0], label="cities", references=("cities",))
    same = replace(task, splits={"train": (fixed,) * 4, "test": (fixed,)}, source=None)
    settings = replace(PRESETS["smoke"], scored=1, shots=4)
    alone = scores_module.frozen_scores(model, {"a": same}, settings)["loss"][0]
    assert scores_module.in_context_scores(model, {"a": same}, settings)["loss"][0] < alone / 2


OPTIONS = [
    "--set", "steps=4", 'words=[" book", " city", " film"]', "length=2", "scored=4", "permutations=19",
    "snapshots=2", "null_draws=1", "patch_layers=1", "tokens=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("geometry")
    assert main(["--out", str(out), *OPTIONS]) == 0
    return out


@pytest.mark.slow
def test_the_whole_recipe_ends_with_tables_figures_and_a_page(small: Path) -> None:
    about = json.loads((small / "results.json").read_text(encoding="utf-8"))
    assert about["runs"] == 6 and about["settings"]["steps"] == 4
    named = {path.name for path in small.iterdir()}
    assert {f"table_{name}.csv" for name in ("1", "2", "3", "text", "data")} <= named
    drawn = {path.stem for path in (small / "figures").glob("*.html")}
    wanted = {"figures_1_and_2", "figure_3", "figure_5", "task_neighbours", "where_prompts_move", "pca_by_task"}
    assert wanted | {"figure_4_tsne_by_word", "figure_4_tsne_by_task"} <= drawn
    text = (small / "figures" / "figure_4_tsne_by_word.html").read_text(encoding="utf-8")
    assert "position: 1" in text and "nearest: " in text and "task: plural_en" in text
    page = Page((small / "report.html").read_text(encoding="utf-8"))
    assert page is not None
    scores = pd.read_csv(small / "scores.csv")
    assert sorted(scores["step"].unique()) == [0, 2, 4] and len(scores) == 18
    assert pd.read_csv(small / "accuracy.csv")["in_context_loss"].notna().all()
    moves = pd.read_csv(small / "trajectories.csv")
    starts = moves[moves["step"] == 0]
    assert starts["at_word"].all() and (starts["l2_from_start"] == 0).all()
    assert (moves.loc[moves["step"] == 4, "l2_from_start"] > 0).all()
    readings = pd.read_csv(small / "readings.csv")
    assert set(readings["reading"]) == {"nearest tokens", "logit lens", "patchscope"}
    assert readings[["random", "untrained", "wayward"]].notna().all(axis=None)
    said = readings[readings["reading"] == "patchscope"]
    assert said[["control", "unpatched"]].notna().all(axis=None)
    assert set(said["quantity"].str.partition(",")[0]) == {"subject", "answers", "wayward text"}
    descriptions, best = (pd.read_csv(small / f"{name}descriptions.csv") for name in ("", "best_"))
    assert set(descriptions["kind"]) == {"prompt", "wayward", "untrained", "random"}
    assert len(best) == 8 and (best["n_same"] >= 1).all()  # two tasks, four kinds
    held = pd.read_csv(small / "wayward.csv")
    assert held["task"].tolist() == ["plural_en", "past_en"]
    assert held["at_text"].tolist() == [1.0, 1.0]  # after four steps from it
    assert (held["l2_from_text"] > 0).all()
    along = pd.read_csv(small / "pairs_along.csv")
    assert along["share"].unique().tolist() == [0.0, 0.5, 1.0]
    assert pd.read_csv(small / "projections.csv")["method"].tolist() == ["t-SNE", "pca", "UMAP"]


@pytest.mark.slow
def test_again_nothing_is_trained_or_scored_and_the_tables_are_the_same(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in small.glob("*.csv")}
    evaluate, scored = ps.evaluate, []

    def counting(model: ps.HookedModel, prompt: ps.Prompt | None, task: ps.Task, *args: Any, **settings: Any) -> Any:
        scored.append(prompt)
        return evaluate(model, prompt, task, *args, **settings)

    monkeypatch.setattr(grid_module, "accumulate_gradients", None)
    monkeypatch.setattr(scores_module.ps, "evaluate", counting)
    assert main(["--out", str(small), *OPTIONS]) == 0
    assert scored == [None] * 4  # the frozen model, for each task, alone and behind examples
    assert {path.name: path.read_bytes() for path in small.glob("*.csv")} == before


@pytest.mark.slow
def test_worker_processes_go_on_with_the_same_folder(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "load_model", None)  # all is finished: no worker needs one
    table = pd.read_csv(small / "table_1.csv").set_index("row")["computed"].dropna()
    assert main(["--out", str(small), *OPTIONS, "padding=right", "--jobs", "1", "--paper-code"]) == 0
    printed = pd.read_csv(small / "table_1.csv").set_index("row")["computed"].dropna()
    np.testing.assert_allclose(printed, table * 3 / 4, atol=1e-3)


@pytest.mark.slow
def test_the_authors_padding_trains_other_prompts(small: Path, tmp_path: Path) -> None:
    few = [*OPTIONS, "readings=0", "snapshots=1"]
    assert main(["--out", str(tmp_path), *few, "--paper-code"]) == 0
    runs = [ps.load_run(folder / "runs" / "past_en-book") for folder in (small, tmp_path)]
    assert [run.config.padding for run in runs] == ["right", "left"]
    moved = (runs[0].prompt.vectors() - runs[1].prompt.vectors()).norm().item()
    assert moved > 1e-3 * runs[0].prompt.vectors().norm().item()


@pytest.mark.slow
def test_runs_that_fail_are_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), *OPTIONS, "learning_rate=1e36", "readings=0"]) == 1
    failed = pd.read_csv(tmp_path / "failed.csv")
    assert len(failed) == 6 and set(failed["error"]) == {"RunError"}
    assert failed["reason"].str.contains("training stopped at step").all()
    assert "6 runs failed" in capsys.readouterr().out
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_help_names_the_options() -> None:
    done = subprocess.run([sys.executable, str(RECIPE), "--help"], capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("--preset", "smoke", "paper", "--paper-code", "--jobs"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--set", 'words=["extraordinary"]'], "must be one token"),
        (["--preset", "small"], "--data FOLDER"),
        (["--preset", "small", "--data", "nowhere"], "nowhere has nothing"),
    ],
)
def test_what_is_missing_is_said(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "out"), *options]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plan_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["--preset", "smoke", "--out", str(out), "--plan", "--set", "steps=60"]) == 0
    # two tasks, each from four words and near an unrelated text
    assert "10 runs, 600 steps, 4,800 texts" in capsys.readouterr().out
    assert not out.exists()


def test_presets_are_what_the_paper_trained() -> None:
    paper = PRESETS["paper"]
    assert (paper.length, paper.epochs, paper.batch_size, len(paper.tasks), len(paper.words)) == (4, 50, 8, 6, 10)
    assert (paper.learning_rate, paper.weight_decay) == (1e-3, 0.01)
    assert (
        not paper.self_pairs
        and as_the_code(paper).self_pairs
        and as_the_code(paper).table3_epsilon == pytest.approx(0.5)
    )
