"""Windows, bounded scores and sinks, in packed passes: as Hugging Face's own masks and eager attention have them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

import promptscope as ps
from promptscope.engine import Texts, continue_, place, share
from promptscope.engine.causal import CausalPass, computed, hidden_rows
from promptscope.engine.choice import is_packed
from promptscope.engine.flex import FlexPass
from promptscope.engine.shared import Shared
from promptscope.models import HookedModel
from tests.tiny_models import hooked

SIZES: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
WINDOW = 4
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=WINDOW)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **SIZES,
            sliding_window=WINDOW,
            layer_types=ALTERNATING,
            attn_logit_softcapping=0.5,
            query_pre_attn_scalar=16,
        )
    ),
    "gpt_oss": lambda: GptOssForCausalLM(
        GptOssConfig(
            **SIZES, sliding_window=WINDOW, layer_types=ALTERNATING, num_local_experts=2, num_experts_per_tok=1
        )
    ),
}
IDS = torch.randint(200, (3, 9), generator=torch.Generator().manual_seed(0))
LENGTHS = [9, 3, 6]
MASK = torch.tensor([[position < n for position in range(9)] for n in LENGTHS])


@pytest.fixture(autouse=True)
def as_it_is() -> Iterator[None]:
    with ps.execution(prepacked=False):
        yield


def model_of(name: str) -> HookedModel:
    torch.manual_seed(3)
    twin = MODELS[name]().eval().requires_grad_(False)
    with torch.no_grad():
        for parameter_name, parameter in twin.named_parameters():
            if parameter_name.endswith(("q_proj.weight", "k_proj.weight", "sinks")):
                parameter.normal_(0, 0.5)  # attention that is far from even, or no mask would matter
    return ps.load_model(twin)


def by_hugging_face(model: HookedModel, vectors: Tensor | None) -> Tensor:
    """Return the hidden states of every text's tokens, each text alone with the prompt, by inputs_embeds."""
    rows = []
    for ids, n in zip(IDS, LENGTHS, strict=True):
        embeds = model.embed(ids[:n])
        front = 0 if vectors is None else len(vectors)
        embeds = embeds if vectors is None else torch.cat([vectors, embeds])
        rows.append(model.twin.base_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state[0, front:])
    return torch.cat(rows)


def close(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("k", [0, 2, 6])  # none, shorter and longer than the window
@pytest.mark.parametrize("name", MODELS)
def test_a_packed_pass_is_the_model(name: str, k: int) -> None:
    model = model_of(name)
    vectors = model.embed(torch.arange(k) + 50).clone().requires_grad_() if k else None
    expected = by_hugging_face(model, vectors)
    rows = None if vectors is None else vectors[None]
    found = {}
    for way in ("one pass", "computed before"):
        shared = Shared(1, None, rows) if k else Shared()
        shared = computed(model, shared) if way == "computed before" else shared
        found[way], _ = hidden_rows(model, shared, IDS, MASK)
        close(found[way], expected)
    if vectors is not None:
        weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
        (wanted,) = torch.autograd.grad((expected * weights).sum(), vectors)
        for got in found.values():
            close(torch.autograd.grad((got * weights).sum(), vectors, retain_graph=True)[0], wanted)


def test_a_text_shorter_than_the_window_that_is_longer_with_its_prompt() -> None:
    model = model_of("mistral")
    vectors, ids = model.embed(torch.arange(3) + 50), IDS[:1, :3]
    got, _ = hidden_rows(model, Shared(1, None, vectors[None]), ids, torch.ones_like(ids).bool())
    whole = torch.cat([vectors, model.embed(ids[0])])[None]
    close(got, model.twin.base_model(inputs_embeds=whole, use_cache=False).last_hidden_state[0, 3:])


@pytest.mark.parametrize("name", MODELS)
def test_the_tests_would_see_a_forgotten_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from promptscope.engine import attention, causal

    model = model_of(name)
    expected = by_hugging_face(model, None)
    forget = {"mistral": {"window": None}, "gemma2": {"cap": None}, "gpt_oss": {"sinks": None}}[name]

    def forgetful(pass_: Any, module: Any, query: Tensor, key: Tensor, value: Tensor, how: Any) -> Tensor:
        return attend(pass_, module, query, key, value, attention.How(**{**vars(how), **forget}))

    attend = causal.CausalPass.attend
    monkeypatch.setattr(causal.CausalPass, "attend", forgetful)
    got, _ = hidden_rows(model, Shared(), IDS, MASK)
    assert (got - expected).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", MODELS)
def test_flex_attention_knows_them_too(name: str) -> None:
    model = model_of(name)
    with torch.no_grad():
        vectors = model.embed(torch.arange(6))
        got, _ = hidden_rows(model, Shared(1, None, vectors[None]), IDS, MASK, kind=FlexPass)
        close(got, by_hugging_face(model, vectors))
    assert issubclass(FlexPass, CausalPass)


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("name", MODELS)
def test_texts_go_on_within_their_windows(name: str, k: int, packed: bool | None) -> None:
    model, prompt = model_of(name), ps.SoftPrompt(k, seed=2)
    vectors = prompt.bind(model).vectors()
    with torch.no_grad(), ps.execution(packed=packed):
        going = continue_(model, IDS, MASK, [prompt], 5, share(model, [prompt]))
        first, second = going.read(torch.tensor([[5, 6]] * 3)), going.read(torch.tensor([[7, 8, 9]] * 3))
        assert is_packed(model, [prompt]) == (packed is None)
        for i, n in enumerate(LENGTHS):
            whole = torch.cat([IDS[i, :n], torch.tensor([5, 6, 7, 8, 9])])
            embeds = torch.cat([vectors, model.embed(whole)])[None]
            hidden = model.twin.base_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, k + n - 1 :]
            close(torch.cat([going.last[i : i + 1], first[i], second[i]]), model.unembed(hidden))


@pytest.mark.parametrize("name", MODELS)
def test_a_window_that_the_comparison_finds_wrong_runs_plainly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from promptscope.engine import decode

    model, real = model_of(name), decode.attend
    monkeypatch.setattr(decode, "attend", lambda q, k, v, mask, how, causal=False: real(q, k, v, mask | True, how))
    with pytest.warns(ps.PackingWarning, match="differ"):
        assert not is_packed(model)


def test_hidden_positions_and_windows_run_as_hooks() -> None:

    prompt = ps.SoftPrompt(6, seed=2)
    windowed, plain = model_of("mistral"), hooked("llama")
    for model, hooks in ((windowed, True), (plain, False)):
        (whole,) = place(model, [prompt.copy()])
        assert model.needs_hooks([whole.cut([1])]) == hooks
        assert not model.needs_hooks([whole])
        assert is_packed(model, [whole.cut([1])]) != hooks
    assert Texts(IDS, MASK, MASK).pick(torch.tensor([True, False, True])).ids.shape == (2, 9)
