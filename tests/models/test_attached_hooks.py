"""Everything that runs a model runs under the hooks that are attached or given: by hand-made references."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.models import Hook, HookedModel
from promptscope.training.multi_model import train_across
from tests.tiny_models import CAUSAL, FAMILIES, hooked, tiny_hf_model


def zero_head(x: Tensor, hook: object) -> Tensor:
    x = x.clone()
    x[:, :, 1] = 0
    return x


def flip(x: Tensor, hook: object) -> Tensor:
    return -x


def site(model: HookedModel) -> str:
    return "encoder_blocks.1.attn.hook_z" if model.family.kind == "seq2seq" else "blocks.1.attn.hook_z"


def texts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


def prompts(model: HookedModel) -> list[ps.Prompt | None]:
    return [None, ps.SoftPrompt(3, seed=1).bind(model), ps.DeepPrompt(3, layers=[1], seed=1).bind(model)]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_run_under_attached_hooks_however_they_were_attached(family: str) -> None:
    model, (ids, mask) = hooked(family), texts()
    for prompt in prompts(model):
        clean = model.logits(ids, mask, prompt)
        wanted = model.logits(ids, mask, prompt, via="hooks", hooks=[(site(model), zero_head)])
        real = mask.bool() if model.family.kind != "seq2seq" else torch.ones(3, 1, dtype=torch.bool)
        assert not torch.allclose(wanted[real], clean[real], atol=1e-2)
        with model.hooks([(site(model), zero_head)]):
            torch.testing.assert_close(model.logits(ids, mask, prompt)[real], wanted[real])
        model.bridge.add_hook(site(model), zero_head)
        try:
            torch.testing.assert_close(model.logits(ids, mask, prompt)[real], wanted[real])
        finally:
            model.bridge.reset_hooks()
        point = model.bridge.hook_dict[site(model)]
        # PyTorch's own hooks get the projection's flat input: another layout, the same head.
        before = model.logits(ids, mask, prompt)
        handle = point.register_forward_hook(lambda module, inputs, output: output * 0)
        try:
            assert not torch.allclose(model.logits(ids, mask, prompt)[real], before[real], atol=1e-2)
        finally:
            handle.remove()
        torch.testing.assert_close(model.logits(ids, mask, prompt)[real], clean[real])


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "bert"])
def test_a_hook_acts_at_every_step_of_generation(family: str) -> None:
    """Against the loop that anybody would write with TransformerLens' own hooks and no cache."""
    model, (ids, mask) = hooked(family), texts()
    for prompt in prompts(model):
        for row in range(3):
            alone, new = ids[row : row + 1, : int(mask[row].sum())], torch.empty(1, 0, dtype=torch.long)
            for _ in range(5):
                if model.family.kind == "seq2seq":
                    decoder = torch.cat([torch.zeros(1, 1, dtype=torch.long), new], dim=1)
                    given = {"decoder_input_ids": decoder}
                    logits = model.forward_hooked(alone, prompt=prompt, hooks=[(site(model), zero_head)], **given)
                else:
                    text = torch.cat([alone, new], dim=1)
                    logits = model.forward_hooked(text, prompt=prompt, hooks=[(site(model), zero_head)])
                new = torch.cat([new, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
            together = ps.generate(model, prompt, ids, mask, max_new_tokens=5, hooks=[(site(model), zero_head)])
            assert together[row] == new[0].tolist()
            with model.hooks([(site(model), zero_head)]):
                assert ps.generate(model, prompt, alone, None, max_new_tokens=5) == [new[0].tolist()]


def test_users_hooks_see_what_the_prompt_wrote_and_may_edit_it() -> None:
    model, (ids, mask) = hooked("llama"), texts()
    prompt = ps.SoftPrompt(3, seed=1).bind(model)

    def cut(x: Tensor, hook: object) -> Tensor:
        assert torch.equal(x[0, :3], prompt.vectors())
        return torch.cat([x[:, :2], torch.zeros_like(x[:, 2:3]), x[:, 3:]], dim=1)

    with model.hooks([("embed.hook_out", cut)]):
        edited = model.logits(ids, mask, prompt)
    wanted = model.logits(ids, mask, ps.interventions.zero(prompt, [2]))
    torch.testing.assert_close(edited[mask.bool()], wanted[mask.bool()])


@pytest.mark.parametrize("family", CAUSAL)
def test_texts_padded_in_front_keep_their_columns_under_hooks(family: str) -> None:
    from tests.engine.ways import logits_where

    model = hooked(family)
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    for prompt in prompts(model):
        given = [] if prompt is None else [prompt]
        plain = logits_where(model, mask.bool(), ids, mask, given)
        with model.hooks([(site(model), lambda x, hook: None)]):
            torch.testing.assert_close(logits_where(model, mask.bool(), ids, mask, given), plain, atol=1e-4, rtol=1e-4)


def test_a_misspelt_hook_point_is_named_with_a_suggestion() -> None:
    model = hooked("gpt2")
    with pytest.raises(ModelError, match=r"no hook point 'blocks.1.attn.hook_zz'.*Did you mean"):
        model.logits(texts()[0], hooks=[("blocks.1.attn.hook_zz", zero_head)])
    with pytest.raises(ModelError, match="no hook point"), model.hooks([("blocks.9.attn.hook_z", zero_head)]):
        raise AssertionError


def test_a_hook_point_that_never_fires_is_refused() -> None:
    model = hooked("gpt2")
    with pytest.raises(ModelError, match="never fires"), model.hooks([("blocks.0.attn.qkv.hook_out", zero_head)]):
        raise AssertionError
    with pytest.raises(ModelError, match="switched off"), model.hooks([("blocks.0.attn.hook_result", zero_head)]):
        raise AssertionError


def test_what_cannot_obey_hooks_refuses() -> None:
    model, (ids, mask) = hooked("llama"), texts()
    prompt = ps.SoftPrompt(3, seed=1).bind(model)
    hook: list[Hook] = [(site(model), zero_head)]
    with model.hooks(hook):
        with pytest.raises(ModelError, match="hooks attached"):
            model.logits(ids, mask, prompt, via="prefix")
        with pytest.raises(ModelError, match="hooks attached"):
            model.hidden(ids, mask)
        with pytest.raises(ModelError, match="hooks attached"):
            prompt.prefix(model)
    handle = model.twin.register_forward_hook(lambda module, inputs, output: None)
    try:
        with pytest.raises(ModelError, match=r"or to model\.bridge"):
            model.logits(ids, mask)
    finally:
        handle.remove()


def entry_points(model: HookedModel, task: ps.Task, prompt: ps.Prompt, hooks: list[Hook]) -> dict[str, object]:
    """Run everything that takes hooks and return plain numbers."""
    config = ps.TrainConfig(steps=2, batch_size=4, learning_rate=0.1)
    given = {"progress": False, "hooks": hooks}
    result = {
        "evaluate": list(ps.evaluate(model, prompt, task, limit=6, **given).values()),
        "evaluate left": list(ps.evaluate(model, prompt, task, limit=6, padding="left", **given).values())
        if model.family.kind == "causal"
        else [],
        "predict": ps.predict(model, prompt, task, limit=6, **given),
        "score": ps.score_labels(model, prompt, task, limit=6, **given).tolist(),
        "importance": ps.importance(model, prompt, task, limit=4, **given).difference.values.values.tolist(),
        "cut": ps.importance(model, prompt, task, how="cut", limit=4, **given).difference.values.values.tolist(),
        "shapley": ps.shapley(model, prompt, task, limit=4, **given).values.values.tolist(),
        "train": ps.train(model, prompt.copy(), task, config, **given).history["loss"].tolist(),
        "across": train_across(model, prompt.copy(), task, config, **given).history["loss"].tolist(),
        "grid": [
            run.history["loss"].tolist()
            for run in ps.train_grid(
                model, {n: ps.GridRun(prompt.copy(), task, config) for n in ("a", "b")}, **given
            ).values()
        ],
    }
    if model.family.kind != "seq2seq":
        found = ps.probe(model, prompt, task, "attention_mass", limit=4, **given)["attention_mass"]
        result["probe"] = found.values.values.tolist()
    if model.family.kind == "causal" and isinstance(prompt, ps.SoftPrompt):
        nulls = ps.readings.Nulls(random=1)
        lens = ps.readings.read_logit_lens(model, prompt, nulls=nulls, hooks=hooks)
        result["lens"] = lens.data["entropy"].values.tolist()
    return result


@pytest.mark.parametrize(
    ("name", "deep"),
    [
        ("embedded-causal", False),
        *(
            pytest.param(name, deep, marks=pytest.mark.slow)
            for name in ("embedded-causal", "embedded-seq2seq", "embedded-masked-0")
            for deep in (False, True)
            if (name, deep) != ("embedded-causal", False)
        ),
    ],
)
def test_every_entry_point_obeys(name: str, deep: bool) -> None:
    model, task = ps.load_model(name), ps.load_task("continent_en")
    prompt = (ps.DeepPrompt if deep else ps.SoftPrompt)(3, seed=0).bind(model)
    turned: list[Hook] = [(site(model), flip)]
    clean, given = entry_points(model, task, prompt, []), entry_points(model, task, prompt, turned)
    with model.hooks(turned):
        attached = entry_points(model, task, prompt, [])
    idle = entry_points(model, task, prompt, [(site(model), lambda x, hook: None)])
    for entry in clean:
        if entry == "predict":
            assert attached[entry] == given[entry] and idle[entry] == clean[entry]
            continue
        values = [torch.tensor(numbers[entry]) for numbers in (clean, given, attached, idle)]
        torch.testing.assert_close(values[1], values[2], msg=f"{entry}: attached and given")
        torch.testing.assert_close(values[3], values[0], atol=2e-4, rtol=2e-4, msg=f"{entry}: a hook that does nothing")
        assert values[0].numel() == 0 or not torch.allclose(values[0], values[1], atol=1e-3), f"{entry}: no effect"


BAD = {
    "fewer rows": (lambda x, hook: x[:1], "another shape"),
    "one column, which a pattern would be broadcast over": (lambda x, hook: x[:, :1], "another shape"),
    "one dimension more": (lambda x, hook: x[None], "another shape"),
    "another type": (lambda x, hook: x.double(), "another type, torch.float64"),
    "an array": (lambda x, hook: x.detach().numpy(), "a ndarray"),
    "a tuple": (lambda x, hook: (x,), "a tuple"),
    "NaN": (lambda x, hook: x * torch.nan, "NaN or infinite"),
    "infinity": (lambda x, hook: x / 0, "NaN or infinite"),
    "NaN, written in place": (lambda x, hook: nothing(written_into(x)), "NaN or infinite"),
    "what it was given, with NaN in it": (lambda x, hook: written_into(x), "NaN or infinite"),
}


def nothing(x):
    return None


def written_into(x):
    x[:, 0] = torch.nan
    return x


@pytest.mark.parametrize("point", ["blocks.1.hook_resid_post", "blocks.1.attn.hook_pattern", "blocks.0.attn.hook_z"])
@pytest.mark.parametrize("what", BAD)
def test_what_a_hook_may_not_return_is_one_error_and_the_hook_is_gone(what, point):
    model = hooked("gpt2")
    hook, message = BAD[what]
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with pytest.raises(ModelError, match=rf"a hook returned {message}.*{point}"):
        model.logits(ids, hooks=[(point, hook)])
    with pytest.raises(ModelError, match=message), model.hooks([(point, hook)]):
        model.logits(ids)
    model.bridge.add_hook(point, hook)  # TransformerLens' own way
    try:
        with pytest.raises(ModelError, match=message):
            model.logits(ids)
    finally:
        model.bridge.reset_hooks()
    assert not model.active_hooks()


BAD_IN_PYTORCH: dict[str, tuple[Callable[..., Any], dict[str, bool], str]] = {
    "one column": (lambda module, inputs, output: output[:, :1], {}, "another shape"),
    "half of the numbers' digits": (lambda module, inputs, output: output.half(), {}, "another type, torch.float16"),
    "a tuple": (lambda module, inputs, output: (output,), {}, "a tuple"),
    "NaN": (lambda module, inputs, output: output * torch.nan, {}, "NaN or infinite"),
    "with its arguments": (lambda module, inputs, named, output: output[:1], {"with_kwargs": True}, "another shape"),
    "fewer rows go in": (lambda module, inputs: inputs[0][:1], {"before": True}, "another shape"),
    "one input more": (lambda module, inputs: (*inputs, 3), {"before": True}, "a tuple of 2.*expected a tuple of 1"),
}


@pytest.mark.parametrize("what", BAD_IN_PYTORCH)
def test_what_a_hook_of_pytorch_may_not_return(what: str) -> None:
    model, ids = hooked("gpt2"), torch.tensor([[5, 6, 7], [8, 9, 10]])
    clean = model.logits(ids)
    function, options, message = BAD_IN_PYTORCH[what]
    point = model.bridge.hook_dict["blocks.1.attn.hook_z"]
    before = options.get("before", False)
    attach = point.register_forward_pre_hook if before else point.register_forward_hook
    handle = attach(function, **{name: value for name, value in options.items() if name != "before"})
    try:
        with pytest.raises(ModelError, match=rf"a hook returned {message}"):
            model.logits(ids)
        assert [hook.function for hook in model.active_hooks()] == [function]
    finally:
        handle.remove()
    assert not model.active_hooks()
    torch.testing.assert_close(model.logits(ids), clean)


@pytest.mark.parametrize(
    "what", [what for what, (_, options, _) in BAD_IN_PYTORCH.items() if "with_kwargs" not in options]
)
def test_what_a_hook_on_all_modules_may_not_return(what: str) -> None:
    model, ids = hooked("gpt2"), torch.tensor([[5, 6, 7], [8, 9, 10]])
    clean = model.logits(ids)
    function, options, message = BAD_IN_PYTORCH[what]

    def on_norms(module: Any, *values: Any) -> Any:
        return function(module, *values) if isinstance(module, torch.nn.LayerNorm) else None

    every, other = torch.nn.modules.module, torch.nn.LayerNorm(4)
    attach = every.register_module_forward_pre_hook if "before" in options else every.register_module_forward_hook
    handle = attach(on_norms)
    try:
        with pytest.raises(ModelError, match=rf"a hook returned {message}"):
            model.logits(ids)
        assert [hook.function for hook in model.active_hooks()] == [on_norms]
        if what == "half of the numbers' digits":
            assert other(torch.ones(2, 4)).dtype == torch.float16  # on modules that are not ours they do as they like
        with pytest.raises(ModelError, match=r"for all modules.*on_norms.*handle\.remove"):
            ps.load_model(tiny_hf_model("gpt2"))
    finally:
        handle.remove()
    assert not model.active_hooks()
    torch.testing.assert_close(model.logits(ids), clean)


def test_a_module_that_gives_several_keeps_giving_them() -> None:
    model, ids = hooked("gpt2"), torch.tensor([[5, 6, 7], [8, 9, 10]])
    attention = model.bridge.blocks[1].attn
    handle = attention.register_forward_hook(lambda module, inputs, output: output[0])  # two rows become two results
    try:
        with pytest.raises(ModelError, match=r"a hook returned a Tensor of 2 at .*attn: expected a tuple of 2"):
            model.logits(ids)
    finally:
        handle.remove()


def test_scores_may_be_minus_infinity_and_a_hook_takes_two_arguments():
    model, ids = hooked("gpt2"), torch.tensor([[5, 6, 7]])

    def blind(scores, hook):  # to all but the first
        return scores.masked_fill(torch.arange(scores.shape[-1]) > 0, -torch.inf)

    assert model.logits(ids, hooks=[("blocks.1.attn.hook_attn_scores", blind)]).isfinite().all()
    with pytest.raises(ModelError, match="second parameter called hook"):
        model.logits(ids, hooks=[("blocks.1.hook_resid_post", lambda x: x)])


def test_a_point_of_another_backend_or_one_that_is_not_tested_says_where_it_is():
    lens, trace = hooked("llama"), ps.load_model(tiny_hf_model("llama"), backend="nnsight")
    with pytest.raises(ModelError, match=r"hook_rot_k is on backend='transformer_lens' alone"):
        trace.site("attn.hook_rot_k")
    with pytest.raises(
        ModelError, match=r"TransformerLens has it, but promptscope has not tested it: use its full name with hooks="
    ):
        lens.site("ln1.hook_scale")
