"""Half precision on the families that people run in it: ways differ no more than the type makes of the model."""

import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.engine import Texts
from promptscope.engine.choice import why_not_packed
from promptscope.engine.packed import packed_logits
from promptscope.models import HookedModel, Placement
from promptscope.models.samples import sample_placements
from tests.models.zoo import VOCABULARY, make

NAMES = ("llama", "qwen2", "qwen3", "mistral_win", "gemma2", "gemma3", "phi3", "olmo2", "gpt_oss", "mixtral", "granite")
QUICK = {"gemma3", "gpt_oss"}
IDS = torch.randint(4, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[1] * 12, [1] * 5 + [0] * 7])

pytestmark = pytest.mark.filterwarnings("ignore::promptscope.engine.choice.PackingWarning")


def ways(model: HookedModel, placement: Placement) -> dict[str, Tensor]:
    real = MASK.bool()
    found = {way: model.logits(IDS, MASK, placement, via=way)[real] for way in ("hooks", "prefix")}
    if why_not_packed(model) is None:
        found["packed"] = packed_logits(model, Texts(IDS, MASK, real), [placement])
    return {way: logits.float() for way, logits in found.items()}


def far(logits: Tensor, truth: Tensor) -> float:
    """Return the median over rows: rounding sends a token to other experts now and then."""
    return float(((logits - truth).norm(dim=-1) / truth.norm(dim=-1)).median())


def cast(placement: Placement, dtype: torch.dtype) -> Placement:
    return placement.map(lambda x: x.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES])
def test_ways_differ_by_no_more_than_the_type(name: str, dtype: torch.dtype) -> None:
    """The model's own rounding: hooks in half precision against hooks in float32 on the same, rounded weights."""
    half = ps.load_model(make(name, dtype=dtype))
    exact = ps.load_model(make(name, dtype=dtype).float())
    assert half.dtype == dtype and exact.dtype == torch.float32
    with torch.no_grad():
        for kind, placement in sample_placements(half).items():
            truth = ways(exact, cast(placement, torch.float32))["hooks"]
            found = ways(half, placement)
            assert "packed" in found, kind
            own = far(found["hooks"], truth)
            assert 0 < own < 0.1, kind
            for way, logits in found.items():
                off = far(logits, truth)
                assert off <= 2 * own + 1e-3, f"{kind}, {way}: {off:.1e}, the type alone {own:.1e}"
