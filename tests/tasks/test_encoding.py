"""Encoded records against tokens written out by hand, for the three kinds of models."""

import pytest

from promptscope.errors import TaskError
from promptscope.tasks import Task, Template, Verbalizer

ROWS = [{"text": "the movie", "label": "pos"}, {"text": "이 영화", "label": "neg"}]
WORDS = {"pos": "positive", "neg": "negative"}
NO = -100


def task(template="single", rows=ROWS, **settings) -> Task:
    return Task.from_records(rows, template=template, verbalizer=WORDS, **settings)


def test_causal_single(mgpt) -> None:
    record = task().encode(mgpt, "causal", "train")[0]
    bos, sep, end = mgpt.convert_tokens_to_ids(["<s>", "</s>", "<|endoftext|>"])
    text, label = mgpt("the movie")["input_ids"], mgpt("positive")["input_ids"]
    assert record.input_ids == [bos, *text, sep, *label, end]
    assert record.segments == ["special", *["text"] * len(text), "special", *["label"] * len(label), "end"]
    assert record.special == [True, *[False] * len(text), True, *[False] * len(label), True]
    # the separator predicts the first label token, the last label token predicts the end, the end nothing
    assert record.targets == [NO] * (1 + len(text)) + [*label, end] + [NO]
    assert record.label_start == 2 + len(text)
    assert record.decoder_input_ids is None
    assert not record.truncated


def test_causal_targets_are_the_next_tokens(mgpt) -> None:
    for template in ("single", "input_label"):
        for record in task(template).encode(mgpt, "causal", "train"):
            for t, target in enumerate(record.targets):
                following = record.segments[t + 1] if t + 1 < len(record.segments) else None
                assert target == (record.input_ids[t + 1] if following in ("label", "end") else NO)


def test_causal_pair(mgpt) -> None:
    rows = [{"text1": "the movie", "text2": "", "label": "pos"}]
    record = task("pair", rows).encode(mgpt, "causal", "train")[0]
    ids = [*mgpt("<s>the movie</s>")["input_ids"], *mgpt("</s>positive<|endoftext|>")["input_ids"]]
    assert record.input_ids == ids
    assert "text2" not in record.segments


def test_input_label_is_tokenised_as_one_text(gpt2) -> None:
    record = task("input_label").encode(gpt2, "causal", "train")[0]
    source = gpt2("Input: the movie\nLabel:")["input_ids"]
    assert record.input_ids == [*source, *gpt2(" positive")["input_ids"], gpt2.eos_token_id]
    spans = dict(zip(gpt2.convert_ids_to_tokens(record.input_ids), record.segments, strict=True))
    # "the" takes its space from the literal and is still text
    assert spans["Ġthe" if "Ġthe" in spans else "the"] == "text"
    assert spans["Ġmovie"] == "text"
    assert spans["Ċ"] == "literal"
    assert set(record.segments) == {"literal", "text", "label", "end"}


def test_padding_token_that_is_the_end_token_is_still_a_target(gpt2) -> None:
    record = task().encode(gpt2, "causal", "train")[0]
    assert gpt2.pad_token_id == gpt2.eos_token_id
    assert record.targets[-2] == gpt2.eos_token_id
    assert record.special[-1]


def test_without_label_the_source_is_the_same_and_ends_where_the_label_is_predicted(mgpt) -> None:
    with_label = task().encode(mgpt, "causal", "train")
    without = task().encode(mgpt, "causal", "train", with_label=False)
    for full, source in zip(with_label, without, strict=True):
        assert source.input_ids == full.input_ids[: full.label_start]
        assert source.label_start == len(source.input_ids) == full.label_start
        assert set(source.targets) == {NO}
        assert source.input_ids[-1] == mgpt.convert_tokens_to_ids("</s>")


def test_masked(bert) -> None:
    rows = [{"text": "the movie", "label": "pos"}]
    record = task(rows=rows).encode(bert, "masked", "train")[0]
    assert bert.convert_ids_to_tokens(record.input_ids) == ["[CLS]", "the", "movie", "[SEP]", "[MASK]"]
    assert record.label_start == 4
    assert record.targets == [NO] * 4 + [bert.convert_tokens_to_ids("positive")]
    assert record.special == [True, False, False, True, True]
    bare = task(rows=rows).encode(bert, "masked", "train", with_label=False)[0]
    assert bare.input_ids == record.input_ids
    assert bare.label_start == 4
    assert set(bare.targets) == {NO}


def test_masked_text_that_spells_the_mask_does_not_move_the_label(bert) -> None:
    rows = [{"text": "[MASK] the [SEP] movie", "label": "pos"}]
    record = task(rows=rows).encode(bert, "masked", "train")[0]
    assert record.label_start == len(record.input_ids) - 1
    assert record.input_ids.count(bert.mask_token_id) == 1
    assert record.input_ids.count(bert.sep_token_id) == 1


def test_masked_with_the_mask_inside_the_text(bert) -> None:
    template = Template("{bos}the movie was {mask} {text}{sep}", "{label}")
    record = task(template).encode(bert, "masked", "train")[0]
    assert record.input_ids[record.label_start] == bert.mask_token_id
    assert record.targets[record.label_start] == bert.convert_tokens_to_ids("positive")


