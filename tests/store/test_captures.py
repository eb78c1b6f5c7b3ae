"""Captures: what their key covers, and where a view finds things."""

from dataclasses import dataclass, field

import pytest
import torch

from promptscope.errors import StoreError
from promptscope.probes import AttentionBlock, ReceivedAttention
from promptscope.store import Capture, View


def define(source: str) -> Capture:
    """Define a capture class as a notebook cell would, from the body of its `reduce`."""
    names = {"dataclass": dataclass, "Capture": Capture, "__name__": "__main__"}
    exec(
        "@dataclass(frozen=True)\nclass Mine(Capture):\n    site: str = 'hook_resid_post'\n"
        f"    def reduce(self, x, layer, view):\n        {source}\n",
        names,
    )
    return names["Mine"]()


def test_parameters_are_part_of_the_key():
    assert AttentionBlock(first_n=10).spec() == {
        "capture": "AttentionBlock",
        "version": 1,
        "site": "attn.hook_pattern",
        "first_n": 10,
    }
    assert AttentionBlock(first_n=10).spec() != AttentionBlock(first_n=9).spec()


def test_code_of_a_notebook_s_capture_is_part_of_its_key():
    assert "code" not in ReceivedAttention().spec()
    first, same, edited, constant = (
        define(body) for body in ("return x.sum(1)", "return x.sum(1)", "return x.mean(1)", "return x.sum(2)")
    )
    assert first.spec() == same.spec()
    assert first.spec() != edited.spec() != constant.spec() != first.spec()
    nested = define("return (lambda y: y.sum(1))(x)")
    assert (
        nested.spec()
        == define("return (lambda y: y.sum(1))(x)").spec()
        != define("return (lambda y: y.sum(2))(x)").spec()
    )


def test_a_field_that_is_no_json_value_is_refused():
    @dataclass(frozen=True)
    class WithTensor(Capture):
        site: str = "hook_resid_post"
        direction: torch.Tensor = field(default_factory=lambda: torch.ones(3))

        def reduce(self, x, layer, view):
            return x @ self.direction

    with pytest.raises(StoreError, match="JSON values"):
        WithTensor().spec()


def test_a_view_finds_prompt_text_and_answer():
    tokens = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    special = torch.tensor([[1, 0, 1, 1], [1, 0, 0, 1]]).bool()
    view = View(2, tokens, special, answer=torch.tensor([2, 3]))
    x = torch.arange(12).view(2, 6)
    assert view.without_prompt(x).tolist() == [[2, 3, 4, 5], [8, 9, 10, 11]]
    assert view.at(x, view.answer).tolist() == [4, 11]
    assert view.at(x, view.lengths - 1).tolist() == [4, 11]
    assert view.text.tolist() == [[False, True, False, False], [False, True, True, False]]
    square = torch.arange(36).view(1, 6, 6).expand(2, 6, 6)
    assert view.without_prompt(square, 1, 2).shape == (2, 4, 4)
    assert view.without_prompt(square, 1, 2)[0, 0, 0] == 14
