"""Tiny tokenizers of the four kinds in use, trained in memory."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "the movie was good and the acting was great",
    "a bad film with a terrible plot",
    "Input: text\nLabel: positive negative",
    "이 영화 정말 재미있다 긍정",
    "이 영화 너무 지루하다 부정",
] * 20


def byte_level(specials: list[str], **named: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # what GPT-2 and Llama tokenizers do to offsets and specials when they are called: must not reach our tokens
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@pytest.fixture(scope="session")
def gpt2() -> PreTrainedTokenizerFast:
    """Like GPT-2's: one special token, which is end and padding at once; no bos, sep, mask."""
    end = "<|endoftext|>"
    return byte_level([end], eos_token=end, pad_token=end)


@pytest.fixture(scope="session")
def mgpt() -> PreTrainedTokenizerFast:
    """Like mGPT's: <s>, </s> and <|endoftext|> are all there."""
    end = "<|endoftext|>"
    return byte_level(["<s>", "</s>", end], bos_token="<s>", sep_token="</s>", eos_token=end, pad_token=end)


@pytest.fixture(scope="session")
def bert() -> PreTrainedTokenizerFast:
    """WordPiece on words between spaces, so that "[SEP]" in a text is a word of the vocabulary: the worst case."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([*CORPUS, "<>/|[]{}", "abcdefghijklmnopqrstuvwxyz"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture(scope="session")
def t5() -> PreTrainedTokenizerFast:
    """Unigram with specials among the ordinary pieces, as T5's: a text may be cut into "</s>" by the model."""
    letters = [(c, -6.0) for c in "abcdefghijklmnopqrstuvwxyz<>/_:?123 이영화재미있다"]
    words = [("▁the", -3.0), ("▁movie", -4.0), ("▁good", -4.0), ("▁positive", -4.0), ("▁negative", -4.0)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), *words, *letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session")
def bare() -> PreTrainedTokenizerFast:
    """A tokenizer without a single special token."""
    return byte_level([])


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's own tokenizer."""
    return AutoTokenizer.from_pretrained(smollm2)
