"""Every entry point on every architecture: batch size, padding, order, a hook that changes nothing: the same numbers.

Under a hook the bridge runs, and without one whatever is fastest: that both agree ties each entry point to the
definition, on architectures that the other tests of entry points do not load.
"""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from torch import Tensor

import promptscope as ps
from tests.invariance.entry_points import ENTRY_POINTS, Call
from tests.models.zoo import NAMES, make
from tests.models.zoo import REFUSED as UNKNOWN
from tests.tiny_tokenizer import tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::promptscope.engine.choice.PackingWarning")

QUICK = {("gemma3", "evaluate"), ("gptj", "importance"), ("modernbert", "score_labels"), ("bart", "generate")}
BY_KIND = {  # (entry point, kind of model) -> what it is refused with
    ("generate", "masked"): "masked",
    ("logit_lens", "masked"): "needs a causal model",
    ("logit_lens", "seq2seq"): "needs a causal model",
    ("patchscope", "masked"): "needs a causal model",
    ("patchscope", "seq2seq"): "needs a causal model",
}
BY_NAME = {  # (entry point, architecture) -> what it is refused with
    ("causal_patch", "deepseek_v3"): "single heads of 'DeepseekV3ForCausalLM' cannot be patched",
    ("probe", "longt5"): "there is no hook point 'attn.hook_pattern' on a longt5 model",
}


@cache
def model_of(name: str) -> ps.HookedModel:
    return ps.load_model(make(name), tokenizer=tiny_tokenizer())


def refusal(entry: str, name: str, model: ps.HookedModel) -> str | None:
    if entry == "logit_lens" and model.family.kind == "causal" and not model.family.has("ln_final.hook_out"):
        return "needs a model whose logits are a final norm and a matrix"
    return BY_NAME.get((entry, name)) or BY_KIND.get((entry, model.family.kind))


def same(x: Tensor, hook: object) -> Tensor:
    return x.clone()


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        pytest.param(name, entry, marks=() if (name, entry) in QUICK else pytest.mark.slow)
        for name in NAMES
        if name not in UNKNOWN
        for entry in ENTRY_POINTS
    ],
)
def test_nothing_that_should_not_makes_a_difference(name: str, entry: str) -> None:
    model, run = model_of(name), ENTRY_POINTS[entry]
    hooks = ((f"{model.family.stacks[0]}.1.hook_resid_pre", same),)
    circumstances: list[dict[str, object]] = [{"batch_size": 2, "reverse": True, "left": True}, {"hooks": hooks}]
    if (message := refusal(entry, name, model)) is not None:
        for one in [{}, *circumstances]:
            with pytest.raises(ps.PromptscopeError, match=message):
                run(Call(model, Path(mkdtemp()), **one))
        return
    wanted = run(Call(model, Path(mkdtemp())))
    for one in circumstances:
        found = run(Call(model, Path(mkdtemp()), **one))
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, rtol=5e-4, atol=2e-5)
        else:
            np.testing.assert_array_equal(found, wanted)
