"""Identities that hold for any text: it survives tokenising, truncation cuts only it, padding is exact."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.errors import TaskError
from promptscope.tasks import Encoded, Task, Template, collate

WORDS = {"pos": "positive", "neg": "negative"}
PIECES = ["the movie", " was", "good", "영화", "뷁", "👩‍👩‍👧", "</s>", "<|endoftext|>", "\n", "  ", ".", "é", "x"]
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
)


def of(record: Encoded, segment: str) -> list[int]:
    return [i for i, name in zip(record.input_ids, record.segments, strict=True) if name == segment]


def decode(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@settings(deadline=None)
@given(text=TEXT)
def test_source_tokens_decode_to_the_text(mgpt, text: str) -> None:
    rows = [{"text": text, "label": "pos"}]
    record = Task.from_records(rows, verbalizer=WORDS).encode(mgpt, "causal", "train")[0]
    assert decode(mgpt, of(record, "text")) == text
    assert not set(of(record, "text")) & set(mgpt.all_special_ids)


@settings(deadline=None)
@given(text=TEXT)
def test_source_with_literals_decodes_to_the_written_template(gpt2, text: str) -> None:
    rows = [{"text": text, "label": "pos"}]
    task = Task.from_records(rows, template="input_label", verbalizer=WORDS)
    record = task.encode(gpt2, "causal", "train")[0]
    assert decode(gpt2, record.input_ids[: record.label_start]) == f"Input: {text}\nLabel:"
    assert decode(gpt2, of(record, "label")) == " positive"


@settings(max_examples=200, deadline=None)
@given(text=TEXT, max_length=st.integers(min_value=1, max_value=40), label=st.sampled_from(["pos", "neg"]))
def test_truncation_cuts_the_text_and_nothing_else(gpt2, text: str, max_length: int, label: str) -> None:
    rows = [{"text": text, "label": label}]
    task = Task.from_records(rows, template="input_label", verbalizer=WORDS)
    whole = task.encode(gpt2, "causal", "train")[0]
    reserved = max(len(ids) for ids in task.label_ids(gpt2, "causal").values()) + 1
    smallest = len(gpt2("Input: \nLabel:")["input_ids"]) + reserved
    if max_length < smallest:
        if len(whole.input_ids) - len(of(whole, "label")) - 1 + reserved > max_length:
            with pytest.raises(TaskError, match="does not fit"):
                task.encode(gpt2, "causal", "train", max_length=max_length)
        return
    split = task.encode(gpt2, "causal", "train", max_length=max_length)
    record = split[0]
    source = decode(gpt2, record.input_ids[: record.label_start])
    assert len(record.input_ids) <= max_length
    assert source.startswith("Input: ") and source.endswith("\nLabel:")
    assert text.startswith(source[len("Input: ") : -len("\nLabel:")])
    assert record.input_ids[record.label_start :] == whole.input_ids[whole.label_start :]
    assert record.truncated == (whole.label_start + reserved > max_length)
    assert split.n_truncated == int(record.truncated)
    if not record.truncated:
        assert record == whole
    # how much text is left does not depend on the label, nor on whether it is there
    other = Task.from_records(
        [{"text": text, "label": "neg" if label == "pos" else "pos"}], template="input_label", verbalizer=WORDS
    ).encode(gpt2, "causal", "train", max_length=max_length)[0]
    bare = task.encode(gpt2, "causal", "train", max_length=max_length, with_label=False)[0]
    assert record.input_ids[: record.label_start] == other.input_ids[: other.label_start] == bare.input_ids


@settings(deadline=None)
@given(first=TEXT, second=TEXT, max_length=st.integers(min_value=14, max_value=40))
def test_truncation_takes_from_the_longest_field_first(mgpt, first: str, second: str, max_length: int) -> None:
    rows = [{"text1": first, "text2": second, "label": "pos"}]
    task = Task.from_records(rows, template="pair", verbalizer=WORDS)
    whole = task.encode(mgpt, "causal", "train")[0]
    reserved = max(len(ids) for ids in task.label_ids(mgpt, "causal").values()) + 1
    record = task.encode(mgpt, "causal", "train", max_length=max_length)[0]
    assert len(record.input_ids) <= max_length
    before = [len(of(whole, name)) for name in ("text1", "text2")]
    after = [len(of(record, name)) for name in ("text1", "text2")]
    room = max_length - reserved - 3  # <s>, </s>, </s>
    short, long = sorted((0, 1), key=lambda i: before[i])
    if before[short] <= room // 2:
        assert after[short] == before[short]
    assert of(record, "special") == of(whole, "special")
    for name, text in (("text1", first), ("text2", second)):
        assert text.startswith(decode(mgpt, of(record, name)))
    if after[long] < before[long] and not any("�" in text for text in (first, second)):
        # nothing was thrown away that fitted: at most a character's tokens are missing on each side
        assert sum(after) >= min(room, sum(before)) - 8


def test_truncation_by_hand(mgpt) -> None:
    rows = [{"text1": "a" * 3, "text2": " movie" * 5, "label": "pos"}]
    task = Task.from_records(rows, template="pair", verbalizer={"pos": "positive"})
    whole = task.encode(mgpt, "causal", "train")[0]
    movie = mgpt(" movie")["input_ids"]
    assert of(whole, "text2") == movie * 5
    cut = task.encode(mgpt, "causal", "train", max_length=len(whole.input_ids) - len(movie))
    assert of(cut[0], "text1") == of(whole, "text1")
    assert of(cut[0], "text2") == movie * 4
    assert (cut.n_truncated, cut[0].truncated) == (1, True)


def test_a_field_that_stands_twice_is_cut_at_both_places(mgpt) -> None:
    template = Template("{bos}{text}{sep}{text}{sep}", "{label}{eos}")
    task = Task.from_records([{"text": " movie" * 9, "label": "pos"}], template, {"pos": "positive"})
    whole = task.encode(mgpt, "causal", "train")[0]
    record = task.encode(
        mgpt, "causal", "train", max_length=len(whole.input_ids) - 3 * len(mgpt(" movie")["input_ids"])
    )[0]
    assert of(record, "text") == mgpt(" movie")["input_ids"] * 14


def test_masked_and_seq2seq_limit_the_input(bert, t5) -> None:
    task = Task.from_records([{"text": "the movie the movie", "label": "pos"}], verbalizer=WORDS)
    record = task.encode(bert, "masked", "train", max_length=5)[0]
    assert bert.convert_ids_to_tokens(record.input_ids) == ["[CLS]", "the", "movie", "[SEP]", "[MASK]"]
    assert record.targets[-1] == bert.convert_tokens_to_ids("positive")
    record = task.encode(t5, "seq2seq", "train", max_length=3, decoder_start_id=0)[0]
    assert t5.convert_ids_to_tokens(record.input_ids) == ["▁the", "▁movie", "</s>"]
    with pytest.raises(TaskError, match="Use a larger max_length"):
        task.encode(bert, "masked", "train", max_length=2)


@settings(deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), pad_id=st.integers(min_value=0, max_value=3))
def test_collate_pads_right_and_masks_exactly(mgpt, texts: list[str], pad_id: int) -> None:
    rows = [{"text": text, "label": "pos"} for text in texts]
    encoded = Task.from_records(rows, verbalizer=WORDS).encode(mgpt, "causal", "train")
    batch = collate(list(encoded), pad_id)
    width = max(len(record.input_ids) for record in encoded)
    assert batch.input_ids.shape == (len(texts), width)
    assert batch.ids == tuple(record.id for record in encoded)
    for i, record in enumerate(encoded):
        n = len(record.input_ids)
        assert batch.attention_mask[i].tolist() == [1] * n + [0] * (width - n)
        assert batch.input_ids[i].tolist() == record.input_ids + [pad_id] * (width - n)
        assert batch.special[i].tolist() == record.special + [True] * (width - n)
        assert batch.targets[i].tolist() == record.targets + [-100] * (width - n)
        assert batch.label_start is not None and batch.label_start[i] == record.label_start


def test_collate_pads_the_decoder_apart(t5) -> None:
    rows = [{"text": "the movie good", "label": "good"}, {"text": "the", "label": "the movie good"}]
    encoded = Task.from_records(rows).encode(t5, "seq2seq", "train", decoder_start_id=7)
    batch = collate(encoded, pad_id=0)
    assert batch.targets.shape == batch.decoder_input_ids.shape == batch.decoder_attention_mask.shape == (2, 4)
    assert batch.input_ids.shape == (2, 4)
    assert batch.decoder_input_ids[0].tolist() == [7, *t5("good")["input_ids"], 0, 0]
    assert batch.decoder_attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.targets[0].tolist() == [*t5("good")["input_ids"], t5.eos_token_id, -100, -100]
    moved = batch.to("cpu")
    assert torch.equal(moved.targets, batch.targets) and moved.ids == batch.ids and len(moved) == 2


def test_collate_refuses_nothing_and_mixtures(mgpt) -> None:
    task = Task.from_records([{"text": "the", "label": "pos"}], verbalizer=WORDS)
    with pytest.raises(TaskError, match="at least one record"):
        collate([], 0)
    causal = task.encode(mgpt, "causal", "train")[0]
    both = [causal, task.encode(mgpt, "seq2seq", "train", decoder_start_id=0)[0]]
    with pytest.raises(TaskError, match="mixed"):
        collate(both, 0)
