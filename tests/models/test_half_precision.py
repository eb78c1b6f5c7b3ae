"""Half precision on the families that people run in it: ways differ no more than the type makes of the model."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import promptscope as ps
from promptscope.engine import Texts
from promptscope.engine.choice import why_not_packed
from promptscope.engine.packed import packed_logits
from promptscope.engine.plain import plain_logits
from promptscope.models import HookedModel, Placement
from promptscope.models.samples import sample_placements
from tests.invariance.entry_points import ENTRY_POINTS, Call
from tests.models.zoo import VOCABULARY, make
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB

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


CLAMPING = ("t5", "mt5", "switch", "bart", "mbart", "pegasus", "m2m100", "blenderbot", "plbart", "mvp")
"""Families whose layers cut off in float16 what is too large."""


def halved(name: str, out: float = 1.0) -> PreTrainedModel:
    """Make a model with half the weights, as the zoo's own round too coarsely; attention adds *out* times as much."""
    model = make(name, dtype=torch.float16)
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(out / 2 if part.split(".")[-2] in ("o", "out_proj") else 0.5)
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("t5", "m2m100") else pytest.mark.slow) for n in CLAMPING]
)
def test_activations_beyond_float16_are_not_cut_off_without_a_word(name: str) -> None:
    model = halved(name)
    with torch.no_grad():
        for part, weight in model.named_parameters():
            if part.split(".")[-2] in ("fc1", "wi", "wi_0", "wi_1"):
                weight.mul_(100)
            if part.split(".")[-2] in ("fc2", "wo"):
                weight.mul_(3e4)
    with pytest.raises(ps.ModelError, match=r"(?s)float16.*'float32'"):
        ps.load_model(model)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "t5" else pytest.mark.slow) for n in CLAMPING])
def test_large_prompts_in_float16_are_right_or_refused_in_every_way(name: str) -> None:
    half, exact = ps.load_model(halved(name, 16)), ps.load_model(halved(name, 16).float())
    texts = Texts(IDS, MASK, torch.ones(2, 5, dtype=torch.bool), IDS[:, :5])
    ways = [plain_logits, packed_logits][: 1 if why_not_packed(half) else 2]
    with torch.no_grad():
        for kind, sample in sample_placements(half).items():
            for size in (2e4, 6e4):
                placement = with_large_values(sample, size)
                truth = plain_logits(exact, texts, [cast(placement, torch.float32)])
                for way in ways:
                    try:
                        logits = way(half, texts, [placement]).float()
                    except ps.ModelError as error:
                        assert "float16" in str(error)
                    else:
                        assert not logits.isfinite().all() or far(logits, truth) < 5e-3, f"{kind}, {size}, {way}"


def with_large_values(placement: Placement, size: float) -> Placement:
    """Scale vectors and values; large keys would make attention one-hot, which rounds coarsely in any case."""
    if placement.vectors is not None:
        return placement.map(lambda x: x / x.abs().max() * size)
    parts = placement.parts.items()
    return replace(
        placement, parts={p: replace(kv, values=kv.values / kv.values.abs().max() * size) for p, kv in parts}
    )


# What an entry point may differ from float32 by on the tiny models, whose losses are 3 to 6 nats; a hundredth of that
# between batches of one text and of three.
ROUNDING = {torch.bfloat16: 2e-2, torch.float16: 3e-3}
ENTRIES = [name for name in ENTRY_POINTS if name not in ("logits", "train")]
NOT_CAUSAL = ("logit_lens", "patchscope")


@pytest.mark.parametrize("dtype", list(ROUNDING), ids=["bf16", "fp16"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=() if e in ("importance", "generate") else pytest.mark.slow) for e in ENTRIES],
)
def test_entry_points_round_as_the_model_does(entry: str, family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    exact, half = in_types(family, dtype)
    call, *others = (Call(model, tmp_path, batch_size=n) for model, n in ((exact, 3), (half, 3), (half, 1)))
    if (family in ("bert", "t5") and entry in NOT_CAUSAL) or (family, entry) == ("bert", "generate"):
        with pytest.raises(ps.PromptscopeError, match=r"masked|causal model"):
            ENTRY_POINTS[entry](others[0])
        return
    truth, of_three, of_one = (ENTRY_POINTS[entry](one) for one in (call, *others))
    if truth.dtype.kind != "f":
        np.testing.assert_array_equal(of_three, truth)
        np.testing.assert_array_equal(of_one, truth)
        return
    off = np.abs(of_three - truth).max()
    assert 0 < off < ROUNDING[dtype]  # it does run in half precision
    np.testing.assert_allclose(of_one, of_three, rtol=0, atol=ROUNDING[dtype] / 100)


@cache
def in_types(family: str, dtype: torch.dtype) -> tuple[HookedModel, HookedModel]:
    """Load one model in float32 and in *dtype*, with the same, rounded weights."""
    rounded = tiny_hf_model(family, dtype, vocab=VOCAB)
    return tuple(ps.load_model(one, tokenizer=tiny_tokenizer()) for one in (copy.deepcopy(rounded).float(), rounded))
