"""The plain model attends by another function for the length of a block, and by the one before it afterwards."""

from typing import Any

import pytest
import torch
from torch import Tensor

from promptscope.models.attending import attending, current_attention
from tests.tiny_models import tiny_hf_model


def test_a_block_in_a_block_gives_the_model_back_as_it_was() -> None:
    model = tiny_hf_model("llama")
    called: list[str] = []

    def named(name: str) -> Any:
        def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: Any) -> Tensor:
            called.append(f"{name}, {'no mask' if mask is None else mask.dtype}")
            return query

        return attend

    def run() -> set[str]:
        called.clear()
        with torch.no_grad():
            model(torch.tensor([[5, 6, 7]]), attention_mask=torch.tensor([[0, 1, 1]]))
        return set(called)

    before = model.config._attn_implementation
    with attending(model, named("outer"), mask="eager"):
        with attending(model, named("inner")):
            assert run() == {"inner, no mask"}
        assert run() == {"outer, torch.float32"}
        with pytest.raises(ZeroDivisionError), attending(model, named("inner"), mask="sdpa"):
            assert run() == {"inner, torch.bool"}
            raise ZeroDivisionError
        assert run() == {"outer, torch.float32"}
    assert model.config._attn_implementation == before and current_attention() is None and not run()
