"""Every architecture of the zoo: hooks, prefix cache and packed pass agree, gradients too, and texts go on alike.

The definition is what hooks write; the truth of it is the plain model of Hugging Face, each text alone.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel, Qwen3NextConfig, Qwen3NextForCausalLM

import promptscope as ps
from promptscope.engine import Texts, is_packed, logits
from promptscope.engine.choice import why_not_packed
from promptscope.engine.packed import packed_logits
from promptscope.models import HookedModel
from promptscope.models.nnsight_table import SPOTS
from promptscope.probes import AttentionMass
from promptscope.prompts import Prompt
from promptscope.readings.logit_lens import lens_log_probabilities
from promptscope.readings.residual import prompt_residual
from promptscope.tasks import Encoded
from tests.models.zoo import HEADS_8, NAMES, REFUSED, VOCABULARY, make

QUICK = {"gemma3", "gpt_oss", "opt_proj", "bloom", "modernbert", "bart"}
"""One of each kind: norms of keys, windows and sinks, narrow embeddings, ALiBi, own attention, position offsets."""

WORKING = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES if name not in REFUSED]
PLAIN = {
    "bloom",
    "falcon",
    "falcon_new",
    "falcon_40b",
    "falcon_11b",
    "falcon_alibi",
    "mpt",
    "gptj",
    "gpt_neo",
    "codegen",
    "xglm",
    "deberta_v2",
    "longt5",
    "switch",
    "llama4_chunks",
}
"""Architectures that run unpacked."""

WITHOUT_KEYS = {"deepseek_v3"}
WITHOUT_NEURONS = {
    "granitemoe",
    "minimax_m2",
    "glm4_moe",
    "flex_olmo",
    "laguna",
    "llama4",
    "llama4_chunks",
    "afmoe",
    "gpt_oss",
    "mixtral",
    "phimoe",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "deepseek_v3",
    "switch",
}
K = 6
IDS = torch.randint(4, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))
LENGTHS = [12, 6, 3]
MASK = torch.tensor([[int(position < n) for position in range(12)] for n in LENGTHS])

pytestmark = pytest.mark.filterwarnings("ignore::promptscope.engine.choice.PackingWarning")


@cache
def given(name: str) -> PreTrainedModel:
    return make(name)


@cache
def loaded(name: str) -> HookedModel:
    return ps.load_model(given(name))


def targets(model: HookedModel) -> Tensor | None:
    return IDS[:, :5] if model.family.kind == "seq2seq" else None


def wanted(model: HookedModel) -> Tensor:
    return torch.ones(3, 5, dtype=torch.bool) if model.family.kind == "seq2seq" else MASK.bool()


def prompts(model: HookedModel) -> dict[str, Prompt]:
    made: dict[str, Prompt] = {"v1": ps.SoftPrompt(K)}
    if model.family.name not in WITHOUT_KEYS:
        made |= {"v2": ps.DeepPrompt(K), "v2 in one layer": ps.DeepPrompt(K, layers=[1])}
    generator = torch.Generator().manual_seed(2)
    for prompt in made.values():
        prompt.bind(model)
        with torch.no_grad():
            for numbers in prompt.parameters():
                numbers.copy_(torch.randn(numbers.shape, generator=generator) / 2)
    return made


def by_hooks(model: HookedModel, prompt: Prompt | None) -> Tensor:
    return model.logits(IDS, MASK, prompt, via="hooks", decoder_input_ids=targets(model))[wanted(model)]


def gradient(logits: Tensor, prompt: Prompt) -> Tensor:
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((logits * weights).sum(), list(prompt.parameters()))
    return torch.cat([one.flatten() for one in found])


def close(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).norm() <= 2e-5 * expected.norm()


@pytest.mark.parametrize("name", WORKING)
def test_texts_are_those_of_the_plain_model_alone(name: str) -> None:
    """Bridge and twin on a padded batch against the caller's own model, told nothing, one text at a time."""
    model, untouched = loaded(name), make(name)
    decoder = targets(model)
    rows = []
    for i, n in enumerate(LENGTHS):
        arguments: dict[str, Any] = {"input_ids": IDS[i : i + 1, :n], "attention_mask": MASK[i : i + 1, :n]}
        if decoder is not None:
            arguments["decoder_input_ids"] = decoder[i : i + 1]
        rows.append(untouched(**arguments).logits[0])
    alone = torch.cat(rows)
    close(by_hooks(model, None), alone)
    close(model.logits(IDS, MASK, decoder_input_ids=decoder)[wanted(model)], alone)
    theirs = given(name).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in untouched.state_dict().items())


