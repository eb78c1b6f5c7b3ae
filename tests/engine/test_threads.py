"""One model in two threads: right numbers or an error, never wrong numbers in silence."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

import promptscope as ps
from promptscope.engine import Texts, checkpointed, kernel, only_tokens
from promptscope.engine.attention import running
from promptscope.engine.packed import packed_logits
from promptscope.inference.batches import batches, encode_split
from promptscope.inference.scoring import word_logits
from promptscope.models import HookedModel
from tests.engine.ways import EVERY, assert_rounded, by_hooks, by_packing, texts, wanted
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB, toy_task


def together(*jobs: Callable[[], Any], times: int = 6) -> list[list[Any]]:
    """Run each job several times, all at once; return what each gave, or the errors it met."""
    found: list[list[Any]] = [[] for _ in jobs]
    gate = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        gate.wait()
        for _ in range(times):
            try:
                found[i].append(jobs[i]())
            except Exception as error:
                found[i].append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads), "the threads wait for each other"
    return found


def meanwhile(job: Callable[[], Any], seconds: float = 0.2) -> Callable[[], Any]:
    """Begin *job* in another thread and give it time; the returned function waits for its end and its result."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(job())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(seconds)

    def result() -> Any:
        thread.join(60)
        return found[0]

    return result


def own_model(family: str = "gpt2") -> HookedModel:
    return ps.load_model(tiny_hf_model(family, vocab=VOCAB), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize("prepacked", [False, True], ids=["as it is", "prepacked"])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_packed_passes_take_turns(family: str, prepacked: bool) -> None:
    model, batch = ps.load_model(tiny_hf_model(family)), texts(family)
    where, prompts = wanted(batch), [EVERY[name]().bind(model) for name in ("v1", "v2 in some layers")]
    expected = [by_hooks(model, batch, prompt, where) for prompt in prompts]

    def job(i: int) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with ps.execution(prepacked=prepacked), torch.no_grad():  # a thread starts without either
                return by_packing(model, batch, [prompts[i]], where)

        return run

    for found, want in zip(together(job(0), job(1)), expected, strict=True):
        for got in found:
            assert isinstance(got, torch.Tensor), got
            assert_rounded(got, want)
    assert not [m for m in model.twin.modules() if "forward" in m.__dict__]
    assert model.twin.config._attn_implementation == "sdpa"


def test_a_plain_pass_beside_a_packed_one_is_right_or_refused() -> None:
    model, batch = own_model(), texts("gpt2")
    ids = batch.input_ids % VOCAB
    expected = model.logits(ids, batch.attention_mask)

    class Nothing:
        def attend(self, *arguments: Any) -> torch.Tensor:
            raise AssertionError("this pass is of another thread")

    with running(model.twin, Nothing()):
        got = meanwhile(lambda: model.logits(ids, batch.attention_mask))()
    assert isinstance(got, RuntimeError)
    assert "two threads" in str(got)
    assert torch.equal(model.logits(ids, batch.attention_mask), expected)


def test_the_words_of_one_thread_do_not_reach_another() -> None:
    model = own_model()
    (batch,) = batches(model, encode_split(model, None, toy_task(), "train"), 10)
    every = word_logits(model, batch, range(VOCAB))
    with only_tokens(model, [5, 6]):
        plain = meanwhile(lambda: model.logits(batch.input_ids, batch.attention_mask), 5)()
        waiting = meanwhile(lambda: word_logits(model, batch, [7, 8, 9]))
    assert isinstance(plain, torch.Tensor), plain
    assert plain.shape[-1] == VOCAB
    got = waiting()
    assert isinstance(got, torch.Tensor), got
    torch.testing.assert_close(got, every[:, [7, 8, 9]])
    for tokens, found in zip(
        ([5, 6], [9, 8, 7]),
        together(lambda: word_logits(model, batch, [5, 6]), lambda: word_logits(model, batch, [9, 8, 7])),
        strict=True,
    ):
        for got in found:
            assert isinstance(got, torch.Tensor), got
            torch.testing.assert_close(got, every[:, tokens])
    assert not [m for m in model.twin.modules() if "forward" in m.__dict__]


def test_blocks_of_two_threads_wait_for_each_other() -> None:
    """What one thread patched is there until it unpatches it, and nobody unpatches it twice."""
    model, batch = own_model(), texts("gpt2")
    ids, where, order = batch.input_ids % VOCAB, wanted(batch), []

    def passes() -> torch.Tensor:
        with ps.execution(prepacked=True), kernel(model), checkpointed(model):
            order.append("other")
            return packed_logits(model, Texts(ids, batch.attention_mask, where))

    expected = model.logits(ids, batch.attention_mask)[where]
    with ps.execution(prepacked=True), kernel(model), checkpointed(model):
        other = meanwhile(passes)
        order.append("mine")
    got = other()
    assert order == ["mine", "other"]
    assert isinstance(got, torch.Tensor), got
    assert_rounded(got, expected)
    assert not [m for m in model.twin.modules() if "forward" in m.__dict__]
