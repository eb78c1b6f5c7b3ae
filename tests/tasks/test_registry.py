"""Tasks by name: the embedded ones, the known data sets (local files and the Hub's columns), and paths."""

import json
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset

from promptscope.errors import TaskError
from promptscope.tasks import Task, list_tasks, load_task, registry
from promptscope.tasks.known import KNOWN

NOT_AT_HAND = {"klue_ynat", "qqp", "rte", "stsb_score", "paws_wiki", "scitail", "yelp_polarity"}
# MultiRC's samples count passages, not answers: it has a test of its own.
LOCAL = [n for n in KNOWN if n not in NOT_AT_HAND and not n.startswith("mrqa/") and n != "superglue/multirc"]


def write(folder: Path, rows: list[dict], split: str = "train") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", LOCAL)
def test_every_known_data_set_loads_from_its_local_sample(name: str, shared_data: Path, mgpt) -> None:
    counts = json.loads((shared_data / name / "META.json").read_text(encoding="utf-8"))["counts"]
    task = load_task(name, path=shared_data / name)
    total = sum(len(records) for records in task.splits.values()) + sum(task.dropped.values())
    assert total == sum(counts.values())
    assert task.language == KNOWN[name].language
    if task.verbalizer is not None:
        seen = {record.label for records in task.splits.values() for record in records}
        assert seen == set(task.verbalizer.labels)
    assert len(task.encode(mgpt, "causal", "test", limit=20)) == 20


@pytest.mark.slow
def test_known_labels_against_the_published_counts(shared_data: Path) -> None:
    def count(name: str, split: str, ties: str = "drop") -> dict[str, int]:
        records = load_task(name, path=shared_data / name, ties=ties).split(split)
        return {label: sum(r.label == label for r in records) for label in sorted({r.label for r in records})}

    # counts of the files' META.json, and of Tables 4 and 5 of the multilingual-GPT paper: its STS counts
    # (KLUE 220/299, STS-B validation 629/871; KorSTS is its translation) hold the 3.0s among the similar
    assert count("sst2", "test") == {"negative": 428, "positive": 444}
    assert count("klue_sts", "test", "above") == {"dissimilar": 299, "similar": 220}
    assert count("kor_sts", "validation", "above") == {"dissimilar": 871, "similar": 629}
    assert count("kor_sts", "validation") == {"dissimilar": 871, "similar": 543}
    assert count("kor_sts", "validation", "below") == {"dissimilar": 871 + 86, "similar": 543}
    assert load_task("kor_sts", path=shared_data / "kor_sts").dropped["validation"] == 86


def test_known_words_are_the_papers(shared_data: Path) -> None:
    task = load_task("klue_nli", path=shared_data / "klue_nli")
    assert task.verbalizer.words == {"entailment": "함의", "contradiction": "모순", "neutral": "중립"}
    assert (task.template.name, task.metrics[0], task.max_length) == ("pair", "macro_f1", 150)
    assert load_task("ag_news", path=shared_data / "ag_news").verbalizer.word("Sci/Tech") == "scitech"


def test_function_vector_sets_are_split_as_in_the_prompt_geometry_paper(shared_data: Path) -> None:
    task = load_task("fv/landmark-country", path=shared_data / "fv" / "landmark-country")
    assert {name: len(records) for name, records in task.splits.items()} == {"train": 668, "test": 168}
    again = load_task("fv/landmark-country", path=shared_data / "fv" / "landmark-country" / "all.jsonl")
    assert again.splits == {
        name: tuple(type(r)(r.id.replace("all", "train"), r.fields, r.label, r.references) for r in records)
        for name, records in task.splits.items()
    }


def test_question_answering_has_all_answers_and_no_answer(shared_data: Path) -> None:
    records = load_task("squad2", path=shared_data / "squad2").split("test")
    unanswerable = [record for record in records if record.references == ("",)]
    assert len(unanswerable) == 320
    assert all(record.label == "" for record in unanswerable)
    assert records[0].references == ("France",)
    assert max(len(record.references) for record in records) > 2
    # the gold answers score full marks by the official rules
    task = load_task("squad2", path=shared_data / "squad2")
    assert task.score([record.references[-1] for record in records], "test")["squad_f1"] == 1


def test_multirc_has_a_record_for_each_answer(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "superglue/multirc/test.jsonl").read_text().splitlines()]
    answers = [a for row in rows for question in row["passage"]["questions"] for a in question["answers"]]
    records = load_task("superglue/multirc", path=shared_data / "superglue" / "multirc").split("test")
    assert [r.label for r in records] == [str(bool(a["label"])) for a in answers] and len(records) > len(rows)
    assert rows[0]["passage"]["questions"][0]["question"] in records[0].text("text")


