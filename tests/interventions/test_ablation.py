"""Each intervention against bare Hugging Face models, and what it must leave alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import promptscope as ps
from promptscope.errors import PromptError
from promptscope.interventions import cut, mean, remove, zero
from promptscope.models.keys import cached
from tests.interventions.variants import EXACT, HOWS, PROMPTS, K, by_hooks, examples
from tests.tiny_models import FAMILIES
from tests.training.toy import toy_model, toy_truth

GONE = [0, 2]
KEPT = [1, 3]


def by_hand(family: str, rows: Tensor, text: Tensor, seen: list[int], decoder: Tensor | None) -> Tensor:
    """Return bare logits at the text (the decoder's tokens), behind *rows* of which only *seen* are not masked out."""
    model = toy_truth(family, torch.float64)
    embeds = torch.cat([rows, model.get_input_embeddings()(text)])[None]
    mask = torch.ones(1, embeds.shape[1], dtype=torch.long)
    mask[0, [i for i in range(len(rows)) if i not in seen]] = 0
    if decoder is not None:
        return model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=decoder[None]).logits[0]
    positions = torch.arange(embeds.shape[1])[None]
    return model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits[0, len(rows) :]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_input_level_tokens_on_bare_models(family: str, how: str) -> None:
    model = toy_model(family, torch.float64)
    prompt = ps.SoftPrompt(K, seed=3).bind(model)
    vectors, every = prompt.vectors().detach(), list(range(K))
    rows, seen = vectors.clone(), every
    if how == "zero":
        rows[GONE] = 0
    elif how == "mean":
        rows[GONE] = (vectors[0] + vectors[1] + vectors[2] + vectors[3]) / 4
    elif how == "remove":
        rows, seen = vectors[KEPT], [0, 1]
    else:
        seen = KEPT  # Hugging Face's own attention mask hides them; positions stay
    record = examples(model)[1]
    text = torch.tensor(record.input_ids)
    decoder = None if record.decoder_input_ids is None else torch.tensor(record.decoder_input_ids)
    theirs = by_hand(family, rows, text, seen, decoder)
    ours = model.logits(
        text[None],
        None,
        HOWS[how](prompt, GONE),
        via="hooks",
        decoder_input_ids=None if decoder is None else decoder[None],
    )[0]
    assert (ours - theirs).norm() <= EXACT[family] * theirs.norm()
    whole = by_hand(family, vectors, text, every, decoder)
    assert (theirs - whole).norm() > 1e-4 * whole.norm()


