"""A word-level tokenizer for the tiny models: one token a word, so that every expectation can be written by hand."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
WORDS = ("the", "film", "is", "very", "good", "bad", "dull", "great", "a", "story", "positive", "negative", "Korea")


def tiny_tokenizer(words: tuple[str, ...] = WORDS) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose ids are the positions in `SPECIALS + words`."""
    vocabulary = {word: i for i, word in enumerate((*SPECIALS, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def ids(text: str) -> list[int]:
    """Return the ids of *text* by looking its words up."""
    return [(*SPECIALS, *WORDS).index(word) for word in text.split()]
