"""All variants in shared passes give what the hooked model says of each transformed prompt alone."""

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.interventions.tokens import without_each
from promptscope.interventions.variants import Variants
from promptscope.prompts import Prompt
from tests.interventions.variants import EXACT, HOWS, PROMPTS, K, as_batch, by_hooks, examples
from tests.tiny_models import FAMILIES
from tests.training.toy import toy_model

EACH = without_each(K)
PAIRS = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
NONE = np.zeros((1, K), dtype=bool)
CASES = [(family, name) for family in FAMILIES for name in PROMPTS if family != "t5" or name in ("v1", "v2 untied")]


def transformed(prompt: Prompt, how: str, kept: np.ndarray) -> Prompt | None:
    tokens = np.flatnonzero(~kept).tolist()
    return None if how == "remove" and not kept.any() else HOWS[how](prompt, tokens)


@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize("how", HOWS)
def test_every_variant_is_what_the_hooks_say(family: str, how: str, name: str) -> None:
    model, prompt = toy_model(family, torch.float64), PROMPTS[name]()
    prompt.bind(model)
    records = examples(model)
    texts = [record.input_ids[: record.label_start - 1] for record in records]
    whole = by_hooks(model, records, prompt)
    for kept in (EACH[1:], PAIRS, NONE):
        variants = Variants(model, prompt, how, kept, texts)
        chosen = [*range(1, len(kept)), 0]  # not in order, and all of them: the pass must not mix them up
        with torch.no_grad():
            ours = variants.logits(as_batch(records), chosen).unflatten(0, (len(chosen), -1))
        for i, mine in zip(chosen, ours, strict=True):
            theirs = by_hooks(model, records, transformed(prompt, how, kept[i]))
            assert (mine - theirs).norm() <= EXACT[family] * theirs.norm()
            assert (mine - whole).norm() > 1e-6 * whole.norm()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_the_plain_way_gives_the_same(family: str, how: str) -> None:
    model = toy_model(family, torch.float64)
    prompt, records = PROMPTS["v1"]().bind(model), examples(model)
    with ps.execution(packed=False), torch.no_grad():
        variants = Variants(model, prompt, how, EACH[1:], [])
        ours = variants.logits(as_batch(records), [2, 0]).unflatten(0, (2, -1))
    for i, mine in zip([2, 0], ours, strict=True):
        theirs = by_hooks(model, records, transformed(prompt, how, EACH[1:][i]))
        assert (mine - theirs).norm() <= 1e-9 * theirs.norm()


@pytest.mark.parametrize("how", ["zero", "cut"])
def test_heads_that_share_keys_and_one_variant_alone(how: str) -> None:
    model = toy_model("llama", torch.float64)
    prompt, records = PROMPTS["v2 untied"]().bind(model), examples(model, 1)
    with torch.no_grad():
        ours = Variants(model, prompt, how, EACH[2:3], [records[0].input_ids[:2]]).logits(as_batch(records), [0])
    theirs = by_hooks(model, records, transformed(prompt, how, EACH[2]))
    assert (ours - theirs).norm() <= EXACT["llama"] * theirs.norm()
