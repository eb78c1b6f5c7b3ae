"""Prepacked linear layers: the same numbers up to rounding, only inside a block, and the model left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

import promptscope as ps
from promptscope.engine import can_prepack, execution, kernel, linears, only_tokens, uses_prepacked
from promptscope.engine.linears import _packed, prepacked, prepacking_pays, weight_of
from promptscope.files import tensor_hash
from promptscope.inference.batches import batches, encode_split
from promptscope.inference.scoring import word_logits
from promptscope.models import HookedModel
from tests.engine.ways import EVERY, assert_rounded, by_hooks, by_packing, gradient, logits_where, texts, wanted
from tests.models.zoo import make
from tests.tiny_models import FAMILIES, hooked, tiny_hf_model
from tests.training.toy import toy_model, toy_task

pytestmark = pytest.mark.skipif(not can_prepack(nn.Linear(1, 1)), reason="this PyTorch has no oneDNN operators")


def patched(module: nn.Module) -> list[str]:
    """Name the modules whose `forward` is not their class's."""
    return [name for name, part in module.named_modules() if "forward" in part.__dict__]


def state(model: HookedModel) -> dict[str, str]:
    trees = {"twin": model.twin, "bridge": model.bridge}
    return {f"{tree}.{name}": tensor_hash(x) for tree, part in trees.items() for name, x in part.state_dict().items()}


@contextmanager
def unchanged(model: HookedModel) -> Iterator[None]:
    """Check that weights, state dict and hashes are the same afterwards, and nothing stays patched."""
    before, pointers = state(model), [x.data_ptr() for x in model.twin.parameters()]
    bridge = patched(model.bridge)  # TransformerLens has some of its own on T5
    try:
        yield
    finally:
        assert state(model) == before
        assert [x.data_ptr() for x in model.twin.parameters()] == pointers
        assert patched(model.twin) == []
        assert patched(model.bridge) == bridge