def test_scores_are_written_in_steps_and_compared_as_they_are(shared_data: Path) -> None:
    task = load_task("stsb_score", path=shared_data / "stsb")
    records = task.split("test")
    assert all(float(r.label or 0) == pytest.approx(round(float(r.references[0]) * 5) / 5) for r in records)
    assert 0.99 < task.score([r.label for r in records], "test")["pearson"] < 1


def test_one_set_of_a_source_of_several(tmp_path: Path) -> None:
    rows = [{"subset": s, "context": s, "question": "q", "answers": ["a"]} for s in ("SQuAD", "NewsQA", "SQuAD")]
    for split in ("train", "test"):
        write(tmp_path, rows, split)
    assert [r.text("text1") for r in load_task("mrqa/squad", tmp_path).split("train")] == ["SQuAD", "SQuAD"]
    with pytest.raises(TaskError, match="needs rows with subset 'SearchQA', but the rows have NewsQA, SQuAD"):
        load_task("mrqa/searchqa", tmp_path)


def test_an_empty_answer_is_right_in_squad_2_and_never_in_mrqa() -> None:
    rows = [{"text1": "c", "text2": "q", "references": ["the"]}]
    task = Task.from_records(rows, "pair", metric=["squad", "mrqa"])
    scores = task.score([""], "train")
    assert scores["squad_f1"] == 1.0 and scores["mrqa_f1"] == 0.0
    assert task.score(["the red the"], "train")["mrqa_f1"] == 0.0


def test_folder_that_names_a_known_set_is_read_as_that_one(shared_data: Path) -> None:
    assert load_task(shared_data / "nsmc").verbalizer.words == {"positive": "긍정", "negative": "부정"}


@pytest.mark.parametrize(
    ("name", "split", "columns", "names", "expected"),
    [
        ("sst2", "validation", {"sentence": ["a b"], "label": [1], "idx": [0]}, ["negative", "positive"], "positive"),
        ("ag_news", "test", {"text": ["x"], "label": [3]}, ["World", "Sports", "Business", "Sci/Tech"], "Sci/Tech"),
        ("nsmc", "test", {"id": ["8"], "document": ["x"], "label": [1]}, ["negative", "positive"], "positive"),
        ("nsmc", "test", {"id": ["8"], "document": ["x"], "label": [1]}, None, "positive"),
        ("imdb", "test", {"text": ["x"], "label": [0]}, ["neg", "pos"], "negative"),
        ("mrpc", "test", {"sentence1": ["x"], "sentence2": ["y"], "label": [1]}, ["not_equivalent", "equivalent"],
         "paraphrase"),
        ("stsb", "validation", {"sentence1": ["x"], "sentence2": ["y"], "label": [4.5]}, None, "similar"),
        ("klue_sts", "validation", {"guid": ["g"], "sentence1": ["x"], "sentence2": ["y"],
                                    "labels": [{"label": 1.2, "real-label": 1.1, "binary-label": 0}]},
         None, "dissimilar"),
        ("klue_ynat", "validation", {"guid": ["g"], "title": ["x"], "label": [2]},
         ["IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"], "사회"),
        ("pawsx_ko", "test", {"id": [1], "sentence1": ["x"], "sentence2": ["y"], "label": [0]}, ["0", "1"],
         "different"),
        ("winogrande", "validation", {"sentence": ["a _"], "option1": ["x"], "option2": ["y"], "answer": ["2"]}, None,
         "2"),
        ("superglue/boolq", "validation", {"question": ["x"], "passage": ["y"], "label": [1]}, ["False", "True"],
         "True"),
        ("qqp", "validation", {"question1": ["x"], "question2": ["y"], "label": [1]}, ["not_duplicate", "duplicate"],
         "duplicate"),
        ("rte", "validation", {"sentence1": ["x"], "sentence2": ["y"], "label": [1]}, ["entailment", "not_entailment"],
         "not_entailment"),
        ("stsb_score", "validation", {"sentence1": ["x"], "sentence2": ["y"], "label": [3.75]}, None, "3.8"),
        ("paws_wiki", "test", {"id": [1], "sentence1": ["x"], "sentence2": ["y"], "label": [1]}, ["0", "1"],
         "paraphrase"),
        ("scitail", "test", {"premise": ["x"], "hypothesis": ["y"], "label": ["entails"]}, None, "entailment"),
        ("yelp_polarity", "test", {"text": ["x"], "label": [1]}, ["1", "2"], "positive"),
        ("mrqa/nq", "validation", {"subset": ["NaturalQuestionsShort"], "context": ["c"], "question": ["q"],
                                   "answers": [["A", "B"]]}, None, "A"),
        ("superglue/multirc", "validation", {"paragraph": ["p"], "question": ["q"], "answer": ["a"], "label": [1]},
         ["False", "True"], "True"),
        ("superglue/copa", "validation", {"premise": ["p"], "choice1": ["x"], "choice2": ["y"], "question": ["cause"],
                                          "label": [1]}, ["choice1", "choice2"], "2"),
        ("superglue/wsc", "validation", {"text": ["t"], "span1_text": ["x"], "span2_text": ["it"], "label": [0]},
         ["False", "True"], "False"),
        ("squad2", "validation", {"id": ["q"], "context": ["c"], "question": ["?"],
                                  "answers": [{"text": ["A", "B"], "answer_start": [0, 1]}]}, None, "A"),
        ("commongen", "validation", {"concept_set_idx": [0], "concepts": [["dog", "run"]], "target": ["A dog runs."]},
         None, "A dog runs."),
    ],
)  # fmt: skip
def test_hub_columns(name, split, columns, names, expected, monkeypatch) -> None:
    asked = []

    def fake(repo, config=None, split=None, revision=None):
        asked.append((repo, config, split, revision))
        dataset = Dataset.from_dict(columns)
        return dataset.cast_column("label", ClassLabel(names=names)) if names else dataset

    monkeypatch.setattr(datasets, "load_dataset", fake)
    task = load_task(name)
    assert {record.label for records in task.splits.values() for record in records} == {expected}
    repo, _, revision = KNOWN[name].hub.partition("@")
    assert all((r, v) == (repo, revision or None) for r, _, _, v in asked)
    assert split in [s for _, _, s, _ in asked]


