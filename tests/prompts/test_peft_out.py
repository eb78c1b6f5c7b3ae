"""Adapters of masked models and of P-tuning with its encoder: PEFT loads what is written, and says the same."""

import warnings

import peft
import pytest
import torch

import promptscope as ps
from promptscope.errors import PromptError
from promptscope.prompts import load_prompt, write_peft
from promptscope.prompts.reparameterisation import Lstm, Mlp, Residual
from tests.prompts.test_leaving import texts
from tests.tiny_models import hooked, tiny_hf_model

K = 4


@pytest.fixture(autouse=True)
def _quiet_peft():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*encoder_num_layers.*")
        yield


@torch.no_grad()
def same(model, family, prompt, folder):
    """Assert that PEFT, given the adapter, computes our logits."""
    ids, mask = texts("right")
    theirs = peft.PeftModel.from_pretrained(tiny_hf_model(family), str(folder)).eval()
    plain = theirs(input_ids=ids, attention_mask=mask).logits[:, -ids.shape[1] :]
    ours = model.logits(ids, mask, prompt)
    for row, n in enumerate((4, 6, 7)):
        torch.testing.assert_close(plain[row, :n], ours[row, :n], atol=1e-5, rtol=1e-4)
    return theirs


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("how", [Mlp(16), Lstm(16)], ids=["mlp", "lstm"])
def test_p_tuning_goes_out_with_its_encoder(family, how, tmp_path):
    model = hooked(family)
    prompt = ps.SoftPrompt(K, init=ps.init.Uniform(-1.0, 1.0), reparameterisation=how).bind(model)
    write_peft(model, prompt, tmp_path)
    theirs = same(model, family, prompt, tmp_path)
    assert theirs.peft_config["default"].peft_type == "P_TUNING"
    back = load_prompt(tmp_path, model)
    assert back.reparameterisation == how
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(back.parameters(), prompt.parameters(), strict=True))


def test_a_masked_model_s_prompt_goes_out_and_comes_back(tmp_path):
    model = hooked("bert")
    prompt = ps.SoftPrompt(K, init=ps.init.Uniform(-1.0, 1.0)).bind(model)
    write_peft(model, prompt, tmp_path)
    same(model, "bert", prompt, tmp_path)
    assert torch.equal(load_prompt(tmp_path, model).vectors(), prompt.vectors())


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=K),
        peft.PromptEncoderConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=K, encoder_hidden_size=16),
    ],
    ids=["prompt_tuning", "p_tuning"],
)
def test_peft_s_own_adapter_of_an_encoder(config, tmp_path):
    torch.manual_seed(1)
    peft.get_peft_model(tiny_hf_model("bert"), config).eval().save_pretrained(str(tmp_path))
    same(hooked("bert"), "bert", load_prompt(tmp_path, hooked("bert")), tmp_path)


def test_what_peft_has_not(tmp_path):
    with pytest.raises(PromptError, match="masked models such as"):
        write_peft(hooked("bert"), ps.DeepPrompt(K).bind(hooked("bert")), tmp_path)
    other = ps.SoftPrompt(K, reparameterisation=Residual(8)).bind(hooked("gpt2"))
    with pytest.raises(PromptError, match=r"prompt\.fold"):
        write_peft(hooked("gpt2"), other, tmp_path)
    edited = ps.interventions.zero(ps.SoftPrompt(K).bind(hooked("gpt2")), [0])
    with pytest.raises(PromptError, match="no counterpart of EditedPrompt"):
        write_peft(hooked("gpt2"), edited, tmp_path)
