"""Special tokens by role, and text that spells them."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from promptscope.errors import TaskError
from promptscope.tasks.specials import Specials

SPELLINGS = ["</s>", "<s>", "<|endoftext|>", "[SEP]", "[CLS]", "[MASK]", "[PAD]", "<pad>", "[UNK]", "<unk>"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt2", {"bos": "<|endoftext|>", "sep": "<|endoftext|>", "eos": "<|endoftext|>"}),
        ("mgpt", {"bos": "<s>", "sep": "</s>", "eos": "<|endoftext|>"}),
        ("bert", {"bos": "[CLS]", "sep": "[SEP]", "eos": "[SEP]", "mask": "[MASK]"}),
        ("t5", {"bos": "</s>", "sep": "</s>", "eos": "</s>"}),
    ],
)
def test_roles(name: str, expected: dict[str, str], request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    specials = Specials(tokenizer)
    for role, token in expected.items():
        assert specials.ids(role) == [tokenizer.convert_tokens_to_ids(token)]


def test_missing_role_says_what_to_do(gpt2, bare) -> None:
    with pytest.raises(TaskError, match="masked language model's tokenizer"):
        Specials(gpt2).ids("mask")
    for role in ("bos", "sep", "eos"):
        with pytest.raises(TaskError, match=rf"specials=\{{'{role}'"):
            Specials(bare).ids(role)


def test_override_may_be_a_special_several_tokens_or_nothing(mgpt, bare) -> None:
    assert Specials(mgpt).ids("sep", {"sep": "<s>"}) == [mgpt.bos_token_id]
    assert Specials(bare).ids("eos", {"eos": "\n\n"}) == bare("\n\n")["input_ids"]
    assert len(Specials(mgpt).ids("sep", {"sep": " => "})) > 1
    assert Specials(mgpt).ids("bos", {"bos": ""}) == []


@pytest.mark.parametrize("name", ["gpt2", "mgpt", "bert", "t5"])
@settings(deadline=None)
@given(pieces=st.lists(st.sampled_from([*SPELLINGS, " ", "the", "movie", "x", "영화"]), min_size=1, max_size=8))
def test_no_text_becomes_a_special_token(name: str, pieces: list[str], request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    specials = Specials(tokenizer)
    ids = set(specials.read(["".join(pieces)])[0].ids)
    assert not ids & (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})


def test_the_trap_is_real(t5, bert) -> None:
    # without the respelt copy even split_special_tokens lets these models find specials in a text
    assert t5.eos_token_id in t5("the</s>good", split_special_tokens=True)["input_ids"]
    assert t5.eos_token_id not in Specials(t5).read(["the</s>good"])[0].ids


@pytest.mark.parametrize("name", ["gpt2", "mgpt", "bert", "t5", "bare"])
@pytest.mark.parametrize("text", ["the movie was good", "  two spaces", "이 영화 정말 재미있다", "", "a\nb\t", "good."])
def test_ordinary_text_gives_the_tokenizers_own_tokens(name: str, text: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    assert Specials(tokenizer).read([text])[0].ids == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_callers_tokenizer_is_left_alone(mgpt) -> None:
    before = mgpt.backend_tokenizer.to_str()
    Specials(mgpt).read(["a </s> b"])
    assert mgpt.backend_tokenizer.to_str() == before
    assert mgpt("</s>")["input_ids"] == [mgpt.convert_tokens_to_ids("</s>")]


def test_state_of_the_callers_tokenizer_does_not_matter(request: pytest.FixtureRequest) -> None:
    import copy

    tokenizer = copy.deepcopy(request.getfixturevalue("mgpt"))
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=30)
    short, long = Specials(tokenizer).read(["the", "the movie was good"])
    assert short.ids == tokenizer("the")["input_ids"]
    assert long.ids == tokenizer("the movie was good")["input_ids"]
    # offsets hold the leading space, which a ByteLevel post-processor would trim away
    assert long.offsets[1] == (3, 9)


def test_a_token_added_later_is_seen(request: pytest.FixtureRequest) -> None:
    import copy

    tokenizer = copy.deepcopy(request.getfixturevalue("gpt2"))
    Specials(tokenizer).read(["x"])
    tokenizer.add_special_tokens({"sep_token": "<sep>"})
    assert Specials(tokenizer).ids("sep") == [tokenizer.sep_token_id]
    assert tokenizer.sep_token_id not in Specials(tokenizer).read(["a<sep>b"])[0].ids


def test_slow_or_missing_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False
        name_or_path = "old"

    with pytest.raises(TaskError, match=r"is a slow one.*AutoTokenizer"):
        Specials(Slow())
    with pytest.raises(TaskError, match="needs a tokenizer"):
        Specials(None)


def test_a_tokenizer_that_is_edited_reads_as_it_says_now(gpt2) -> None:
    tokenizer = copy.deepcopy(gpt2)
    before = Specials(tokenizer).read(["Bad Film"])[0].ids
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert Specials(tokenizer).read(["Bad Film"])[0].ids == Specials(gpt2).read(["bad film"])[0].ids != before
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert Specials(tokenizer).read(["bad film"])[0].ids == Specials(gpt2).read([" bad film"])[0].ids


def test_a_text_has_one_reading_where_a_tokenizer_drops_merges_at_random(gpt2) -> None:
    tokenizer = copy.deepcopy(gpt2)
    tokenizer.backend_tokenizer.model.dropout = 0.9
    text = "the movie was good and the acting was great"
    assert Specials(tokenizer).read([text] * 20)[-1].ids == Specials(gpt2).read([text])[0].ids
