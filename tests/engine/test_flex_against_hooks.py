"""The causal layout over flex attention: its mask says what the padded attention does. A CPU runs it run only."""

import pytest
import torch

import promptscope as ps
from promptscope.engine import packed
from promptscope.engine.flex import FlexPass
from tests.engine.ways import PROMPTS, assert_exact, by_hooks, by_packing, gradient, logits_where, texts, wanted
from tests.tiny_models import CAUSAL, hooked, tiny_hf_model

# Without its compiler (GPUs only) it says that it is slow; that is not in question here.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture(autouse=True)
def flex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "fastest_pass", lambda model: FlexPass)


@pytest.mark.parametrize("name", [*PROMPTS, "none"])
@pytest.mark.parametrize("family", CAUSAL)
def test_logits(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    prompt, where = PROMPTS[name]().bind(model) if name != "none" else None, wanted(batch)
    with torch.no_grad():
        got = by_packing(model, batch, [] if prompt is None else [prompt], where)
        assert_exact(got, by_hooks(model, batch, prompt, where), family)


@pytest.mark.parametrize("name", ["v1", "v2 untied", "v2 in some layers"])
def test_several_prompts_and_a_common_beginning(name: str) -> None:
    model, batch = hooked("llama", torch.float64), texts("llama")
    which, prompts = torch.tensor([1, 0, 1, 0]), [PROMPTS[name](seed).bind(model) for seed in range(2)]
    ids = torch.cat([batch.input_ids, batch.input_ids[:1]])
    ids[:, :2] = torch.tensor([5, 6])
    mask = torch.cat([batch.attention_mask, batch.attention_mask[2:]])
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[torch.arange(4), mask.sum(1) - 1] = True
    with torch.no_grad():
        got = logits_where(model, where, ids, mask, prompts, which)
        every = torch.stack([model.logits(ids, mask, prompt, via="hooks")[where] for prompt in prompts])
    assert_exact(got, every[which, torch.arange(4)], "llama")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex attention has no way back on a CPU")
@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", CAUSAL)
def test_gradient_on_a_gpu(family: str, name: str) -> None:
    model, batch = ps.load_model(tiny_hf_model(family, d_model=64), device="cuda"), texts(family)
    prompt, where = PROMPTS[name]().bind(model), wanted(batch).to("cuda")
    got, expected = by_packing(model, batch, [prompt], where), by_hooks(model, batch, prompt, where)
    error = (got - expected).norm() / expected.norm()
    ours, theirs = gradient(got, prompt), gradient(expected, prompt)
    assert error <= 1e-3
    assert (ours - theirs).norm() <= 1e-3 * theirs.norm()
