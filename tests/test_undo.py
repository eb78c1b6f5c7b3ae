"""Ctrl-C while something is being put back: it is put back all the same, and nothing is put back later."""

import contextlib
import gc
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import pytest
import torch

import promptscope as ps
from promptscope.models.modes import _settings
from promptscope.undo import _LISTED, left_as_found, replaced, undoing
from tests.training.toy import toy_model, toy_task


def state(model: ps.HookedModel) -> dict[str, Any]:
    """Return what a call may change for its own length."""
    modules = [*model.twin.modules(), *model.bridge.modules()]
    return {
        "modes": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()),
        "products": [getattr(place, name) for place, name, _ in _settings()],
        "attention": [getattr(getattr(module, "config", None), "_attn_implementation", None) for module in modules],
        "forward": sum("forward" in vars(module) for module in modules),
        "bias": sum("compute_bias" in vars(module) for module in modules),
        "hooks": sum(len(module._forward_hooks) + len(module._backward_hooks) for module in modules),
        "listed": sum(len(point.fwd_hooks) for point in model.bridge.hook_dict.values()),
        "gradients": sum(parameter.requires_grad for parameter in model.twin.parameters()),
        "warnings": (id(warnings.filters), len(warnings.filters), warnings.showwarning),
        "turn": (model._turns.depth, model._turns._lock._is_owned()),  # type: ignore[attr-defined]
    }


def interrupted(call: Callable[[], object], at: int = -1) -> tuple[int, bool]:
    """Raise KeyboardInterrupt at a place where a block is entered or left; return how many there are, and if it came.

    It is raised as a function is entered, where Python looks for signals.
    """
    seen, came = 0, False

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal seen, came
        callers = [frame, frame.f_back, frame.f_back and frame.f_back.f_back]
        ends = any(one is not None and one.f_code.co_name in ("__exit__", "__enter__", "undo") for one in callers)
        if event == "call" and ends:
            if seen == at:
                sys.setprofile(None)
                came = True
                raise KeyboardInterrupt
            seen += 1

    sys.setprofile(look)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return seen, came


CALLS: dict[str, Callable[[ps.HookedModel, ps.Prompt], object]] = {
    "logits": lambda model, prompt: model.logits(torch.tensor([[5, 6, 7]]), prompt=prompt, **_answer(model)),
    "evaluate": lambda model, prompt: ps.evaluate(model, prompt, toy_task(), limit=2, split="train", progress=False),
    "hooks": lambda model, prompt: ps.predict(
        model,
        prompt,
        toy_task(),
        limit=2,
        split="train",
        progress=False,
        hooks=[(next(iter(model.bridge.hook_dict)), lambda x, hook: None)],
    ),
    "train": lambda model, prompt: ps.train(
        model, prompt.copy(), toy_task(), ps.TrainConfig(steps=1, batch_size=2), progress=False
    ),
}


def _answer(model: ps.HookedModel) -> dict[str, torch.Tensor]:
    return {"decoder_input_ids": torch.tensor([[0, 5]])} if model.family.kind == "seq2seq" else {}


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
@pytest.mark.parametrize("name", list(CALLS))
@pytest.mark.slow  # Python's profiler looks at each of a hundred thousand calls
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops an interrupt in __del__
def test_everything_is_left_as_it_was(name: str, family: str) -> None:
    everything_is_left(name, family, 60)


def everything_is_left(name: str, family: str, n: int) -> None:
    model = toy_model(family)
    prompt = ps.SoftPrompt(2).bind(model)

    def call() -> object:
        return CALLS[name](model, prompt)

    call()
    before = state(model)
    places, _ = interrupted(call)
    assert places > 20
    came = 0
    for at in random.Random(0).sample(range(places), n):
        came += interrupted(call, at)[1]
        assert state(model) == before, at
        gc.collect()
        assert state(model) == before, f"after {at}, when the traceback was forgotten"
    assert came > n // 2


class Gone(BaseException):
    pass


def test_a_block_that_was_not_left_is_left_by_the_call() -> None:
    names: dict[str, Any] = {"a": 1}
    block = replaced((names, "a", 2), (names, "b", 3))
    with pytest.raises(Gone), left_as_found():
        block.__enter__()
        assert names == {"a": 2, "b": 3}
        raise Gone
    assert names == {"a": 1} and not _LISTED.changes
    names["a"] = 5  # by somebody else, later
    del block
    gc.collect()
    assert names == {"a": 5}


def test_filters_of_warnings_are_put_back_where_nothing_else_did() -> None:
    before, listed = warnings.filters, list(warnings.filters)
    with pytest.raises(Gone), left_as_found():
        warnings.catch_warnings(record=True).__enter__()
        warnings.simplefilter("ignore")
        raise Gone
    assert warnings.filters is before and list(warnings.filters) == listed
    with pytest.warns(UserWarning, match="seen"):
        warnings.warn("seen", UserWarning, stacklevel=1)


def test_two_threads_do_not_leave_each_others_filters_of_warnings() -> None:
    before, listed = warnings.filters, list(warnings.filters)
    second_has_begun, first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(4))

    def first() -> None:
        assert second_has_begun.wait(20)
        with left_as_found(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first_is_in.set()
            assert second_is_in.wait(20)
        first_is_out.set()

    def second() -> None:
        with left_as_found():
            second_has_begun.set()
            assert first_is_in.wait(20)
            with warnings.catch_warnings():
                second_is_in.set()
                assert first_is_out.wait(20)

    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters is before and list(warnings.filters) == listed


def test_filters_that_the_caller_ends_while_another_thread_runs_stay_ended() -> None:
    before = warnings.filters
    first_is_out, second_is_in = threading.Event(), threading.Event()

    def second() -> None:
        with left_as_found():
            second_is_in.set()
            assert first_is_out.wait(20)

    thread = threading.Thread(target=second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with left_as_found():
            thread.start()
            assert second_is_in.wait(20)
    assert warnings.filters is before
    first_is_out.set()
    thread.join()
    assert warnings.filters is before


def test_filters_that_a_call_sets_for_good_stay() -> None:
    with warnings.catch_warnings():
        with left_as_found():
            warnings.filterwarnings("ignore", message="set for good")
        warnings.warn("set for good", UserWarning, stacklevel=1)


def test_undoing_that_is_interrupted_is_done_again() -> None:
    found = []

    def undo() -> None:
        found.append("begun")
        if len(found) == 1:
            raise Gone
        found.append("done")

    with pytest.raises(Gone), left_as_found(), undoing(undo):
        pass
    assert found == ["begun", "begun", "done"]


@pytest.mark.parametrize("stacked", [False, True])
def test_suspended_blocks_end_with_the_call_and_not_with_its_traceback(stacked: bool) -> None:
    ended = []

    @contextmanager
    def block() -> Iterator[None]:
        try:
            yield
        finally:
            ended.append(True)

    def work() -> None:
        if stacked:
            with ExitStack() as stack:
                stack.enter_context(block())
        else:
            with block():
                pass

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "__exit__" and frame.f_code.co_filename == contextlib.__file__:
            sys.setprofile(None)
            raise Gone

    with pytest.raises(Gone) as caught:
        sys.setprofile(look)
        try:
            with left_as_found():
                work()
        finally:
            sys.setprofile(None)
    assert ended == [True]
    assert caught.tb is not None
