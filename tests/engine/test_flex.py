"""The mask of flex attention against the padded attention, on causal models; on a CPU flex has no backward pass."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.engine.causal import CausalPass, hidden_rows
from promptscope.engine.flex import FlexPass, fastest_pass
from promptscope.engine.shared import Shared
from tests.batches import ragged
from tests.tiny_models import hooked
from tests.training.toy import toy_model, toy_task


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # flex attention says that it runs uncompiled here, which is the point
        warnings.filterwarnings("ignore", message=".*flex_attention.*")
        yield


@torch.no_grad()
def hidden(family: str, kind: type[CausalPass], deep: bool, layers: list[int] | None = None) -> Tensor:
    model, batch = hooked(family), ragged(family)
    make = (
        (lambda seed: ps.DeepPrompt(3, layers=layers, seed=seed))
        if deep
        else (lambda seed: ps.SoftPrompt(3, seed=seed))
    )
    prompts = [make(seed).bind(model) for seed in range(2)]
    shared = Shared.of(model, [prompt.place(model) for prompt in prompts], [[7, 8], [9, 3]])
    which = torch.tensor([1, 0, 1])
    rows, _ = hidden_rows(model, shared, batch.input_ids, batch.attention_mask.bool(), which, kind=kind)
    return rows


@pytest.mark.parametrize(
    ("family", "deep", "layers"), [("gpt2", False, None), ("llama", True, None), ("gpt_neox", True, [1])]
)
def test_flex_attention_sees_what_the_padded_attention_sees(family: str, deep: bool, layers: list[int] | None) -> None:
    padded = hidden(family, CausalPass, deep, layers)
    torch.testing.assert_close(hidden(family, FlexPass, deep, layers), padded, rtol=1e-4, atol=1e-5)


def test_flex_attention_runs_where_it_is_asked_for_on_a_gpu() -> None:
    model = hooked("gpt2")
    assert fastest_pass(model) is CausalPass
    with ps.execution(attention="padded"):
        assert fastest_pass(model) is CausalPass
    with ps.execution(attention="flex"), pytest.raises(ps.ModelError, match="runs on a GPU"):
        ps.score_labels(toy_model("gpt2"), None, toy_task(), progress=False)
    with pytest.raises(ps.ModelError, match="'padded', 'flex'"), ps.execution(attention="sdpa"):
        pass
