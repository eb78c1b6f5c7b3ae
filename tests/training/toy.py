"""A toy task whose tokens can be written by hand, and tiny models that read it."""

from functools import cache

import torch
from transformers import PreTrainedModel

import promptscope as ps
from promptscope.models import HookedModel
from promptscope.tasks import Task, Verbalizer
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import SPECIALS, WORDS, tiny_tokenizer

VOCAB = len(SPECIALS) + len(WORDS)
PAD, BOS, SEP, EOS, MASK = 0, 1, 2, 2, 4  # the tokenizer has no sep token of its own: "</s>" is separator and end
KINDS = {"bert": "masked", "t5": "seq2seq"}  # the others are causal
LABELS = ("good", "bad")
WORD = {"good": "positive", "bad": "negative"}
LONG_WORD = {"good": "very very good", "bad": "dull"}


def word_id(word: str) -> int:
    return (*SPECIALS, *WORDS).index(word)


def toy_rows(n: int = 10, split: str = "train") -> list[dict[str, str]]:
    """Make texts of 3 to 6 words; the label is a word of the text, so that there is something to learn."""
    openings = ("the film is", "a story", "the very story is", "a film", "the story is very")
    return [
        {"id": f"{split}-{i}", "text": f"{openings[i % 5]} {LABELS[i % 2]}", "label": LABELS[i % 2]} for i in range(n)
    ]


def toy_task(words: dict[str, str] | None = None, n: int = 10, max_length: int | None = None) -> Task:
    """Make a classification with the splits train, validation and test."""
    splits = {split: toy_rows(n, split) for split in ("train", "validation", "test")}
    return Task.from_records(splits, verbalizer=Verbalizer(words or WORD), name="toy", max_length=max_length)


def writing_task() -> Task:
    """Make a generation task with one answer, which is all that a prompt can teach a random model."""
    rows = [{"text": f"{text} is", "label": "very film"} for text in ("a film", "a very good story", "Korea")]
    return Task.from_records({"train": rows, "test": rows}, metric="exact_match", name="writing")


@cache
def toy_model(family: str, dtype: torch.dtype = torch.float32) -> HookedModel:
    """Load a tiny model with the tiny tokenizer, once for all tests: do not monkeypatch it."""
    return ps.load_model(tiny_hf_model(family, dtype, vocab=VOCAB), tokenizer=tiny_tokenizer())


@cache
def toy_truth(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Give a plain Hugging Face model with the weights of `toy_model`, which promptscope never touches."""
    return tiny_hf_model(family, dtype, vocab=VOCAB).requires_grad_(False)