@pytest.mark.parametrize("make", [lambda: nn.Linear(7, 5), lambda: nn.Linear(7, 5, bias=False), lambda: Conv1D(5, 7)])
@pytest.mark.parametrize("shape", [(3, 7), (2, 4, 7), (1, 7)])
def test_a_layer_and_its_gradient(make: type, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = make().requires_grad_(False)
    if layer.bias is not None:
        layer.bias.normal_()
    x = torch.randn(shape, requires_grad=True)
    weights = torch.randn(*shape[:-1], 5)
    plain = layer(x)
    (expected,) = torch.autograd.grad((plain * weights).sum(), x)
    with prepacked(nn.Sequential(layer)):
        assert "forward" in layer.__dict__
        y = layer(x)
        (got,) = torch.autograd.grad((y * weights).sum(), x)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)
        assert layer(x[..., None, :][..., :0, :]).shape == (*shape[:-1], 0, 5)
    torch.testing.assert_close(y, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_left_as_it_was(family: str) -> None:
    model, batch = hooked(family), texts(family)
    prompt, where = EVERY["v1"]().bind(model), wanted(batch)
    with unchanged(model), execution(prepacked=True):
        before = state(model)
        with kernel(model):
            assert len(patched(model.twin)) > 10
            assert state(model) == before
        gradient(by_packing(model, batch, [prompt], where), prompt)
        assert patched(model.twin) == []
    with unchanged(model), pytest.raises(ZeroDivisionError), prepacked(model.twin):
        _ = 1 / 0


def test_blocks_may_be_nested() -> None:
    model = hooked("gpt2")
    with unchanged(model):
        with prepacked(model.twin):
            inside = patched(model.twin)
            with prepacked(model.twin):
                assert patched(model.twin) == inside
            assert patched(model.twin) == inside
            with only_tokens(model, [3, 1]):
                batch = texts("gpt2")
                assert by_packing(model, batch, [], wanted(batch)).shape[1] == 2
            assert patched(model.twin) == inside
            assert by_packing(model, batch, [], wanted(batch)).shape[1] == 200
        with only_tokens(model, [3, 1]), prepacked(model.twin), only_tokens(model, [5, 6, 7]):
            assert by_packing(model, batch, [], wanted(batch)).shape[1] == 3


def test_a_weight_that_was_edited_is_packed_again() -> None:
    model, batch = ps.load_model(tiny_hf_model("llama")), texts("llama")
    where = wanted(batch)
    layer = model.twin.model.layers[1].mlp.up_proj

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        with execution(prepacked=False):
            plain = by_packing(model, batch, [], where)
        with execution(prepacked=True):
            return plain, by_packing(model, batch, [], where)

    seen = [both()]
    with torch.no_grad():
        layer.weight.mul_(-2)
    seen.append(both())
    layer.weight = nn.Parameter(torch.randn_like(layer.weight), requires_grad=False)
    seen.append(both())
    layer.weight.data = torch.randn_like(layer.weight)
    seen.append(both())
    layer.bias = nn.Parameter(torch.randn(layer.out_features), requires_grad=False)
    seen.append(both())
    for plain, packed in seen:
        assert_rounded(packed, plain)
    for before, after in pairwise(seen):
        assert (before[0] - after[0]).norm() > 1e-2 * before[0].norm()


def test_weights_are_packed_once() -> None:
    model, batch = ps.load_model(tiny_hf_model("gpt2")), texts("gpt2")
    with execution(prepacked=True):
        by_packing(model, batch, [], wanted(batch))
        layers = [m for m in model.twin.modules() if isinstance(m, nn.Linear | Conv1D)]
        packed_of = _packed[torch.float32]
        before = [packed_of[layer.weight] for layer in layers]
        by_packing(model, batch, [], wanted(batch))
    assert all(packed_of[layer.weight] is packed for layer, packed in zip(layers, before, strict=True))
    assert {weight_of(layer).shape for layer in layers} == {(32, 32), (64 * 2, 32), (32, 128), (96, 32), (200, 32)}


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_fire_inside(family: str) -> None:
    model, batch = hooked(family), texts(family)
    where = wanted(batch)
    expected = by_hooks(model, batch, None, where)
    fired: dict[str, int] = {}

    def look(name: str):
        def hook_function(x: torch.Tensor, hook: object) -> None:
            fired[name] = fired.get(name, 0) + 1

        return hook_function

    names = model.hook_points()["name"].tolist()
    before = patched(model.bridge)
    with execution(prepacked=True), kernel(model, model.bridge):
        assert len(patched(model.bridge)) > len(before) + 10
        got = model.forward_hooked(
            batch.input_ids,
            batch.attention_mask,
            hooks=[(name, look(name)) for name in names],
            decoder_input_ids=batch.decoder_input_ids,
        )[where]
    assert fired == dict.fromkeys(names, 1)
    assert_rounded(got, expected)
    assert patched(model.bridge) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_refused_where_it_does_not_exist(family: str) -> None:
    """Also when it is the first thing that is asked of a model, and without a trace afterwards."""
    model, batch = ps.load_model(tiny_hf_model(family, torch.float64)), texts(family)
    where = wanted(batch)

    def run() -> torch.Tensor:
        return logits_where(model, where, batch.input_ids, batch.attention_mask, [], None, batch.decoder_input_ids)

    assert not can_prepack(model.twin)
    with execution(prepacked=True), pytest.raises(ps.ModelError, match=r"float32 models on a CPU.*float64"):
        run()
    with execution(prepacked=True), pytest.raises(ps.ModelError, match="prepacked"):
        ps.train(
            toy_model(family, torch.float64), ps.SoftPrompt(2), toy_task(), ps.TrainConfig(steps=1), progress=False
        )
    assert not uses_prepacked(model)
    run()  # packed: a warning would be an error


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "plain"])
@pytest.mark.parametrize("name", ["none", "v1", "v2 untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_some_words_are_columns_of_all_logits(family: str, name: str, packed: bool | None) -> None:
    model = toy_model(family, torch.float64)
    prompt = EVERY[name]().bind(model) if name != "none" else None
    (batch,) = batches(model, encode_split(model, prompt, toy_task(), "train"), 10)
    tokens = [11, 5, 14]
    with torch.no_grad(), execution(packed=packed):
        got = word_logits(model, batch, tokens, prompt)
        full = word_logits(model, batch, range(model.shape.vocab_size), prompt)
    assert got.shape == (10, 3)
    torch.testing.assert_close(got, full[:, tokens], rtol=1e-9, atol=1e-9)
    with execution(packed=False):
        scores = ps.score_labels(model, prompt, toy_task(), split="train", progress=False)
    words = [[model.tokenizer.convert_tokens_to_ids(word) for word in ("positive", "negative")]]
    ours = full.log_softmax(-1)[:, words[0]]
    torch.testing.assert_close(ours, scores, rtol=1e-6, atol=1e-6)
    assert patched(model.twin) == []


def test_a_bias_of_the_vocabulary_goes_with_its_words() -> None:
    """BART adds one to whatever its head gives."""
    model, ids = ps.load_model(make("bart")), torch.tensor([[5, 7, 9]])
    every = model.twin(ids, decoder_input_ids=ids).logits
    with only_tokens(model, [9, 5]):
        some = model.twin(ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(some, every[..., [9, 5]])
    assert model.twin.final_logits_bias[:, [9, 5]].abs().max() > 0.1


@pytest.mark.parametrize("processor", ["AuthenticAMD", "GenuineIntel", ""])
@pytest.mark.parametrize("capability", ["AVX512", "AVX2"])
@pytest.mark.parametrize("d_out", [64, 512])
def test_processor_and_shape_alone_decide(
    processor: str, capability: str, d_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears.Path, "read_text", lambda path: f"vendor_id : {processor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    linears._is_amd_with_avx512.cache_clear()
    try:
        model = nn.Sequential(nn.Linear(512, d_out), nn.Linear(512, d_out), nn.Linear(4, 4))
        pays = processor == "AuthenticAMD" and capability == "AVX512" and d_out == 512
        assert prepacking_pays(model) == (pays and can_prepack(model))
    finally:
        linears._is_amd_with_avx512.cache_clear()
