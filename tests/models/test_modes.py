"""What the caller has set for the whole process makes no difference."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import promptscope as ps
from tests.training.toy import toy_model, toy_task

Call = Callable[[Path], Any]


@contextmanager
def default_device_meta() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        forget_none()


def forget_none() -> None:
    """PyTorch 2.6 cannot read a default device that was unset, and transformers reads it when it loads a model."""
    with suppress(AttributeError):
        if torch._GLOBAL_DEVICE_CONTEXT.device_context is None:
            del torch._GLOBAL_DEVICE_CONTEXT.device_context


@contextmanager
def products_in_less(precision: str = "medium") -> Iterator[None]:
    torch.set_float32_matmul_precision(precision)
    try:
        yield
        assert torch.get_float32_matmul_precision() == precision  # the caller's own work goes on as it was
    finally:
        torch.set_float32_matmul_precision("highest")


def prompt() -> ps.Prompt:
    return ps.SoftPrompt(3, init="vocab", seed=1)


def evaluate(folder: Path) -> Any:
    return ps.evaluate(toy_model("llama"), prompt(), toy_task(), progress=False)["loss"]


def train(folder: Path) -> Any:
    run = ps.train(toy_model("llama"), prompt(), toy_task(), ps.TrainConfig(steps=2), progress=False)
    return run.history["loss"].tolist()


def probe(folder: Path) -> Any:
    found = ps.probe(toy_model("llama"), prompt(), toy_task(), "attention_kl", progress=False)
    return found["attention_kl"].values.values.tolist()


def importance(folder: Path) -> Any:
    model = toy_model("llama")
    return ps.importance(model, prompt().bind(model), toy_task(), progress=False).loss.values.values.tolist()


def lens(folder: Path) -> Any:
    return str(ps.readings.read_logit_lens(toy_model("llama"), prompt()))


def patch(folder: Path) -> Any:
    return ps.causal.patch(toy_model("llama"), prompt(), toy_task()).data["nats"].values.tolist()


def deep(folder: Path) -> Any:
    return toy_model("llama").logits(torch.tensor([[5, 6]], device="cpu"), None, ps.DeepPrompt(2)).tolist()


def load(folder: Path) -> Any:
    return ps.load_model("embedded-masked-0").weights_hash


def files(folder: Path) -> Any:
    prompt().bind(toy_model("llama")).save(folder / "prompt")
    return ps.load_prompt(folder / "prompt", toy_model("llama")).content_hash()


CALLS: list[Call] = [evaluate, train, probe, importance, lens, patch, deep, load, files]


@pytest.mark.parametrize("mode", [default_device_meta, products_in_less], ids=lambda mode: mode.__name__)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_what_is_set_for_the_whole_process(mode: Any, call: Call, tmp_path: Path) -> None:
    expected = call(tmp_path)
    with mode():
        found = call(tmp_path)
    assert found == expected