@pytest.mark.parametrize("name", WORKING)
def test_all_ways_give_the_same_logits_and_gradients(name: str) -> None:
    model = loaded(name)
    assert (why_not_packed(model) is None) == (name not in PLAIN), why_not_packed(model)
    where, decoder, plain = wanted(model), targets(model), by_hooks(model, None)
    for kind, prompt in prompts(model).items():
        expected = by_hooks(model, prompt)
        assert (expected - plain).norm() > 1e-2 * plain.norm(), kind
        ways = [model.logits(IDS, MASK, prompt, decoder_input_ids=decoder)[where]]
        if name not in PLAIN:
            ways.append(packed_logits(model, Texts(IDS, MASK, where, decoder), [prompt.place(model)]))
        slope = gradient(expected, prompt)
        for got in ways:
            close(got, expected)
            close(gradient(got, prompt), slope)


@pytest.mark.parametrize("name", WORKING)
def test_texts_go_on_alike(name: str) -> None:
    """With a cache, packed or plain, and read anew by the bridge at every step."""
    model = loaded(name)
    if model.family.kind == "masked":
        with pytest.raises(ps.TaskError, match="masked language model"):
            ps.generate(model, None, IDS, MASK, max_new_tokens=5)
        return
    same = [(f"{model.family.embedding}", lambda x, hook: x * 1)]
    for prompt in (None, *prompts(model).values()):
        told = ps.generate(model, prompt, IDS, MASK, max_new_tokens=5)
        with ps.execution(packed=False):
            assert ps.generate(model, prompt, IDS, MASK, max_new_tokens=5) == told
        assert ps.generate(model, prompt, IDS, MASK, max_new_tokens=5, hooks=same) == told


@pytest.mark.parametrize("name", WORKING)
def test_probes_look_at_what_there_is(name: str) -> None:
    model = loaded(name)
    sites = set(model.hook_points()["name"])
    stack = model.family.stacks[0]
    assert (f"{stack}.1.mlp.hook_post" in sites) == (name not in WITHOUT_NEURONS)
    assert (f"{stack}.1.attn.hook_k" in sites) == (name not in WITHOUT_KEYS)
    if f"{stack}.1.attn.hook_pattern" not in sites:
        assert name == "longt5"
        return
    seq2seq = model.family.kind == "seq2seq"
    examples = [
        Encoded(
            id=f"x{n}",
            input_ids=ids[:n].tolist(),
            segments=["text"] * n,
            special=[False] * n,
            targets=[5] if seq2seq else [-100] * (n - 1) + [5],
            decoder_input_ids=[2] if seq2seq else None,
            label_start=0 if seq2seq else n - 1 if model.family.kind == "masked" else n,
            truncated=False,
        )
        for ids, n in zip(IDS, LENGTHS, strict=True)
    ]
    made = prompts(model)
    result = ps.probe(model, made, examples, [AttentionMass()], batch_size=2, progress=False)
    values = result["attention_mass"].values
    assert np.isfinite(values).all() and values.max() > 0 and values.min() >= 0


@pytest.mark.parametrize("name", WORKING)
def test_prompts_leave_and_are_read_as_they_run(name: str) -> None:
    """As `inputs_embeds` of the plain model, as a deep prompt of the same vectors, and by the lens after all layers."""
    model = loaded(name)
    if model.family.kind == "seq2seq":
        return
    prompt = prompts(model)["v1"]
    expected = by_hooks(model, prompt)
    ends = expected[torch.tensor(LENGTHS).cumsum(0) - 1]
    causal = model.family.kind == "causal"
    with torch.no_grad():
        left = model.twin(**prompt.inputs_embeds(model, IDS, MASK)).logits
        close(left[:, -1] if causal else left[torch.arange(3), torch.tensor(LENGTHS) + K - 1], ends)
        if not causal:
            return
        if name not in WITHOUT_KEYS:
            deep = ps.DeepPrompt(K, init=ps.init.FromPrompt(prompt)).bind(model)
            close(by_hooks(model, deep), expected)
        if not model.family.has("ln_final.hook_out"):
            with pytest.raises(ps.ProbeError, match="no final norm"):
                lens_log_probabilities(prompt_residual(model, prompt)[-1], model)
            return
        said = model.forward_hooked(IDS[:1], None, prompt)[0, :K].log_softmax(-1)
        close(lens_log_probabilities(prompt_residual(model, prompt)[-1], model), said)
        with model.hooks([("unembed.hook_out", lambda x, hook: x * 1)]):
            close(lens_log_probabilities(prompt_residual(model, prompt)[-1], model), said)


