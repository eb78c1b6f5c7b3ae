"""Patching on every causal architecture: layers and prompt positions that are not run again change no number."""

from functools import cache

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.causal import variants
from promptscope.causal.components import components
from promptscope.causal.inputs import Inputs
from promptscope.causal.running import Condition, behind_cache, can_start_anywhere, run
from promptscope.causal.variants import Variant, run_variants
from promptscope.errors import PromptError
from promptscope.tasks import IGNORED, Encoded
from tests.causal.naive import patched_gold
from tests.models.zoo import NAMES, REFUSED, VOCABULARY, make

K = 3
QUICK = {"gemma3", "gpt_oss", "bloom", "gptj"}
# Attention by position within chunks, or keys that only the model can make: prompts of these run as the bridge.
WHOLE = {"deepseek_v3", "falcon_new", "falcon_40b", "falcon_11b"}


@cache
def model_of(name: str) -> ps.HookedModel | None:
    model = ps.load_model(make(name))
    return model if model.family.kind == "causal" else None


def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    found = []
    for i in range(3):
        ids = torch.randint(5, VOCABULARY, (4 + 3 * i,), generator=generator).tolist()
        targets = [IGNORED] * (len(ids) - 1) + [7 + i]
        found.append(Encoded(str(i), ids, ["text"] * len(ids), [False] * len(ids), targets, None, len(ids), False))
    return Inputs(tuple(found), (), "texts", "test", "")


def test_the_prompts_rows_are_not_run_for_every_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ran = model_of("gemma3"), []
    assert model is not None
    prompt = ps.SoftPrompt(K).bind(model)

    def counted(model, batch, condition, *rest, **more):
        ran.append((condition.prompt, more.get("copies", 1)))
        return run(model, batch, condition, *rest, **more)

    monkeypatch.setattr(variants, "run", counted)
    run_variants(
        model, inputs(), Condition(prompt), Condition(shared=K), [Variant((components(model, "heads")[-1],))] * 2
    )
    assert (None, 2) in ran and all(of is None for of, _ in ran)


def test_a_prefix_beside_a_prompt_is_refused() -> None:
    model = model_of("gemma3")
    assert model is not None
    prompt, ids = ps.SoftPrompt(K).bind(model), torch.tensor([[5, 6]])
    with pytest.raises(ps.ModelError, match="got both: give the prompt alone"):
        model.forward_hooked(ids, prompt=prompt, prefix=prompt.prefix(model))
    other = ps.load_model("embedded-seq2seq")
    with pytest.raises(ps.ModelError, match="on causal models"):
        other.forward_hooked(ids, decoder_input_ids=ids, prefix=prompt.prefix(model))


@pytest.mark.parametrize("kind", ["v1", "v2", "one layer"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES if n not in REFUSED]
)
def test_patching_is_the_loop_over_whole_runs(name, kind):
    model = model_of(name)
    if model is None:
        return  # masked and encoder-decoder models have no cache, and are tested on the embedded ones
    made = {"v1": ps.SoftPrompt(K), "v2": ps.DeepPrompt(K), "one layer": ps.DeepPrompt(K, layers=[1])}[kind]
    try:
        prompt = made.bind(model)
    except PromptError:
        assert name == "deepseek_v3" and kind != "v1"
        return
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    few, base, source = inputs(), Condition(prompt), Condition(shared=K)
    short = behind_cache(model, base)
    assert (short.prefix is not None) == (kind != "one layer" and name not in WHOLE)
    assert can_start_anywhere(model)
    every = components(model, "heads")
    some = [every[1], every[-1], every[len(every) // 2]]
    found = run_variants(model, few, base, source, [Variant((one,)) for one in some])[:, 0]
    naive = [[patched_gold(model, example, base, source, one) for example in few.examples] for one in some]
    np.testing.assert_allclose(found, naive, atol=2e-5)
    if name != "llama4_chunks":  # there the prompt fills a chunk that the text does not see
        assert np.ptp(found, axis=0).max() > 1e-4