def test_hub_rows_without_a_gold_label_are_left_out_and_counted(monkeypatch) -> None:
    columns = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, -1]}
    features = ClassLabel(names=["entailment", "neutral", "contradiction"])
    dataset = Dataset.from_dict(columns).cast_column("label", features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: dataset)
    task = load_task("snli")
    assert [record.label for record in task.split("test")] == ["entailment"]
    assert task.dropped == {"train": 1, "validation": 1, "test": 1}


HIDDEN = {"sst2": "sentence", "imdb": "text"}


@pytest.mark.parametrize("name", ["sst2", "imdb"])
def test_a_saved_copy_of_the_hubs_data_set_without_its_hidden_split(name: str, tmp_path: Path) -> None:
    """GLUE's test split and IMDb's `unsupervised` have no label; the copy was refused for them."""
    hidden = "test" if name == "sst2" else "unsupervised"
    names = ["negative", "positive"] if name == "sst2" else ["neg", "pos"]
    splits = {
        split: Dataset.from_dict({HIDDEN[name]: ["a", "b"], "label": [0, 1] if split != hidden else [-1, -1]})
        for split in ("train", "validation", hidden)
    }
    copy = datasets.DatasetDict({s: d.cast_column("label", ClassLabel(names=names)) for s, d in splits.items()})
    copy.save_to_disk(tmp_path / name)
    task = load_task(name, tmp_path / name)
    assert {split: [record.label for record in records] for split, records in task.splits.items()} == {
        split: ["negative", "positive"] for split in ("train", "validation")
    }
    assert task.dropped == {hidden: 2}
    with pytest.raises(TaskError, match=f"The 2 records of '{hidden}' have no labels"):
        task.split(hidden)


def test_a_saved_copy_has_the_hubs_names_of_splits(tmp_path: Path) -> None:
    labels = ClassLabel(names=["entailment", "neutral", "contradiction"])
    splits = {
        "train": 0,
        "validation_matched": 1,
        "validation_mismatched": 2,
        "test_matched": -1,
        "test_mismatched": -1,
    }
    rows = {name: {"premise": ["a"], "hypothesis": ["b"], "label": [label]} for name, label in splits.items()}
    copy = {name: Dataset.from_dict(row).cast_column("label", labels) for name, row in rows.items()}
    datasets.DatasetDict(copy).save_to_disk(tmp_path / "mnli")
    task = load_task("mnli", tmp_path / "mnli")
    assert [record.label for record in task.split("test")] == ["neutral"]  # as from the Hub: `validation_matched`
    assert set(task.splits) == {"train", "test", "validation_mismatched"}


