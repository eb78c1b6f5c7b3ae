"""Reparameterised prompts: the truth is PEFT's encoder, S3's printed counts, and the plain prompt they compute."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import promptscope as ps
from promptscope.files import read_sealed, write_sealed
from promptscope.prompts.reparameterisation import (
    Broadcast,
    Lstm,
    Mlp,
    Reparameterisation,
    Residual,
    UnderParameterised,
    draw_weights,
)
from promptscope.training import TrainConfig
from tests.batches import ragged
from tests.prompts.test_peft import _quiet_peft, adapter, assert_same, peft_logits  # noqa: F401 - a fixture
from tests.tiny_models import hooked

KINDS: list[Reparameterisation] = [
    Mlp(),
    Mlp(7),
    Lstm(5),
    Residual(6),
    Residual(6, shared=False),
    UnderParameterised(),
    UnderParameterised(3, extra_layer=True, activation="gelu", layer_norm=True, residual=True),
    Broadcast(),
    Broadcast(UnderParameterised()),
]


@pytest.mark.parametrize(
    ("how", "length", "printed"),
    [
        (None, 10, ("5.1K", "7.6K", "10K")),
        (UnderParameterised(), 1, ("1.5K", "2.3K", "3.0K")),
        (Residual(), 10, ("416K", "624K", "832K")),
        (Mlp(), 10, ("793K", "1.7M", "3.1M")),
    ],
)
def test_counts_are_those_of_the_paper(how: Reparameterisation | None, length: int, printed: tuple[str, ...]) -> None:
    """Digits that the paper does not print are cut off, not rounded: 7,680 is its 7.6K and 1,779,456 its 1.7M."""
    for width, text in zip((512, 768, 1024), printed, strict=True):
        count = length * width if how is None else how.n_parameters(length, width)
        unit = {"K": 1_000, "M": 1_000_000}[text[-1]]
        digits = len(text[:-1].partition(".")[2])
        assert count * 10**digits // unit == int(text[:-1].replace(".", ""))


@pytest.mark.parametrize("kind", ["MLP", "LSTM"])
def test_computes_what_pefts_encoder_computes(kind: str) -> None:
    config: Any = peft.PromptEncoderConfig(
        num_virtual_tokens=5, token_dim=12, num_transformer_submodules=1, encoder_hidden_size=16,
        encoder_reparameterization_type=kind,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = peft.PromptEncoder(config)
    network = (Mlp(16) if kind == "MLP" else Lstm(16)).network(5, 12)
    network.load_state_dict((theirs.mlp_head if kind == "MLP" else theirs).state_dict(), strict=kind == "MLP")
    want = theirs(torch.arange(5)[None])[0]
    torch.testing.assert_close(network(theirs.embedding.weight), want, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "how"),
    [(ps.SoftPrompt, how) for how in KINDS]
    + [(ps.DeepPrompt, how) for how in (Lstm(5), Residual(6, False), KINDS[-1])],
    ids=str,
)
def test_folded_saved_and_run_in_every_way(kind: Any, how: Reparameterisation, tmp_path: Path) -> None:
    model, batch = hooked("gpt2"), ragged("gpt2")
    prompt = kind(3, reparameterisation=how, seed=1).bind(model)
    prompt.save(tmp_path / "own")
    loaded = ps.load_prompt(tmp_path / "own", model)
    assert loaded.content_hash() == prompt.content_hash() and loaded.n_parameters == prompt.n_parameters
    plain = ps.load_prompt(tmp_path / "own" / "folded", model)
    assert plain.reparameterisation is None and set(dict(plain.named_parameters())) == set(prompt.tensors())
    for via in ("hooks", "prefix", "auto"):
        want = model.logits(batch.input_ids, batch.attention_mask, prompt, via=via)
        for other in (loaded, plain):
            got = model.logits(batch.input_ids, batch.attention_mask, other, via=via)
            torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_the_same_seed_draws_the_same_network_whatever_was_drawn_before() -> None:
    model = hooked("gpt2")
    one = ps.SoftPrompt(3, reparameterisation=Lstm(5), seed=1).bind(model)
    torch.rand(5)
    assert ps.SoftPrompt(3, reparameterisation=Lstm(5), seed=1).bind(model).content_hash() == one.content_hash()
    assert ps.SoftPrompt(3, reparameterisation=Lstm(5), seed=2).bind(model).content_hash() != one.content_hash()


@torch.no_grad()
def test_weights_are_drawn_between_pytorchs_own_bounds() -> None:
    network = Lstm(hidden=4, layers=1).network(length=3, width=64)
    matrices = [number for number in network.parameters() if number.ndim == 2]  # of 64 numbers or more
    bounds = [number.abs().max().item() for number in matrices]
    draw_weights(network, torch.Generator().manual_seed(0))
    for number, bound in zip(matrices, bounds, strict=True):
        assert number.abs().max().item() == pytest.approx(bound, rel=0.3)


@pytest.mark.parametrize("how", [Residual(6), Broadcast(UnderParameterised())], ids=str)
@pytest.mark.parametrize("kind", [ps.SoftPrompt, ps.DeepPrompt])
def test_trains_alone_and_in_a_grid_alike(kind: Any, how: Reparameterisation, tmp_path: Path) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    prompt = kind(2, reparameterisation=how)
    config = TrainConfig(steps=3, batch_size=4, learning_rate=0.01)
    before = prompt.copy().bind(model).tensors()
    run = ps.train(model, prompt, task, config, out=tmp_path / "alone", progress=False)
    runs = {f"seed {i}": ps.GridRun(kind(2, reparameterisation=how, seed=i), task, config) for i in range(2)}
    together = ps.train_grid(model, runs, progress=False)
    for ours, alone in zip(together["seed 0"].prompt.parameters(), run.prompt.parameters(), strict=True):
        torch.testing.assert_close(ours, alone, rtol=0, atol=1e-4)
    for name, vectors in run.prompt.tensors().items():
        assert not torch.allclose(vectors, before[name])
    plain = run.prompt.fold()
    for name, vectors in run.prompt.tensors().items():
        torch.testing.assert_close(plain.tensors()[name], vectors, rtol=0, atol=0)
    assert "folded" in plain.provenance


def test_resumes_bit_for_bit(tmp_path: Path) -> None:
    model, task = ps.load_model("embedded-seq2seq"), ps.load_task("continent_en")
    config = TrainConfig(steps=4, batch_size=4, learning_rate=0.01, checkpoint_every=2)

    class StopError(Exception):
        pass

    def stop(*_: Any) -> None:
        raise StopError

    def prompt() -> ps.SoftPrompt:
        return ps.SoftPrompt(2, reparameterisation=Residual(6), seed=1)

    through = ps.train(model, prompt(), task, config, out=tmp_path / "through", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        from promptscope.training.loop import Loop

        update = Loop.update
        patch.setattr(Loop, "update", lambda loop, *given: stop() if loop.step == 3 else update(loop, *given))
        with pytest.raises(StopError):
            ps.train(model, prompt(), task, config, out=tmp_path / "resumed", progress=False)
    resumed = ps.train(model, prompt(), task, config, out=tmp_path / "resumed", progress=False)
    assert resumed.prompt.content_hash() == through.prompt.content_hash()


def test_reads_an_encoder_where_its_weights_are_saved(tmp_path: Path) -> None:
    for kind in ("p_tuning mlp", "p_tuning lstm"):
        folder = tmp_path / kind
        theirs = adapter("gpt2", kind, folder)
        path = folder / "adapter_model.safetensors"
        weights = {f"prompt_encoder.{name}": x for name, x in theirs.prompt_encoder.state_dict().items()}
        save_file(load_file(path) | weights, path)
        model, batch = hooked("gpt2"), ragged("gpt2")
        prompt = ps.load_prompt(folder, model)
        assert prompt.reparameterisation is not None
        assert_same(model, prompt, batch, peft_logits(theirs, batch))
        prompt.vectors().sum().backward()  # type: ignore[attr-defined]
        assert all(number.grad is not None for number in prompt.parameters())
        weights["prompt_encoder.default.embedding.weight"] = weights["prompt_encoder.default.embedding.weight"] + 1
        save_file(load_file(path) | weights, path)
        with pytest.raises(ps.PromptError, match="computes vectors that differ"):
            ps.load_prompt(folder)


@pytest.mark.parametrize("how", [lambda: Mlp(0), lambda: Residual(0), lambda: UnderParameterised(-1), lambda: Lstm(0)])
def test_no_hidden_unit(how: Any) -> None:
    with pytest.raises(ps.PromptError, match="at least one hidden unit"):
        how()


def test_bad_input(tmp_path: Path) -> None:
    model = hooked("gpt2")
    several = ps.SoftPrompt(3).bind(model)
    with pytest.raises(ps.PromptError, match="with 1 parameter vectors"):
        ps.SoftPrompt(3, ps.init.FromPrompt(several), reparameterisation=Broadcast()).bind(model)
    with pytest.raises(ps.PromptError, match="no network to fold"):
        several.fold()
    prompt = ps.SoftPrompt(3, reparameterisation=Mlp()).bind(model)
    with pytest.raises(ps.PromptError, match="never trained"):
        prompt.fold()
    residual = ps.SoftPrompt(3, reparameterisation=Residual(4)).bind(model)
    with pytest.raises(ps.PromptError, match=r"prompt\.fold\(\)"):
        ps.write_peft(model, residual, tmp_path / "peft")
    assert not (tmp_path / "peft").exists()
    with pytest.raises(ps.PromptError, match="unknown activation"):
        UnderParameterised(activation="rely")
    prompt.save(tmp_path / "own")
    description = read_sealed(tmp_path / "own" / "prompt.json")
    description["settings"]["reparameterisation"]["hidden"] = 2
    write_sealed(tmp_path / "own" / "prompt.json", description)
    with pytest.raises(ps.PromptError, match="does not hold the network"):
        ps.load_prompt(tmp_path / "own")
