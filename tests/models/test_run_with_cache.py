"""`model.run_with_cache` gives TransformerLens' cache of the run that `model.logits` makes, with named positions."""

import pytest
import torch
from transformer_lens import ActivationCache

import promptscope as ps
from promptscope.errors import ModelError, PromptError
from tests.tiny_models import hooked

K = 4


def texts(side):
    ids = torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row, n in enumerate((4, 6, 7)):
        mask[row, slice(n, None) if side == "right" else slice(0, 7 - n)] = 0
    return ids * mask, mask


@pytest.mark.parametrize("kind", [ps.SoftPrompt, ps.DeepPrompt])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_its_logits_are_those_of_the_model_and_what_it_keeps_is_what_hooks_see(family, kind):
    model = hooked(family)
    prompt = kind(K, init=ps.init.Uniform(-1.0, 1.0)).bind(model)
    point, seen = "blocks.1.attn.hook_pattern", []
    for side in ("right", "left"):
        ids, mask = texts(side)
        logits, cache = model.run_with_cache(ids, mask, prompt)
        assert isinstance(cache, ActivationCache)
        ours = model.logits(ids, mask, prompt, hooks=[(point, lambda x, hook: seen.append(x))])
        real = cache.tokens
        torch.testing.assert_close(logits[:, K:][real], ours[mask.bool()], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(cache[point], seen[-1])
        torch.testing.assert_close(cache["pattern", 1], seen[-1])
        assert cache.positions["pos"] == [f"prompt {i}" for i in range(K)] + [f"text {i}" for i in range(7)]
        pattern = cache.labelled(point)
        assert pattern.dims == ("batch", "head", "query", "key")
        assert pattern.sel(query="text 2", key="prompt 3")[1, 0].item() == cache[point][1, 0, K + 2, 3].item()
    assert set(model.hook_points()["name"]) <= set(cache.keys())


def test_the_helpers_of_transformer_lens_work_on_it():
    """The residual stream is the sum of what was added to it, and the unembedded end of it are the logits."""
    model = hooked("gpt2")
    ids, mask = texts("right")
    _, cache = model.run_with_cache(ids, mask, ps.SoftPrompt(K))
    parts, names = cache.decompose_resid(return_labels=True, apply_ln=False)
    assert names[:2] == ["embed", "pos_embed"]
    torch.testing.assert_close(parts.sum(dim=0), cache["resid_post", -1], atol=1e-4, rtol=1e-4)
    assert cache.stack_activation("pattern").shape == (model.shape.n_layers, 3, model.shape.n_heads, 11, 11)


def test_encoder_decoders_have_two_streams_of_positions():
    model = hooked("t5")
    ids, mask = texts("right")
    targets = torch.tensor([[0, 5]] * 3)
    prompt = ps.DeepPrompt(K).bind(model)
    logits, cache = model.run_with_cache(ids, mask, prompt, decoder_input_ids=targets)
    k = prompt.slots(model)["decoder"]
    assert len(cache.positions["dec_pos"]) == k + 2 == logits.shape[1]
    cross = cache.labelled("decoder_blocks.0.cross_attn.hook_pattern")
    assert cross["query"].values[-1] == "text 1" and cross["key"].values[-1] == "text 6"


def test_a_prompt_users_hooks_and_those_of_transformer_lens_in_one_block():
    """Ours, a pair of the user's and a raw `add_hook` see one run; a later hook sees what an earlier one wrote."""
    model = ps.load_model("embedded-causal")
    prompt = ps.SoftPrompt(K).bind(model)
    point, order = "blocks.2.hook_resid_post", []
    model.bridge.add_hook(point, lambda x, hook: order.append("raw") or x * 2)
    try:
        with model.hooks([(point, lambda x, hook: order.append("pair"))]):
            _, cache = model.run_with_cache("Lima is in", prompt=prompt, hooks=[(point, lambda x, hook: x * 3)])
    finally:
        model.bridge.reset_hooks()
    _, plain = model.run_with_cache("Lima is in", prompt=prompt, names_filter=point)
    assert order == ["raw", "pair"] and list(plain.keys()) == [point]
    torch.testing.assert_close(cache[point], 6 * plain[point], atol=1e-3, rtol=1e-3)
    # The prompt as pairs, in a run of TransformerLens' own: the slots are the caller's to make.
    slots = torch.zeros(1, K, dtype=torch.long)
    ids = torch.cat([slots, model.tokenizer("Lima is in", return_tensors="pt")["input_ids"]], dim=1)
    with model.bridge.hooks(fwd_hooks=prompt.hooks(model)):
        _, theirs = model.bridge.run_with_cache(ids)
    torch.testing.assert_close(theirs[point], plain[point], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_on_nnsight_it_keeps_the_same(hooked_twice=("gpt2", "llama")):
    from tests.tiny_models import tiny_hf_model

    for family in hooked_twice:
        lens, trace = hooked(family), ps.load_model(tiny_hf_model(family), backend="nnsight")
        ids, mask = texts("left")
        prompt = ps.SoftPrompt(K).bind(lens)
        (_, a), (_, b) = (model.run_with_cache(ids, mask, prompt) for model in (lens, trace))
        for name in ("blocks.1.hook_resid_post", "blocks.2.attn.hook_z", "embed.hook_out"):
            torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)


def test_bad_input():
    model = hooked("gpt2")
    ids, mask = texts("right")
    with pytest.raises(ModelError, match=r"hook_residd_post.*Did you mean"):
        model.run_with_cache(ids, mask, names_filter="hook_residd_post")
    with pytest.raises(ModelError, match="matches no hook point"):
        model.run_with_cache(ids, mask, names_filter=lambda name: False)
    with pytest.raises(ModelError, match="none of them empty"):
        model.run_with_cache(["a", ""])
    with pytest.raises(PromptError, match="64"):
        model.run_with_cache(torch.ones(1, 62, dtype=torch.long), prompt=ps.SoftPrompt(K))
    _, cache = model.run_with_cache(ids, mask, names_filter="attn.hook_pattern")
    with pytest.raises(ModelError, match=r"the cache has no activation 'blocks.0.hook_resid_post'"):
        cache.labelled("blocks.0.hook_resid_post")
