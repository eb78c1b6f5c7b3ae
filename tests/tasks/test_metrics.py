"""Metrics against scikit-learn, SciPy, and the official scripts' answers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, matthews_corrcoef

from promptscope.errors import TaskError
from promptscope.tasks import METRICS, Record, Task
from promptscope.tasks.answers import korquad_f1, korquad_normalise, squad_f1, squad_normalise
from promptscope.tasks.inflections import english_forms, mentions
from promptscope.tasks.metrics import get_metrics

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=30)


def ask(name: str, predictions: list, references: list) -> dict[str, float]:
    return METRICS[name].fn(predictions, references)


@given(LABELS)
def test_label_metrics_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    predictions, gold = map(list, zip(*pairs, strict=True))
    references = [(label,) for label in gold]
    assert ask("accuracy", predictions, references)["accuracy"] == pytest.approx(np.mean([p == g for p, g in pairs]))
    expected = f1_score(gold, predictions, average="macro", zero_division=0)
    assert ask("macro_f1", predictions, references)["macro_f1"] == pytest.approx(expected)
    expected = matthews_corrcoef(gold, predictions) if len({*gold, *predictions}) > 1 else 0.0
    assert ask("matthews", predictions, references)["matthews"] == pytest.approx(expected)


def test_pearson_is_scipys_and_undefined_for_constants() -> None:
    x, y = [1.0, 2.5, 3.0, 0.5], ["1.0", "2.0", "5.0", "0.0"]
    expected = pearsonr(x, [float(v) for v in y]).statistic
    assert ask("pearson", x, [(v,) for v in y])["pearson"] == pytest.approx(expected)
    assert math.isnan(ask("pearson", [1.0, 1.0], [("1",), ("2",)])["pearson"])


def test_pearson_leaves_texts_that_are_no_numbers_out_and_says_how_many_were_read() -> None:
    scores = ask("pearson", ["1", "a lot", "2.5", "4"], [("1",), ("5",), ("2",), ("3",)])
    assert scores["pearson"] == pytest.approx(pearsonr([1, 2.5, 4], [1, 2, 3]).statistic)
    assert scores["pearson_read"] == 0.75


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  cat's 'hat'.", "cats hat"),
        ("a an the", ""),
        ("A-Team", "ateam"),  # punctuation goes first, so the article is no word of its own
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("«the» cat", "« » cat"),  # only ASCII punctuation goes; the article between the marks does
        ("", ""),
    ],
)
def test_squad_normalisation(text: str, expected: str) -> None:
    assert squad_normalise(text) == expected


def test_squad_f1_by_hand() -> None:
    # 2 of 3 predicted and 2 of 2 gold words: P 2/3, R 1, F1 0.8
    assert squad_f1("the Norman big castle", "norman castle") == pytest.approx(0.8)
    # bags: "a" goes; "b b c" and "b c c" share b and c: P = R = 2/3
    assert squad_f1("b b c", "b c c") == pytest.approx(2 / 3)
    assert squad_f1("x", "y") == 0
    # nothing but articles is no answer, as in the official script
    assert squad_f1("the", "") == 1
    assert squad_f1("", "france") == 0
    assert squad_f1("france", "") == 0


def test_squad_takes_the_best_answer_and_handles_no_answer() -> None:
    predictions = ["in France", "", "Paris", "", "the"]
    references = [("France", "in France today"), ("",), ("",), ("Rome",), ("",)]
    # exact: 0, 1, 0, 0, 1; F1: max(2/3, 2*2/5=0.8), 1, 0, 0, 1
    scores = ask("squad", predictions, references)
    assert scores["squad_exact"] == pytest.approx(2 / 5)
    assert scores["squad_f1"] == pytest.approx((0.8 + 1 + 0 + 0 + 1) / 5)
    assert scores["squad_f1_has_answer"] == pytest.approx(0.4)
    assert scores["squad_f1_no_answer"] == pytest.approx(2 / 3)
    assert "squad_f1_no_answer" not in ask("squad", ["x"], [("x",)])


def test_squad_ignores_gold_answers_that_normalise_to_nothing() -> None:
    assert ask("squad", [""], [("...",)])["squad_exact"] == 1
    assert ask("squad", [""], [("...", "x")])["squad_exact"] == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("《임을 위한 행진곡》", "임을 위한 행진곡"),
        ("서울(漢城)", "서울 漢城"),  # a bracket separates
        ("3.5%", "35"),  # other punctuation just goes
        ("‘가’와 '나'", "가 와 나"),
        ("The A", "the a"),  # no articles to remove
        ("“큰”", "“큰”"),  # these quotes are not in the official list
        ("『책』", "『책』"),
    ],
)
def test_korquad_normalisation(text: str, expected: str) -> None:
    assert korquad_normalise(text) == expected


def test_korquad_f1_is_over_characters() -> None:
    # 4 of 5 predicted characters, 4 of 4 gold: P 0.8, R 1
    assert korquad_f1("1989년", "1989") == pytest.approx(8 / 9)
    assert korquad_f1("2월 15일", "2월15일") == 1  # spaces do not count for F1
    assert korquad_f1("가나", "다라") == 0
    assert korquad_f1("", "") == 0  # unlike SQuAD 2.0: nothing shared is 0
    scores = ask("korquad", ["1989년", "2월 15일"], [("1989", "1989년"), ("2월15일",)])
    assert scores == {"korquad_exact": 0.5, "korquad_f1": 1.0}


@given(st.text(max_size=20), st.text(max_size=20))
def test_answer_scores_are_symmetric_and_bounded(a: str, b: str) -> None:
    for f1 in (squad_f1, korquad_f1):
        assert f1(a, b) == pytest.approx(f1(b, a))
        assert 0 <= f1(a, b) <= 1
    assert squad_f1(a, a) == 1


def test_text_metrics() -> None:
    predictions, references = [" Paris ", "Paris, France", "paris"], [("Paris",), ("Paris",), ("Paris",)]
    assert ask("exact_match", predictions, references) == {"exact_match": pytest.approx(1 / 3)}
    assert ask("starts_with", predictions, references) == {"starts_with": pytest.approx(2 / 3)}
    assert ask("starts_with", ["wallets"], [("wallet", "x")]) == {"starts_with": 1.0}


def test_coverage_reads_the_concepts_field() -> None:
    records = [
        Record("a", {"concepts": ["dog", "run", "park"]}, "", ("",)),
        Record("b", {"concepts": ["바나나", "얼었다"]}, "", ("",)),
    ]
    scores = METRICS["coverage"].score(["Two dogs are running.", "바나나를 먹었다."], records)
    assert scores == {"coverage": pytest.approx((2 / 3 + 1 / 2) / 2)}
    with pytest.raises(TaskError, match="field 'concepts', which record 'c' does not have; its fields are 'text'"):
        METRICS["coverage"].score(["x"], [Record("c", {"text": "x"}, "", ("",))])


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("stop", "stops stopped stopping"),
        ("carry", "carries carried carrying"),
        ("play", "plays played playing"),
        ("ride", "rides rode ridden riding"),
        ("watch", "watches watched watching"),
        ("woman", "women"),
        ("tie", "ties tied tying"),
        ("leaf", "leaves"),
        ("fix", "fixes fixed fixing"),
    ],
)
def test_english_forms(word: str, forms: str) -> None:
    assert {word, *forms.split()} <= english_forms(word)


def test_mentions_whole_words_in_english_and_letters_elsewhere() -> None:
    assert not mentions("The category is open.", "cat")
    assert mentions("An ice-cream man.", "ice cream")
    assert mentions("야구 선수는 말았다.", "선수")
    assert not mentions("야구", "선수")


def test_human_sentences_cover_their_concepts(shared_data) -> None:
    import json

    for name, least in (("commongen", 0.999), ("kommongen", 0.999)):
        lines = (shared_data / name / "test.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        pairs = [(text, row["concepts"]) for row in rows for text in row.get("references", [row.get("text")])]
        texts, concepts = map(list, zip(*pairs, strict=True))
        assert ask("coverage", texts, concepts)["coverage"] > least
        # the null: the sentence of another record
        assert ask("coverage", texts[7:] + texts[:7], concepts)["coverage"] < 0.2


def test_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(TaskError, match="mean 'macro_f1'"):
        get_metrics("macrof1")
    assert [metric.name for metric in get_metrics(("squad", "accuracy"))] == ["squad", "accuracy"]


def answered(*references: str) -> list[Record]:
    return [Record(str(i), {}, one, (one,)) for i, one in enumerate(references)]


def test_no_answer_is_not_what_every_text_begins_with() -> None:
    records = answered("", "", "Lima")
    assert METRICS["starts_with"].score(["Lima", "", "Lima is"], records) == {"starts_with": 2 / 3}


def test_what_a_metric_cannot_compare_is_refused() -> None:
    for name, predictions, records, message in [
        ("binary_f1", ["good", "bad"], answered("good", "bad"), "'True' and 'False', got 'bad'"),
        ("pearson", [1.0, 2.0], answered("1", "high"), "labels that are numbers, got 'high'"),
        ("exact_match", ["a", None], answered("a", "b"), r"predictions that are texts, got None \(NoneType\)"),
        ("accuracy", [0, 1], answered("0", "1"), r"predictions that are texts, got 0 \(int\)"),
        (
            "coverage",
            ["dogs"],
            [Record("0", {"concepts": "dog"}, "a", ("a",))],
            "list of strings in the field 'concepts'",
        ),
    ]:
        with pytest.raises(TaskError, match=message):
            METRICS[name].score(predictions, records)


def test_a_label_that_is_scored_as_another_is_refused() -> None:
    rows = [{"text": "a film", "label": "good", "references": ["fine", "good"]}, {"text": "a story", "label": "bad"}]
    with pytest.raises(TaskError, match=r"'train-0'.*label 'good', but the references \['fine', 'good'\]"):
        Task.from_records(rows, verbalizer={"good": "good", "bad": "bad", "fine": "fine"})
