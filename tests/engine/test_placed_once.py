"""A prompt is bound, placed, stacked and written once in a training step, and once for all batches of an evaluation."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import promptscope as ps
from promptscope.engine import encoder, is_packed, seq2seq, shared
from promptscope.inference import batches, encode_split, score_labels
from promptscope.models import HookedModel, Placement
from promptscope.training.gradient import accumulate_gradient
from tests.training.toy import LONG_WORD, WORD, toy_model, toy_task

COUNTS: Counter[str] = Counter()
ONCE = {"bind": 1, "place": 1, "stacked": 1, "written": 1}


class Counted(ps.SoftPrompt):
    """An input-level prompt that counts its calls."""

    def bind(self, model: HookedModel, strict: bool | None = None) -> "Counted":
        COUNTS["bind"] += 1
        super().bind(model, strict)
        return self

    def place(self, model: HookedModel) -> Placement:
        COUNTS["place"] += 1
        return super().place(model)


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("gpt2", "bert", "t5"):
        is_packed(toy_model(family))  # asked now: the answer takes passes of its own
    for name in ("stacked", "written"):
        for module in (shared, encoder, seq2seq):
            monkeypatch.setattr(module, name, counted(name, getattr(module, name)))


def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        COUNTS[name] += args[1] != []  # the model alone has no prompt
        return function(*args)

    return call


def test_a_training_step() -> None:
    model, prompt = toy_model("gpt2"), Counted(4).bind(toy_model("gpt2"))
    examples = encode_split(model, prompt, toy_task(), "train")
    for size in (10, 3):  # one pass, and four whose gradients are summed
        every = list(batches(model, examples, size))
        COUNTS.clear()
        accumulate_gradient(model, prompt, every)
        assert dict(COUNTS) == ONCE, size


@pytest.mark.parametrize("call", [ps.evaluate, ps.predict, score_labels])
@pytest.mark.parametrize("words", [WORD, LONG_WORD], ids=["one token", "several tokens"])
def test_all_batches_of_an_evaluation(call: Callable[..., Any], words: dict[str, str]) -> None:
    model, prompt = toy_model("gpt2"), Counted(4).bind(toy_model("gpt2"))
    COUNTS.clear()
    call(model, prompt, toy_task(words), split="train", batch_size=3, progress=False)
    assert dict(COUNTS) == ONCE


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_where_each_batch_has_rows_of_the_prompt(family: str) -> None:
    model, prompt = toy_model(family), Counted(4).bind(toy_model(family))
    COUNTS.clear()
    ps.evaluate(model, prompt, toy_task(), split="train", batch_size=3, progress=False)
    parts = len(model.family.attentions)
    assert dict(COUNTS) == {"bind": 1, "place": 1, "stacked": 4, "written": 4 * parts}
