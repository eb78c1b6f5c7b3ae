"""Every row of the hook-point table is a promise: it fires once, has its shape, and a written value acts."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from promptscope.errors import ModelError
from promptscope.models import Hook, HookedModel
from tests.batches import ragged
from tests.tiny_models import CAUSAL, FAMILIES, hooked, tiny_hf_model

SIZES = {"batch": 3, "pos": 7, "dec_pos": 4, "d_model": 32, "d_embed": 32, "head": 4, "d_head": 8, "d_vocab": 200}


def run(model: HookedModel, hooks: list[Hook] = ()) -> Tensor:  # type: ignore[assignment]
    batch = ragged(model.family.name)
    with torch.no_grad():
        return model.forward_hooked(
            batch.input_ids, batch.attention_mask, hooks=hooks, decoder_input_ids=batch.decoder_input_ids
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_fires_once_with_the_shape_of_the_table(family: str) -> None:
    model = hooked(family)
    sizes = SIZES | {"kv_head": 2 if family == "llama" else 4, "d_mlp": 128 if family == "gpt2" else 64}
    table, fired, shapes = model.hook_points(), Counter[str](), {}

    def record(name: str) -> Hook:
        def hook_function(x: Tensor, hook: object) -> None:
            fired[name] += 1
            shapes[name] = tuple(x.shape)

        return name, hook_function

    run(model, [record(name) for name in table["name"]])
    assert fired == Counter(table["name"])
    expected = {
        name: tuple(sizes[d] for d in shape.split()) for name, shape in zip(table["name"], table["shape"], strict=True)
    }
    assert shapes["pos_embed.hook_out"][1:] == (7, 32) if "pos_embed.hook_out" in shapes else True
    # Position embeddings are the same for every row, so some models compute them once.
    assert {n: s for n, s in shapes.items() if n != "pos_embed.hook_out"} == {
        n: s for n, s in expected.items() if n != "pos_embed.hook_out"
    }


ACTING = [
    (family, name)
    for family in FAMILIES
    for name in dict.fromkeys(
        f"{point.stack}.1.{point.name}" if point.stack else point.name
        for point in hooked(family).family.points
        if point.acts
    )
]


@pytest.mark.parametrize(("family", "name"), ACTING)
def test_noise_written_to_an_acting_point_moves_the_logits(family: str, name: str) -> None:
    model = hooked(family)

    def noise(x: Tensor, hook: object) -> Tensor:
        return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    assert (run(model, [(name, noise)]) - run(model)).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_points_that_do_not_act_say_so_for_a_reason(family: str) -> None:
    """A write at hook_resid_mid is not the same as the write at hook_attn_out that should equal it."""
    model = hooked(family)
    table = model.hook_points().set_index("name")
    assert not table.loc["blocks.1.hook_resid_mid", "acts"]
    assert table.loc["blocks.1.hook_attn_out", "acts"]
    shift = torch.randn(32, generator=torch.Generator().manual_seed(0))
    written = [run(model, [(f"blocks.1.{n}", lambda x, hook: x + shift)]) for n in ("hook_resid_mid", "hook_attn_out")]
    assert (written[0] - written[1]).abs().max() > 1e-2


ATTENTIONS = [(family, part) for family in FAMILIES for part in hooked(family).family.attentions]


@pytest.mark.parametrize(("family", "part"), ATTENTIONS)
def test_zeroing_a_heads_pattern_equals_zeroing_its_output(family: str, part: str) -> None:
    model = hooked(family)
    attention = model.family.attentions[part]
    where = f"{attention.stack}.1.{attention.module}"

    def zero_pattern(x: Tensor, hook: object) -> Tensor:
        return torch.cat([x[:, :2], torch.zeros_like(x[:, 2:3]), x[:, 3:]], dim=1)

    def zero_z(x: Tensor, hook: object) -> Tensor:
        return torch.cat([x[:, :, :2], torch.zeros_like(x[:, :, 2:3]), x[:, :, 3:]], dim=2)

    by_pattern = run(model, [(f"{where}.hook_pattern", zero_pattern)])
    by_z = run(model, [(f"{where}.hook_z", zero_z)])
    torch.testing.assert_close(by_pattern, by_z, rtol=0, atol=1e-6)
    assert (by_pattern - run(model)).abs().max() > 1e-3


@pytest.mark.parametrize(("family", "part"), ATTENTIONS)
def test_pattern_equals_hugging_faces_attentions(family: str, part: str) -> None:
    model, batch = hooked(family), ragged(family)
    hf: Any = tiny_hf_model(family)
    hf.set_attn_implementation("eager")
    extra = {} if batch.decoder_input_ids is None else {"decoder_input_ids": batch.decoder_input_ids}
    with torch.no_grad():
        outputs = hf(input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_attentions=True, **extra)
    field = {
        "self": "attentions",
        "encoder": "encoder_attentions",
        "decoder": "decoder_attentions",
        "cross": "cross_attentions",
    }
    attention = model.family.attentions[part]
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Hook:
        def hook_function(x: Tensor, hook: object) -> None:
            kept[name] = x

        return name, hook_function

    sites = {
        point: model.site(f"{attention.stack}.{{i}}.{attention.module}.{point}")
        for point in ("hook_pattern", "hook_attn_scores")
    }
    run(model, [keep(name) for names in sites.values() for name in names])
    real = batch.attention_mask.bool() if attention.queries == "encoder" else torch.ones(3, 4, dtype=torch.bool)
    for pattern, scores, want in zip(*sites.values(), outputs[field[part]], strict=True):
        got = kept[pattern].transpose(1, 2)[real]
        torch.testing.assert_close(got, want.transpose(1, 2)[real], rtol=0, atol=1e-6)
        torch.testing.assert_close(got.sum(-1), torch.ones_like(got[..., 0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(kept[scores].softmax(-1).transpose(1, 2)[real], got, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_residual_stream_equals_hugging_faces_hidden_states(family: str) -> None:
    model, batch = hooked(family), ragged(family)
    extra = {} if batch.decoder_input_ids is None else {"decoder_input_ids": batch.decoder_input_ids}
    with torch.no_grad():
        outputs = tiny_hf_model(family)(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True, **extra
        )
    states = outputs.encoder_hidden_states if family == "t5" else outputs.hidden_states
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Hook:
        def hook_function(x: Tensor, hook: object) -> None:
            kept[name] = x

        return name, hook_function

    names = model.site("hook_resid_pre")
    run(model, [keep(name) for name in names])
    for name, want in zip(names, states[:-1], strict=True):
        real = batch.attention_mask.bool()
        torch.testing.assert_close(kept[name][real], want[real], rtol=0, atol=1e-5)


def test_sites() -> None:
    model, t5 = hooked("gpt2"), hooked("t5")
    assert model.site("attn.hook_pattern") == [f"blocks.{i}.attn.hook_pattern" for i in range(3)]
    assert model.site("blocks.{i}.hook_resid_pre") == [f"blocks.{i}.hook_resid_pre" for i in range(3)]
    assert model.site("blocks.1.attn.hook_z") == ["blocks.1.attn.hook_z"]
    assert model.site("ln_final.hook_out") == ["ln_final.hook_out"]
    assert t5.site("attn.hook_pattern") == [f"encoder_blocks.{i}.attn.hook_pattern" for i in range(3)]
    assert t5.site("decoder_blocks.{i}.cross_attn.hook_z") == [
        f"decoder_blocks.{i}.cross_attn.hook_z" for i in range(3)
    ]


@pytest.mark.parametrize(
    ("site", "suggestion"),
    [
        ("attn.hook_patern", "attn.hook_pattern"),
        ("blocks.7.attn.hook_pattern", "attn.hook_pattern"),
        ("hook_resid_past", "hook_resid_post"),
    ],
)
def test_unknown_site(site: str, suggestion: str) -> None:
    with pytest.raises(ModelError, match=rf"no hook point '{site}'.*Did you mean '.*{suggestion}'.*hook_points\(\)"):
        hooked("gpt2").site(site)


@pytest.mark.parametrize("family", CAUSAL)
def test_no_hook_is_left_behind(family: str) -> None:
    """After success, after bad input, and after an exception in the middle of a forward pass."""
    model = hooked(family)

    def attached() -> int:
        return sum(len(point.fwd_hooks) for point in model.bridge.hook_dict.values())

    before, plain = attached(), run(model)

    def fail(x: Tensor, hook: object) -> None:
        raise RuntimeError("in the middle")

    name = "blocks.1.attn.hook_pattern"
    run(model, [(name, lambda x, hook: x * 0)])
    with pytest.raises(RuntimeError, match="in the middle"):
        run(model, [(name, fail)])
    with pytest.raises(Exception, match="no_such_hook"):
        run(model, [(name, lambda x, hook: x * 0), ("no_such_hook", fail)])
    assert attached() == before
    assert torch.equal(run(model), plain)
