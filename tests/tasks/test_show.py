"""What `task.show` prints."""

from types import SimpleNamespace

import pytest

from promptscope.errors import ArgumentError, TaskError
from promptscope.tasks import Task, Template
from promptscope.tasks.show import tokens_as_text

ROWS = [{"id": "r1", "text": "the movie\n</s> 뷁", "label": "pos"}, {"id": "r2", "text": "bad", "label": "neg"}]
WORDS = {"pos": "positive", "neg": "negative"}


def test_causal(mgpt, capsys: pytest.CaptureFixture[str]) -> None:
    assert Task.from_records(ROWS, "single", {"pos": "the", "neg": "was"}).show(mgpt, n=1) is None  # nothing to echo
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("for a causal model, template 'single'")
    assert lines.pop(1) == "special tokens: {bos} = |<s>|, {sep} = |</s>|, {eos} = |<|endoftext|>|"
    assert lines[2].startswith("train record 'r1', label 'pos', ")
    assert lines[3].split() == ["0", "special", "|<s>|"]
    n = len(mgpt("the movie\n", add_special_tokens=False)["input_ids"]) + 4  # "·", "<", "/", "s" or merged
    assert "|the|·movie|⏎|" in lines[4]
    assert "|</s>|" not in lines[4] and "<" in lines[4]
    assert "뷁×" in lines[4]  # one character, several tokens
    first, last = map(int, lines[4].split()[0].split("-"))
    assert first == 1 and last > n - 2
    assert lines[5].split() == [str(last + 1), "special", "|</s>|"]
    assert lines[6].split() == [">", str(last + 2), "label", "|the|", "<-", "predicted", "at", str(last + 1)]
    assert lines[7].split() == [">", str(last + 3), "end", "|<|endoftext|>|", "<-", "predicted", "at", str(last + 2)]
    assert len(lines) == 8


def test_masked(bert) -> None:
    task = Task.from_records([{"text": "the movie", "label": "pos"}], verbalizer=WORDS)
    lines = tokens_as_text(task, bert, kind="masked").splitlines()
    assert lines[-1].split() == [">", "4", "special", "|[MASK]|", "<-", "|positive|", "predicted", "at", "4"]
    assert lines[-3].split() == ["1-2", "text", "|the|movie|"]


def test_seq2seq_needs_the_model(t5) -> None:
    task = Task.from_records([{"text": "the movie", "label": "pos"}], verbalizer=WORDS)
    config = SimpleNamespace(decoder_start_token_id=0)
    model = SimpleNamespace(family=SimpleNamespace(kind="seq2seq"), tokenizer=t5, twin=SimpleNamespace(config=config))
    lines = tokens_as_text(task, model).splitlines()
    assert lines[-2].split() == ["0-1", "decoder", "|<pad>|·positive|"]
    assert lines[-1].split()[:4] == [">", "0-1", "label", "|·positive|</s>|"]
    with pytest.raises(TaskError, match="show needs the model"):
        task.show(t5, kind="seq2seq")


def test_says_what_was_cut_and_left_out(mgpt) -> None:
    task = Task.from_records(ROWS, verbalizer=WORDS, max_length=12)
    shorter = Task(
        task.name, task.template, task.verbalizer, task.metrics, task.splits, max_length=14, dropped={"train": 2}
    )
    text = tokens_as_text(shorter, mgpt, n=1)
    assert "text cut to fit 14" in text
    assert "2 rows of 'train' were left out" in text
    with pytest.raises(ArgumentError, match="n must be at least 1, got 0"):
        task.show(mgpt, n=0)


def test_split_and_overridden_specials(bare) -> None:
    template = Template("{text}{sep}", "{label}{eos}", specials={"sep": " =>", "eos": "\n"})
    text = tokens_as_text(Task.from_records({"test": ROWS}, template, WORDS), bare, n=1, split="test")
    assert "test record 'r1'" in text
    assert "|⏎|" in text