def test_sentences_to_write_that_are_hidden_are_no_answers(tmp_path: Path) -> None:
    rows = {"concepts": [["dog", "run"]], "target": ["A dog runs."]}
    copy = {split: Dataset.from_dict(rows) for split in ("train", "validation")}
    copy["test"] = Dataset.from_dict(rows | {"target": [""]})
    datasets.DatasetDict(copy).save_to_disk(tmp_path / "commongen")
    assert set(load_task("commongen", tmp_path / "commongen").splits) == {"train", "validation"}
    only = datasets.DatasetDict({"test": copy["test"], "more": copy["test"]})
    only.save_to_disk(tmp_path / "hidden")
    with pytest.raises(TaskError, match="no record of test, more has a label"):
        load_task("commongen", tmp_path / "hidden")


def test_ids_that_repeat_are_replaced_by_numbers(monkeypatch) -> None:
    columns = {"id": [7, 7], "sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, 4.0]}
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: Dataset.from_dict(columns))
    assert [record.id for record in load_task("kor_sts").split("test")] == ["test-0", "test-1"]


def test_any_hub_id(monkeypatch) -> None:
    rows = Dataset.from_list([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}] * 2)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict({"test": rows}))
    task = load_task("someone/something")
    assert (task.name, task.kind, list(task.splits)) == ("someone/something", "classification", ["test"])


@pytest.mark.parametrize("name", ["sst2", "someone/something"])
def test_without_a_network_the_message_says_path(name: str) -> None:
    with pytest.raises(TaskError, match=f"Cannot load '{name}' from the Hugging Face Hub .*pass path="):
        load_task(name)


def test_set_that_is_on_no_hub() -> None:
    with pytest.raises(TaskError, match=r"not on the Hub\. Pass path="):
        load_task("fv/antonym")


@pytest.mark.parametrize(("wrong", "right"), [("sst3", "sst2"), ("fv/antonim", "fv/antonym"), ("nmsc", "nsmc")])
def test_unknown_name_suggests_the_nearest(wrong: str, right: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=f"mean '{right}'"):
        load_task(wrong)
    with pytest.raises(TaskError, match=f"mean '{right}'"):
        load_task(wrong, path=tmp_path)


def test_unknown_name_far_from_all() -> None:
    with pytest.raises(TaskError, match="list_tasks"):
        load_task("zzzzzzzz")


def test_path_of_another_data_set_names_the_missing_column(shared_data: Path) -> None:
    with pytest.raises(TaskError, match=r"'snli' needs a column 'premise'.*rows have 'text', 'label'"):
        load_task("snli", path=shared_data / "sst2")


def test_own_files(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}] * 2
    task = load_task(write(tmp_path / "mine", rows) / "train.jsonl", verbalizer={"x": "good", "y": "bad"})
    assert (task.name, task.kind) == ("train", "classification")
    write(tmp_path / "mine", rows, "test")
    assert list(load_task(str(tmp_path / "mine")).splits) == ["train", "test"]
    pairs = write(tmp_path / "pairs", [{"text1": "a", "text2": "b", "label": "x"}] * 2)
    assert load_task(pairs, metric="accuracy").template.name == "pair"
    with pytest.raises(TaskError, match=r"META\.json is not JSON"):
        (tmp_path / "mine" / "META.json").write_text("{")
        load_task(tmp_path / "mine")


def test_overrides(shared_data: Path) -> None:
    task = load_task(
        "sst2",
        path=shared_data / "sst2",
        template="input_label",
        verbalizer={"positive": "great", "negative": "terrible"},
        metric="macro_f1",
        max_length=9,
    )
    assert (task.template.name, task.metrics, task.max_length) == ("input_label", ("macro_f1",), 9)
    assert task.verbalizer is not None and task.verbalizer.word("positive") == "great"


def test_embedded_folders_are_found(tmp_path: Path, monkeypatch) -> None:
    meta = {
        "name": "tiny",
        "language": "en",
        "kind": "classification",
        "input": "pair",
        "labels": {"y": "yes", "n": "no"},
    }
    folder = write(tmp_path / "tiny", [{"id": "1", "text1": "a", "text2": "b", "label": "y"}])
    (folder / "META.json").write_text(json.dumps(meta))
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path)
    registry._embedded.cache_clear()
    try:
        task = load_task("tiny")
        assert (task.template.name, task.metrics) == ("pair", ("accuracy", "macro_f1"))
        assert list_tasks().loc["tiny", "source"] == "embedded"
    finally:
        registry._embedded.cache_clear()


def test_every_embedded_task_loads(mgpt) -> None:
    table = list_tasks()
    names = table.index[table["source"] == "embedded"]
    for name in names:
        task = load_task(name)
        assert isinstance(task, Task)
        assert {"train", "validation", "test"} <= set(task.splits)
        assert task.encode(mgpt, "causal", "test", limit=2)