def test_seq2seq(t5) -> None:
    rows = [{"text": "the movie", "label": "pos"}]
    record = task(rows=rows).encode(t5, "seq2seq", "train", decoder_start_id=0)[0]
    end = t5.eos_token_id
    assert record.input_ids == [*t5("the movie")["input_ids"], end]
    label = t5("positive")["input_ids"]
    assert record.targets == [*label, end]
    assert record.decoder_input_ids == [0, *label]
    assert record.label_start == 0
    source = task(rows=rows).encode(t5, "seq2seq", "train", with_label=False, decoder_start_id=0)[0]
    assert (source.input_ids, source.decoder_input_ids, source.targets) == (record.input_ids, [0], [NO])


def test_generation_label_is_the_target_and_no_answer_is_the_end_token(mgpt) -> None:
    rows = [{"text": "the movie", "references": ["good", "great"]}, {"text": "the plot", "label": ""}]
    encoded = Task.from_records(rows).encode(mgpt, "causal", "train")
    end = mgpt.convert_tokens_to_ids("<|endoftext|>")
    assert [t for t in encoded[0].targets if t != NO] == [*mgpt("good")["input_ids"], end]
    assert [t for t in encoded[1].targets if t != NO] == [end]
    assert encoded[1].input_ids[encoded[1].label_start] == end


def test_characters_split_over_tokens_belong_to_their_field(gpt2) -> None:
    rows = [{"text": "뷁", "label": "pos"}]
    record = task("input_label", rows).encode(gpt2, "causal", "train")[0]
    tokens = [i for i, segment in zip(record.input_ids, record.segments, strict=True) if segment == "text"]
    assert len(tokens) >= 2
    assert gpt2.decode(tokens).strip() == "뷁"


def test_specials_can_be_given_where_the_tokenizer_has_none(bare) -> None:
    with pytest.raises(TaskError, match="specials"):
        task().encode(bare, "causal", "train")
    template = Template("{text}{sep}", "{label}{eos}", specials={"sep": " =>", "eos": "\n"})
    record = task(template).encode(bare, "causal", "train")[0]
    assert bare.decode(record.input_ids) == "the movie =>positive\n"
    assert record.segments[-1] == "end"
    assert record.segments.count("special") == len(bare(" =>")["input_ids"])


def test_source_of_special_tokens_only(mgpt) -> None:
    record = task(Template("{sep}", "{label}{eos}")).encode(mgpt, "causal", "train", with_label=False)[0]
    assert record.input_ids == [mgpt.convert_tokens_to_ids("</s>")]


def test_empty_source_is_refused(mgpt) -> None:
    rows = [{"id": "r7", "text": "", "label": "pos"}]
    with pytest.raises(TaskError, match=r"'r7' has no source token.*\{bos\}"):
        task(Template("{text}", "{label}{eos}"), rows).encode(mgpt, "causal", "train")
    with pytest.raises(TaskError, match="no token for the encoder"):
        task(Template("{text}", "{label}{eos}"), rows).encode(mgpt, "seq2seq", "train", decoder_start_id=0)


def test_bad_requests_are_refused(mgpt, bert) -> None:
    with pytest.raises(TaskError, match=r"decoder_start_id=model\.config"):
        task().encode(mgpt, "seq2seq", "train")
    with pytest.raises(TaskError, match="at least 1"):
        task().encode(mgpt, "causal", "train", max_length=0)
    with pytest.raises(TaskError, match="limit"):
        task().encode(mgpt, "causal", "train", limit=0)
    with pytest.raises(TaskError, match="needs a verbalizer"):
        Task.from_records(ROWS, metric="exact_match").encode(bert, "masked", "train")
    with pytest.raises(TaskError, match="there is no target token"):
        rows = [{"text": "the", "label": ""}]
        Task.from_records(rows, Template("{text}", "{label}")).encode(mgpt, "causal", "train")
    with pytest.raises(TaskError, match=r"special token '</?s>' as plain text.*\{sep\}"):
        task(Template("<s>{text}</s>", "{label}")).encode(mgpt, "causal", "train")


def test_masked_label_of_several_tokens_is_refused_when_encoded(bert) -> None:
    words = Verbalizer({"pos": "positive", "neg": "zzq"})
    with pytest.raises(TaskError, match="first_piece=True"):
        Task.from_records(ROWS, verbalizer=words).encode(bert, "masked", "train")


def test_limit_takes_the_first_records(mgpt) -> None:
    encoded = task().encode(mgpt, "causal", "train", limit=1)
    assert [record.id for record in encoded] == ["train-0"]
    assert repr(encoded) == "EncodedSplit(1 records, 0 truncated)"
    assert encoded[:1] == [encoded[0]]


@pytest.mark.slow
def test_real_tokenizer(smollm2_tokenizer) -> None:
    record = task("input_label").encode(smollm2_tokenizer, "causal", "train")[0]
    source = smollm2_tokenizer("Input: the movie\nLabel:", add_special_tokens=False)["input_ids"]
    label = smollm2_tokenizer(" positive", add_special_tokens=False)["input_ids"]
    assert record.input_ids == [*source, *label, smollm2_tokenizer.eos_token_id]
    korean = task().encode(smollm2_tokenizer, "causal", "train")[1]
    tokens = [i for i, segment in zip(korean.input_ids, korean.segments, strict=True) if segment == "text"]
    assert smollm2_tokenizer.decode(tokens) == "이 영화"