@torch.no_grad()
def test_a_bidirectional_window_counts_cut_tokens() -> None:
    """A packed pass would leave them out, so that what is behind them would come nearer."""
    model = loaded("modernbert")
    whole = prompts(model)["v1"]
    cut = ps.interventions.cut(whole, [1, 4])
    assert is_packed(model, [whole]) and not is_packed(model, [cut])
    close(logits(model, Texts(IDS, MASK, MASK.bool()), [cut]), by_hooks(model, cut))


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_bridge_is_refused_by_the_line_that_failed(name: str) -> None:
    with pytest.raises(ps.ModelError, match=r"never fires: .*, so that OpenAIGPTLMHeadModel is not supported"):
        ps.load_model(make(name))


@pytest.mark.parametrize(("kind", "layers"), [("mamba", "3 of the 3"), ("qwen3_next", "2 of the 3")])
def test_recurrent_models_are_refused_by_name(kind: str, layers: str) -> None:
    sizes = {key: value for key, value in HEADS_8.items() if kind != "mamba" or key in ("vocab_size", "hidden_size")}
    if kind == "mamba":
        model: PreTrainedModel = MambaForCausalLM(MambaConfig(**sizes, num_hidden_layers=3, state_size=8))
    else:
        linear = dict.fromkeys(("linear_num_value_heads", "linear_num_key_heads"), 2)
        linear |= dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8)
        linear |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        types = ["linear_attention", "linear_attention", "full_attention"]
        model = Qwen3NextForCausalLM(
            Qwen3NextConfig(**sizes, **linear, shared_expert_intermediate_size=32, layer_types=types)
        )
    with pytest.raises(
        ps.ModelError, match=rf"{layers} layers of {type(model).__name__} .* have no attention, so that"
    ):
        ps.load_model(model.eval())


def page_rows() -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    file = Path(__file__).parents[2] / "docs" / "make_families.py"
    spec = spec_from_file_location("make_families", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_the_page_says_what_loading_finds(name: str) -> None:
    maker = page_rows()
    if name in REFUSED:
        with pytest.raises(ps.ModelError) as caught:
            ps.load_model(make(name))
        cells, reasons = maker.refused(name, caught.value)
    else:
        cells, reasons = maker.row(name, loaded(name))
    lines = maker.PAGE.read_text(encoding="utf-8").splitlines()
    assert maker.line(cells) in lines
    said = [line[2 : line.index(": `")] for line in lines if line.startswith("- ") and f"`{name}`" in line]
    assert sorted(said) == sorted(reasons)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES if name not in REFUSED],
)
def test_the_page_of_hook_points_says_what_loading_finds(name: str) -> None:
    maker, model = page_rows(), loaded(name)
    text = maker.POINTS_PAGE.read_text(encoding="utf-8").split(f"## {model.family.kind.capitalize()} models\n")[1]
    rows = [line.strip("| ").split(" | ") for line in text.split("\n## ")[0].splitlines() if line.startswith("| `")]
    said = {
        site.strip("`"): (shape, meaning)
        for site, shape, meaning, on, _ in rows
        if on == "all" or (name in on.removeprefix("not ").split(", ")) != on.startswith("not ")
    }
    assert said == maker.point_cells(model)
    traced = {site.strip("`") for site, *_, on in rows if name in on.split(", ")}
    if model.family.name not in SPOTS:
        assert not traced
    else:
        assert traced == {point.site for point in ps.load_model(make(name), backend="nnsight").family.points}