@pytest.mark.parametrize("name", [name for name in PROMPTS if name != "v1"])
def test_deep_tokens_are_changed_in_every_layer(name: str) -> None:
    model = toy_model("llama")
    prompt = PROMPTS[name]().bind(model)
    zeroed, removed, averaged = (how(prompt, GONE).place(model).tensors() for how in (zero, remove, mean))
    for key, numbers in prompt.place(model).tensors().items():
        assert torch.equal(zeroed[key][..., GONE, :], torch.zeros_like(numbers[..., GONE, :]))
        assert torch.equal(zeroed[key][..., KEPT, :], numbers[..., KEPT, :])
        assert torch.equal(removed[key], numbers[..., KEPT, :])
        torch.testing.assert_close(averaged[key][..., 2, :], numbers.sum(dim=-2) / K)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_keys_after_the_rotary_embedding_are_turned_to_their_new_places(family: str, how: str) -> None:
    """A PEFT adapter holds the keys of the same prompt turned: what is done to it must be the same."""
    model = toy_model(family, torch.float64)
    prompt = ps.DeepPrompt(K, seed=1).bind(model)
    heads = (model.shape.n_kv_heads, model.shape.d_head)
    turned = prompt.copy()
    both = (x.detach().unflatten(-1, heads).transpose(1, 2) for x in (prompt.keys(), prompt.values()))
    keys, _ = cached(*both, prompt.chosen_layers(model), model)
    turned.numbers["self_keys"] = nn.Parameter(keys.transpose(1, 2).flatten(-2))
    turned.keys_after_rotary = True
    records = examples(model)
    ours = by_hooks(model, records, HOWS[how](turned, [1]))
    theirs = by_hooks(model, records, HOWS[how](prompt, [1]))
    assert (ours - theirs).norm() <= EXACT[family] * theirs.norm()


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_hears_of_a_cut_token(family: str, name: str) -> None:
    model = toy_model(family, torch.float64)
    prompt, other = PROMPTS[name]().bind(model), PROMPTS[name]().bind(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter[..., GONE, :] = torch.randn(parameter[..., GONE, :].shape, generator=generator).to(parameter)
    records = examples(model)
    assert torch.equal(by_hooks(model, records, cut(prompt, GONE)), by_hooks(model, records, cut(other, GONE)))
    assert not torch.allclose(by_hooks(model, records, prompt), by_hooks(model, records, other), rtol=1e-3)


def test_cutting_is_not_removing_where_positions_count() -> None:
    model = toy_model("gpt2", torch.float64)
    prompt, records = ps.SoftPrompt(K).bind(model), examples(model)
    removed, hidden = (by_hooks(model, records, how(prompt, [0])) for how in (remove, cut))
    assert (removed - hidden).norm() > 1e-4 * removed.norm()


def test_the_prompt_itself_stays_as_it_was() -> None:
    prompt = ps.SoftPrompt(K).bind(toy_model("gpt2"))
    before = prompt.content_hash()
    for how in HOWS.values():
        other = how(prompt, [1])
        assert other.content_hash() != before
        assert other.provenance["prompt"] == before
    assert prompt.content_hash() == before


@settings(deadline=None, max_examples=30)
@given(gone=st.sets(st.integers(0, 5), max_size=5), split=st.integers(0, 5))
def test_tokens_go_one_after_the_other_or_together(gone: set[int], split: int) -> None:
    model = toy_model("gpt2")
    prompt = ps.SoftPrompt(6, seed=2).bind(model)

    def vectors(one: ps.Prompt) -> Tensor:
        found = one.place(model).vectors
        assert found is not None
        return found

    first = sorted(gone)[:split]
    rest = sorted(gone)[split:]
    moved = [token - len(first) for token in rest]  # all of them lie behind the first
    assert torch.equal(vectors(remove(remove(prompt, first), moved)), vectors(remove(prompt, sorted(gone))))
    assert torch.equal(vectors(zero(zero(prompt, rest), first)), vectors(zero(prompt, sorted(gone))))
    assert cut(cut(prompt, first), rest).place(model).hidden == tuple(sorted(gone))
    assert remove(cut(prompt, rest), first).place(model).hidden == tuple(moved)
    left = np.setdiff1d(np.arange(6), sorted(gone))
    assert torch.equal(vectors(mean(prompt, sorted(gone)))[left], prompt.vectors()[left])


def test_probes_see_a_cut_prompt() -> None:
    model = toy_model("gpt2")
    prompt = ps.SoftPrompt(K).bind(model)
    texts = torch.tensor([examples(model)[0].input_ids])
    seen = []
    hook = ("blocks.1.attn.hook_pattern", lambda pattern, hook: seen.append(pattern))
    model.forward_hooked(texts, prompt=cut(prompt, [1]), hooks=[hook])
    assert seen[0][0, :, 2:, 1].abs().max() == 0
    torch.testing.assert_close(seen[0][0, :, 2:].sum(-1), torch.ones_like(seen[0][0, :, 2:, 0]))


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda prompt: zero(prompt, [4]), r"tokens must be in 0\.\.3, got \[4\]"),
        (lambda prompt: cut(prompt, -1), r"tokens must be in 0\.\.3, got \[-1\]"),
        (lambda prompt: remove(prompt, range(4)), "prompt=None"),
        (lambda prompt: mean(ps.SoftPrompt(4), [0]), "unbound"),
    ],
)
def test_bad_input_is_named(work: object, message: str) -> None:
    prompt = ps.SoftPrompt(4).bind(toy_model("gpt2"))
    with pytest.raises(PromptError, match=message):
        work(prompt)
