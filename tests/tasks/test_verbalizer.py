"""Verbalizers: words, their tokens, and every way they can fail."""

import pytest

from promptscope.errors import TaskError
from promptscope.tasks import Task, Verbalizer
from promptscope.tasks.verbalizer import as_verbalizer
from tests.tiny_tokenizer import tiny_tokenizer


def test_words_and_labels() -> None:
    verbalizer = Verbalizer({0: "negative", 1: "positive"})
    assert verbalizer.labels == ("0", "1")
    assert verbalizer.word("1") == "positive"
    assert verbalizer == Verbalizer({"0": "negative", "1": "positive"})
    assert verbalizer != Verbalizer({"0": "negative", "1": "positive"}, first_piece=True)


def test_unknown_label_names_the_known_ones() -> None:
    with pytest.raises(TaskError, match=r"no word for label 'positve'.*'positive', 'negative'.*mean 'positive'"):
        Verbalizer({"positive": "good", "negative": "bad"}).word("positve")


def test_token_ids_are_those_of_the_word_alone(gpt2) -> None:
    verbalizer = Verbalizer({"p": "positive", "n": "negative"})
    assert verbalizer.token_ids(gpt2, "causal") == {
        "p": gpt2("positive")["input_ids"],
        "n": gpt2("negative")["input_ids"],
    }
    assert verbalizer.token_ids(gpt2, "causal", before=" ")["p"] == gpt2(" positive")["input_ids"]


def test_masked_word_of_several_tokens_names_label_word_pieces_and_ways_out(bert) -> None:
    verbalizer = Verbalizer({"p": "positive", "n": "zzq"})
    pieces = bert.convert_ids_to_tokens(bert("zzq", add_special_tokens=False)["input_ids"])
    assert len(pieces) > 1
    with pytest.raises(TaskError) as caught:
        verbalizer.token_ids(bert, "masked")
    for part in ("'zzq'", "'n'", str(pieces), "first_piece=True", "causal model"):
        assert part in str(caught.value)
    first = Verbalizer(verbalizer.words, first_piece=True).token_ids(bert, "masked")
    assert first["n"] == bert.convert_tokens_to_ids(pieces[:1])
    assert len(verbalizer.token_ids(bert, "causal")["n"]) == len(pieces)


def test_words_that_become_the_same_tokens_are_refused(bert) -> None:
    # the tokenizer lower-cases
    with pytest.raises(TaskError, match="'a' and 'b' have the same tokens"):
        Verbalizer({"a": "Positive", "b": "positive"}).token_ids(bert, "causal")
    with pytest.raises(TaskError, match="same tokens"):
        Verbalizer({"a": "zzq", "b": "zzx"}, first_piece=True).token_ids(bert, "masked")


def test_word_that_the_tokenizer_does_not_know_is_refused(bert) -> None:
    with pytest.raises(TaskError, match=r"'한' of label 'k'.*does not know.*model for this language"):
        Verbalizer({"k": "한", "p": "positive"}).token_ids(bert, "causal")


def test_bad_words_are_refused() -> None:
    with pytest.raises(TaskError, match="at least one label"):
        Verbalizer({})
    with pytest.raises(TaskError, match="'a' and 'b' have the same word 'x'"):
        Verbalizer({"a": "x", "b": "x"})
    with pytest.raises(TaskError, match="must be a word"):
        Verbalizer({"a": " "})
    with pytest.raises(TaskError, match="verbalizer must be a Verbalizer"):
        as_verbalizer(["a", "b"], ["a"])
    assert as_verbalizer("labels", ["b", "a", "b"]) == Verbalizer({"a": "a", "b": "b"})


def test_a_label_that_begins_another_is_scored_with_the_end_of_the_answer() -> None:
    tokenizer = tiny_tokenizer()
    rows = [{"text": "a film", "label": "a"}, {"text": "a story", "label": "b"}]
    words = {"a": "very", "b": "very film"}
    task = Task.from_records(rows, verbalizer=words)
    plain, scored = task.label_ids(tokenizer, "causal"), task.scored_ids(tokenizer, "causal")
    assert plain["b"][: len(plain["a"])] == plain["a"]
    end = task.end_ids(tokenizer, "causal")
    assert scored == {label: [*ids, *end] for label, ids in plain.items()}
    apart = Task.from_records(rows, verbalizer={"a": "very", "b": "film very"})
    assert apart.scored_ids(tokenizer, "causal") == apart.label_ids(tokenizer, "causal")
    endless = Task.from_records(rows, template=("{bos}{text}{sep}", "{label}"), verbalizer=words)
    with pytest.raises(TaskError, match=r"'a' begin those of 'b'.*\{eos\}"):
        endless.scored_ids(tokenizer, "causal")
