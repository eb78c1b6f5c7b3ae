"""What must make no difference, or exactly the difference that an edit of the weights makes."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from promptscope.models import HookedModel
from tests.invariance.entry_points import Call
from tests.tiny_models import tiny_hf_model
from tests.training.toy import VOCAB

HEAD = 1
# The output projection of the attention of layer 1.
OUTPUT = {
    "gpt2": "transformer.h.1.attn.c_proj",
    "llama": "model.layers.1.self_attn.o_proj",
    "gpt_neox": "gpt_neox.layers.1.attention.dense",
    "bert": "bert.encoder.layer.1.attention.output.dense",
    "t5": "encoder.block.1.layer.0.SelfAttention.o",
}


FACTOR = -8


def turn_head(x: Tensor, hook: object) -> Tensor:
    x = x.clone()
    x[:, :, HEAD] *= FACTOR
    return x


@torch.no_grad()
def with_turned_head(twin: nn.Module, family: str) -> None:
    """Do to the weights what `turn_head` does to activations: the output projection reads the head so many times."""
    weight = twin.get_submodule(OUTPUT[family]).weight
    columns = slice(HEAD * 8, (HEAD + 1) * 8)
    if family == "gpt2":
        weight[columns] *= FACTOR
    else:
        weight[:, columns] *= FACTOR


def hooks(model: HookedModel) -> tuple[Any, ...]:
    stack = "encoder_blocks" if model.family.kind == "seq2seq" else "blocks"
    return ((f"{stack}.1.attn.hook_z", turn_head),)


Entry = Callable[[Call], np.ndarray]
Condition = Callable[[Entry, Call], np.ndarray]


# --- those that act as the edit of the weights does ---------------------------------------------------


def hooks_attached(entry: Entry, call: Call) -> np.ndarray:
    entry(call)  # what was computed without them must not come back
    with call.model.hooks(hooks(call.model)):
        return entry(call)


def hooks_given(entry: Entry, call: Call) -> np.ndarray:
    entry(call)
    return entry(replace(call, hooks=hooks(call.model)))


def hooks_of_the_bridge(entry: Entry, call: Call) -> np.ndarray:
    entry(call)
    (point, function), *_ = hooks(call.model)
    call.model.bridge.add_hook(point, function)
    try:
        return entry(call)
    finally:
        call.model.bridge.reset_hooks()


def edited_weights(entry: Entry, call: Call) -> np.ndarray:
    entry(call)
    family = call.model.family.name
    weight = call.model.twin.get_submodule(OUTPUT[family]).weight
    before = weight.detach().clone()
    with_turned_head(call.model.twin, family)
    try:
        return entry(call)
    finally:
        weight.data.copy_(before)


# --- those that make no difference --------------------------------------------------------------------


def a_second_time(entry: Entry, call: Call) -> np.ndarray:
    entry(call)
    return entry(call)


def after_hooks(entry: Entry, call: Call) -> np.ndarray:
    with call.model.hooks(hooks(call.model)):
        entry(call)
    return entry(call)


def after_an_exception(entry: Entry, call: Call) -> np.ndarray:
    def fail(x: Tensor, hook: object) -> Tensor:
        raise ArithmeticError("in the middle of a pass")

    (point, _), *_ = hooks(call.model)
    try:
        entry(replace(call, hooks=((point, fail),)))
    except ArithmeticError:
        return entry(call)
    raise AssertionError("the hook did not run")


def two_threads(entry: Entry, call: Call) -> np.ndarray:
    """Run another call, under hooks, at the same time."""
    gate, found = threading.Barrier(2), {}

    def work(name: str, mine: Call) -> None:
        mine.folder.mkdir()
        gate.wait()
        try:
            found[name] = [entry(mine) for _ in range(2)]
        except Exception as error:
            found[name] = error

    calls = {
        "clean": replace(call, folder=call.folder / "a"),
        "hooked": replace(call, folder=call.folder / "b", hooks=hooks(call.model)),
    }
    threads = [threading.Thread(target=work, args=one) for one in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for one in found.values():
        if isinstance(one, Exception):
            raise one
    np.testing.assert_array_equal(*found["clean"])
    return found["clean"][0]


def forked(entry: Entry, call: Call) -> np.ndarray:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def work() -> None:
        try:
            theirs.send(entry(call))
        except Exception as error:
            theirs.send(error)

    process = context.Process(target=work)
    process.start()
    try:
        assert ours.poll(300), "the forked process does not come to an end"
        found = ours.recv()
    finally:
        process.kill()
        process.join()
    if isinstance(found, Exception):
        raise found
    return found


def inference_mode(entry: Entry, call: Call) -> np.ndarray:
    with torch.inference_mode():
        return entry(call)


def no_grad(entry: Entry, call: Call) -> np.ndarray:
    with torch.no_grad():
        return entry(call)


def autocast(entry: Entry, call: Call) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        return entry(call)


def default_float64(entry: Entry, call: Call) -> np.ndarray:
    torch.set_default_dtype(torch.float64)
    try:
        return entry(call)
    finally:
        torch.set_default_dtype(torch.float32)


def batches_of_two(entry: Entry, call: Call) -> np.ndarray:
    return entry(replace(call, batch_size=2))


def batches_of_one(entry: Entry, call: Call) -> np.ndarray:
    return entry(replace(call, batch_size=1))


def padded_left(entry: Entry, call: Call) -> np.ndarray:
    with _side(call.model, "left"):
        return entry(replace(call, left=True))


@contextmanager
def _side(model: HookedModel, side: str) -> Iterator[None]:
    before = model.tokenizer.padding_side
    model.tokenizer.padding_side = side
    try:
        yield
    finally:
        model.tokenizer.padding_side = before


def records_reversed(entry: Entry, call: Call) -> np.ndarray:
    return entry(replace(call, reverse=True))


AS_EDITED: list[Condition] = [hooks_attached, hooks_given, hooks_of_the_bridge, edited_weights]
NO_DIFFERENCE: list[Condition] = [
    a_second_time,
    after_hooks,
    after_an_exception,
    two_threads,
    forked,
    inference_mode,
    no_grad,
    autocast,
    default_float64,
    batches_of_two,
    batches_of_one,
    padded_left,
    records_reversed,
]


def hf_model(family: str, edited: bool) -> Any:
    model = tiny_hf_model(family, vocab=VOCAB, seed=1)  # of seed 0, GPT-2 writes one word whatever is edited
    if edited:
        with_turned_head(model, family)
    return model
