"""The real thing: SmolLM2-135M, with PEFT and bare Hugging Face as the truth."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from promptscope.models import HookedModel, Via, load_model
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, load_prompt, write_peft

pytestmark = pytest.mark.slow

TEXTS = ["The capital of France is", "I saw the film twice, and the second time it was even more", "Water boils at"]
K = 8


@pytest.fixture(scope="module")
def model(smollm2: Path) -> HookedModel:
    return load_model(smollm2)  # runs the self-test


@pytest.fixture(scope="module")
def bare(smollm2: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def batch(model: HookedModel) -> tuple[Tensor, Tensor]:
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    n = max(map(len, rows))
    ids = torch.tensor([row + [0] * (n - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (n - len(row)) for row in rows])
    return ids, mask


def test_it_is_the_model_that_we_think(model: HookedModel, batch: tuple[Tensor, Tensor], bare: Any) -> None:
    ids, mask = batch
    assert (model.family.name, model.shape.n_layers, model.shape.d_model) == ("llama", 30, 576)
    assert (model.shape.n_heads, model.shape.n_kv_heads) == (9, 3)
    assert sum(p.numel() for p in model.twin.parameters()) == 134_515_008
    for via in ("hooks", "auto"):
        logits = model.logits(ids, mask, via=via)  # type: ignore[arg-type]
        for row, row_mask, row_ids in zip(logits, mask.bool(), ids, strict=True):
            alone = bare(row_ids[row_mask][None]).logits[0]
            torch.testing.assert_close(row[row_mask], alone, rtol=0, atol=5e-4)
        assert model.tokenizer.decode(logits[0][mask[0].bool()][-1].argmax()) == " Paris"


@pytest.mark.parametrize("make", [lambda: SoftPrompt(K, "vocab", seed=1), lambda: DeepPrompt(K, init="vocab", seed=1)])
def test_hooks_and_prefix_agree(model: HookedModel, batch: tuple[Tensor, Tensor], make: Any) -> None:
    ids, mask = batch
    prompt: Prompt = make().bind(model)
    where = (mask[:, 1:] == 1).flatten()

    def loss_and_gradient(via: Via) -> tuple[Tensor, Tensor]:
        prompt.zero_grad()
        logits = model.logits(ids, mask, prompt, via=via)[:, :-1].flatten(0, 1)[where]
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()[where])
        loss.backward()
        return loss.detach(), torch.cat([number.grad.flatten() for number in prompt.parameters()])

    (hooks_loss, hooks_gradient), (prefix_loss, prefix_gradient) = map(loss_and_gradient, ("hooks", "prefix"))
    assert abs(hooks_loss - prefix_loss) <= 1e-4 * hooks_loss
    assert (hooks_gradient - prefix_gradient).norm() <= 1e-4 * hooks_gradient.norm()
    assert hooks_gradient.norm() > 1e-3


CONFIGS = [
    peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=K),
    peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=K),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["prompt_tuning", "prefix_tuning"])
def test_peft_in_both_directions(
    model: HookedModel, batch: tuple[Tensor, Tensor], smollm2: Path, config: Any, tmp_path: Path
) -> None:
    """Imported prefix tuning is PEFT's cache itself; elsewhere float32 on 30 layers sets the limit.

    PEFT differs from itself by 4e-5 to 9e-4 (sdpa and eager attention, logits up to 30), so 1e-5 can only be asked
    where the order of operations is the same. The tiny models in tests/prompts/test_peft.py show 1e-5 everywhere.
    """
    (ids, mask), n = batch, batch[0].shape[1]
    torch.manual_seed(0)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=FutureWarning)
        base = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
        theirs = peft.get_peft_model(base, config).eval()
        for parameter in theirs.prompt_encoder.parameters():
            parameter.mul_(0.1)  # PEFT's own start, N(0, 1), is far outside what a trained prompt looks like
        theirs.save_pretrained(str(tmp_path / "theirs"))
        want = theirs(input_ids=ids, attention_mask=mask).logits[:, -n:]
        base.set_attn_implementation("eager")
        eager = theirs(input_ids=ids, attention_mask=mask).logits[:, -n:]
        base.set_attn_implementation("sdpa")
        prompt = load_prompt(tmp_path / "theirs", model)
        write_peft(model, prompt, tmp_path / "ours")
        again = peft.PeftModel.from_pretrained(base, str(tmp_path / "ours")).eval()
        logits = {via: model.logits(ids, mask, prompt, via=via) for via in ("hooks", "prefix")}  # type: ignore[arg-type]
        logits |= {
            "written": again(input_ids=ids, attention_mask=mask).logits[:, -n:],
            "own": eager,
            "effect": model.logits(ids, mask),
        }
    difference = {name: float((got - want)[mask.bool()].abs().max()) for name, got in logits.items()}
    assert difference["effect"] > 0.1
    assert difference["written"] <= 1e-5, difference
    assert difference["hooks"] <= max(1e-5, 3 * difference["own"]), difference
    exact = config.peft_type == "PREFIX_TUNING"
    assert difference["prefix"] <= (1e-5 if exact else max(1e-5, 3 * difference["own"])), difference
    print({name: f"{value:.1e}" for name, value in difference.items()})
