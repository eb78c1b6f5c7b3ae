"""Architectures besides those of `test_families.py`, each in one test: every way of running them gives one answer."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.glm_moe_dsa.modeling_glm_moe_dsa import GlmMoeDsaIndexer

import promptscope as ps
from promptscope.causal.components import components
from promptscope.engine import Texts
from promptscope.engine.choice import why_not_packed
from promptscope.engine.run import packed_logits
from tests.models.test_families import (
    IDS,
    LENGTHS,
    MASK,
    by_hooks,
    close,
    gradient,
    page_rows,
    prompts,
    targets,
    wanted,
)
from tests.models.zoo import MORE, TRIALS, make

QUICK = {"gemma4", "glm_moe_dsa", "bart_untied"}
"""Heads of two widths, a cache with more in it, an embedding of the encoder's own."""
needs_new_glm = pytest.mark.skipif(
    "past_key_values" not in inspect.signature(GlmMoeDsaIndexer.forward).parameters,
    reason="transformer-lens' bridge of GLM 5 calls it as later releases of transformers do",
)
UNPACKED = {"glm_moe_dsa", "mpnet", "roformer", "rembert", "megatron_bert", "mvp"}
ONLY_V1 = {"glm_moe_dsa", "gemma4", "jetmoe", "youtu", "glm4_moe_lite", "deepseek_v2"}

pytestmark = pytest.mark.filterwarnings("ignore::promptscope.engine.choice.PackingWarning")


def marks(name: str) -> list[pytest.MarkDecorator]:
    return ([] if name in QUICK else [pytest.mark.slow]) + ([needs_new_glm] if name == "glm_moe_dsa" else [])


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in MORE])
def test_one_answer_whatever_runs_it(name: str) -> None:
    check_page(name, check_one_answer(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_architectures_on_no_list(name: str) -> None:
    check_one_answer(name)


def check_one_answer(name: str) -> ps.HookedModel:
    untouched, model = make(name), ps.load_model(given := make(name))
    theirs = given.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in untouched.state_dict().items())
    assert (why_not_packed(model) is None) == (name not in UNPACKED), why_not_packed(model)
    decoder, where = targets(model), wanted(model)
    more = [{} if decoder is None else {"decoder_input_ids": decoder[i : i + 1]} for i in range(len(IDS))]
    with torch.no_grad():
        alone = [untouched(input_ids=IDS[i : i + 1, :n], **more[i]).logits[0] for i, n in enumerate(LENGTHS)]
    made = prompts(model) if name not in ONLY_V1 else {"v1": _random(ps.SoftPrompt(6), model)}
    for prompt in (None, *made.values()):
        expected, slope = by_hooks(model, prompt), None if prompt is None else gradient(by_hooks(model, prompt), prompt)
        if prompt is None:
            close(expected, torch.cat(alone))
        ways = [model.logits(IDS, MASK, prompt, decoder_input_ids=decoder)[where]]
        if name not in UNPACKED:
            placed = [] if prompt is None else [prompt.place(model)]
            ways.append(packed_logits(model, Texts(IDS, MASK, where, decoder), placed))
        for got in ways:
            close(got, expected)
            if prompt is not None and slope is not None:
                close(gradient(got, prompt), slope)
        if model.family.kind != "masked":
            goes_on(model, prompt)
    if name in ONLY_V1:
        with pytest.raises(ps.PromptError, match="models do not have"):
            ps.DeepPrompt(6).bind(model)
    return model


def _random(prompt: ps.Prompt, model: ps.HookedModel) -> ps.Prompt:
    with torch.no_grad():
        for numbers in prompt.bind(model).parameters():
            numbers.copy_(torch.randn(numbers.shape, generator=torch.Generator().manual_seed(2)) / 2)
    return prompt


def check_page(name: str, model: ps.HookedModel) -> None:
    maker = page_rows()
    cells, reasons = maker.row(name, model)
    lines = maker.PAGE.read_text(encoding="utf-8").splitlines()
    assert maker.line(cells) in lines
    said = [line[2 : line.index(": `")] for line in lines if line.startswith("- ") and f"`{name}`" in line]
    assert sorted(said) == sorted(reasons)


def goes_on(model: ps.HookedModel, prompt: ps.Prompt | None) -> None:
    """Two steps of greedy generation, with a cache, packed or plain, and read anew under hooks."""
    told = ps.generate(model, prompt, IDS, MASK, max_new_tokens=2)
    with ps.execution(packed=False):
        assert ps.generate(model, prompt, IDS, MASK, max_new_tokens=2) == told
    same = [(model.family.embedding, lambda x, hook: x * 1)]
    assert ps.generate(model, prompt, IDS, MASK, max_new_tokens=2, hooks=same) == told


def test_mixed_heads_are_no_heads() -> None:
    """BitNet norms all heads together before its output projection: what is there is no head's own."""
    model = ps.load_model(make("bitnet"))
    assert not model.family.has("blocks.{i}.attn.hook_z") and model.family.has("blocks.{i}.attn.hook_pattern")
    with pytest.raises(ps.ModelError, match="a norm over all heads comes before it"):
        model.site("attn.hook_z")
    with pytest.raises(ps.ProbeError, match=r"single heads of .* cannot be patched.*norm over all heads"):
        components(model, "heads")
    assert components(model, "ffn")


def test_a_bridge_that_shows_another_pattern_is_still_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptscope.models import self_test

    monkeypatch.setattr(self_test, "_zero_head_2", lambda x, hook: x)
    with pytest.raises(ps.ModelError, match="is not the one that the model uses"):
        ps.load_model(make("llama"))


@needs_new_glm
def test_the_plain_model_does_not_go_on_from_a_cache_that_lacks_something() -> None:
    model = ps.load_model(make("glm_moe_dsa"))
    assert model.facts.why_no_cache is not None and not model.facts.reads_on
    assert ps.load_model(make("falcon_new")).facts.reads_on


def test_what_a_model_reads_of_tokens_besides_their_vectors_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make("llama")

    def reads_ids(self: object, *args: object, input_ids: Tensor | None = None, **options: object) -> object:
        if input_ids is None:
            raise AttributeError("'NoneType' object has no attribute 'reshape'")
        return forward(self, *args, input_ids=input_ids, **options)

    forward = type(source.model).forward
    monkeypatch.setattr(type(source.model), "forward", reads_ids)
    with pytest.raises(ps.ModelError, match=r"other results for inputs_embeds .*inputs_embeds: AttributeError"):
        ps.load_model(source)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            ["attn.hook_pattern", "self_attn.hook_pattern"],
            "no attention called cross_attn of their own, only attn, self_attn",
        ),
        ([], "recurrent, convolutional"),
    ],
)
def test_an_attention_under_another_name_is_not_called_recurrent(points: list[str], said: str) -> None:
    """T5Gemma 2 attends to both texts in one attention."""
    from types import SimpleNamespace

    from promptscope.models import derived

    sites = [f"{stack}.0.{point}" for stack in ("encoder_blocks", "decoder_blocks") for point in points]
    bridge: Any = SimpleNamespace(hook_dict=dict.fromkeys(sites))
    layers = {"encoder_blocks": 1, "decoder_blocks": 1}
    with pytest.raises(ps.ModelError, match=said):
        derived._check_attention(bridge, make("t5"), derived.ATTENTIONS["seq2seq"], layers)
