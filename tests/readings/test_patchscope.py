"""Patching: into itself it changes nothing, elsewhere it does; the fast way equals a forward pass for every token."""

import numpy as np
import pytest
import torch

from promptscope import DeepPrompt, ProbeError, PromptError, SoftPrompt
from promptscope.inference import generate
from promptscope.readings import (
    DescribePrompt,
    Nulls,
    class_rate,
    patch,
    prompt_residual,
    read_patchscope,
    word_f1,
)
from promptscope.readings.patched_text import patched_continuations
from tests.readings.lively import lively
from tests.tiny_models import CAUSAL, hooked
from tests.tiny_tokenizer import WORDS

DESCRIBE = DescribePrompt((("film", "a story"), ("Korea", "the film is good")), placeholder=" very", separator=" is")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_a_token_patched_into_itself_changes_nothing_and_another_does(family, layer):
    model = hooked(family)
    prompt, other = (SoftPrompt(3, seed=seed).bind(model) for seed in (0, 1))
    plain = model.forward_hooked(IDS, prompt=prompt)
    own = patch(prompt_residual(model, prompt)[layer + 1][None], layer, 0)
    torch.testing.assert_close(model.forward_hooked(IDS, prompt=prompt, hooks=[own]), plain, atol=1e-6, rtol=0)
    foreign = patch(prompt_residual(model, other)[layer + 1][None], layer, 0)
    changed = model.forward_hooked(IDS, prompt=prompt, hooks=[foreign])
    assert (changed[:, 3:] - plain[:, 3:]).abs().max() > 1e-2  # at the text, not only where it was written


@pytest.mark.parametrize("family", CAUSAL)
def test_one_token_of_several_can_be_patched(family):
    model = hooked(family)
    prompt = SoftPrompt(3).bind(model)
    residual = prompt_residual(model, prompt)
    plain = model.forward_hooked(IDS, prompt=prompt)
    same = patch(residual[1, 1:2][None], 0, 1)
    torch.testing.assert_close(model.forward_hooked(IDS, prompt=prompt, hooks=[same]), plain, atol=1e-6, rtol=0)
    shifted = patch(residual[1, 2:3][None], 0, 1)
    assert (model.forward_hooked(IDS, prompt=prompt, hooks=[shifted])[:, 3:] - plain[:, 3:]).abs().max() > 1e-3


@pytest.mark.parametrize("family", CAUSAL)
def test_continuations_equal_a_whole_forward_pass_for_every_token(family):
    model = lively(family)
    generator = torch.Generator().manual_seed(0)
    head, tail = torch.randint(18, (6,), generator=generator), torch.randint(18, (4,), generator=generator)
    layers = torch.tensor([-1, 0, 1, 0, 1, -1, 1])
    vectors = 3 * torch.randn(7, 2, 32, generator=generator)
    found = patched_continuations(model, head, tail, vectors, layers, 5, batch_size=3)
    for row, (vector, layer) in enumerate(zip(vectors, layers.tolist(), strict=True)):
        ids = torch.cat([head, tail])[None]
        for _ in range(5):
            logits = model.forward_hooked(ids, hooks=[patch(vector[None], layer, 6)])
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        assert found[row] == ids[0, 10:].tolist()
    assert len({tuple(row) for row in found}) > 1


def test_no_hook_is_left_behind_and_an_error_passes_through():
    model = hooked("gpt2")
    before = model.forward_hooked(IDS)
    with pytest.raises(RuntimeError):
        patched_continuations(model, IDS[0], IDS[0], torch.zeros(2, 2, 31), torch.tensor([0, 1]), 2)
    torch.testing.assert_close(model.forward_hooked(IDS), before)


@pytest.fixture(scope="module", params=CAUSAL)
def speaking(request):
    return lively(request.param)


def test_placeholders_patched_with_their_own_residual_read_as_unpatched(speaking):
    """The residual of the bare placeholders, written back at the layer it came from, is the identity."""
    head, tail = DESCRIBE.encode(speaking, 2)
    kept = []
    reads = [
        (f"blocks.{i}.hook_resid_post", lambda x, hook: kept.append(x[0, len(head) : len(head) + 2])) for i in (0, 1)
    ]
    speaking.forward_hooked(torch.cat([head, tail])[None], hooks=reads)
    found = patched_continuations(speaking, head, tail, torch.stack(kept), torch.tensor([0, 1]), 6)
    plain = generate(speaking, None, torch.cat([head, tail])[None], max_new_tokens=6)[0]
    assert found == [plain, plain]


def test_the_grid_is_read_for_the_prompt_and_its_nulls(speaking):
    prompt = SoftPrompt(2, seed=4).bind(speaking)
    scores = {"class rate": class_rate(["good", "bad"]), "f1": word_f1("a very good film")}
    reading = read_patchscope(
        speaking, prompt, scores=scores, describe=DESCRIBE, max_new_tokens=5, nulls=Nulls(random=3)
    )
    assert reading.data["f1"].dims == ("of", "source", "target")
    assert reading.data["f1"].shape == (4, 4, 3)  # layers -1..2 as sources, -1..1 as targets
    assert len(reading.texts) == 4 * 4 * 3 and reading.texts["text"].nunique() > 3
    for row in reading.to_dataframe().itertuples(index=False):
        assert row.f1 == scores["f1"](row.text)
    cell = reading.texts.query("of == 'random 1' and source == 0 and target == 1")["text"].item()
    assert float(reading.data["f1"].sel(of="random 1", source=0, target=1)) == scores["f1"](cell)
    table = reading.against_null().set_index("quantity")
    own = reading.data["f1"].sel(of="prompt")
    assert table.loc["f1, mean over the grid", "value"] == pytest.approx(float(own.mean()))
    assert table.loc["f1, best cell", "value"] == pytest.approx(float(own.max()))
    best = [float(reading.data["f1"].sel(of=f"random {r}").max()) for r in range(3)]
    assert table.loc["f1, best cell", "random"] == pytest.approx(np.mean(best))
    assert table.loc["f1, best cell", "unpatched"] == scores["f1"](reading.unpatched)
    assert reading.best("f1")["f1"] == pytest.approx(float(own.max()))


def test_cells_are_what_patching_by_hand_gives(speaking):
    prompt = SoftPrompt(2, seed=4).bind(speaking)
    options = {"source_layers": [0, 2], "target_layers": [-1, 0, 1], "max_new_tokens": 4, "nulls": Nulls(random=0)}
    reading = read_patchscope(speaking, prompt, describe=DESCRIBE, **options)
    head, tail = DESCRIBE.encode(speaking, 2)
    residual = prompt_residual(speaking, prompt)
    for source, target, text in reading.texts[["source", "target", "text"]].itertuples(index=False):
        ids = torch.cat([head, tail])[None]
        for _ in range(4):
            logits = speaking.forward_hooked(ids, hooks=[patch(residual[source + 1][None], target, len(head))])
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        new = ids[0, len(head) + len(tail) :].tolist()
        stop = speaking.tokenizer.eos_token_id
        new = new[: new.index(stop)] if stop in new else new
        assert text == speaking.tokenizer.decode(new).strip()


def test_single_positions_and_the_other_entry_give_other_readings(speaking):
    prompt = SoftPrompt(3, seed=2).bind(speaking)
    options = {"describe": DESCRIBE, "max_new_tokens": 5, "nulls": Nulls(random=0), "source_layers": [0, 1, 2]}
    whole = read_patchscope(speaking, prompt, **options)
    alone = read_patchscope(speaking, prompt, positions=[2], **options)
    moved = read_patchscope(speaking, prompt, entry="first_layer", **options)
    assert alone.provenance["positions"] == [2]
    assert whole.texts["text"].tolist() != alone.texts["text"].tolist()
    assert whole.texts["text"].tolist() != moved.texts["text"].tolist()
    again = read_patchscope(speaking, prompt, **options)
    assert again.texts.equals(whole.texts)


def test_without_scores_there_are_texts(speaking):
    reading = read_patchscope(speaking, SoftPrompt(2), describe=DESCRIBE, nulls=Nulls(random=0), max_new_tokens=2)
    assert reading.scores == () and reading.to_dataframe() is reading.texts
    assert "4 source x 3 target layers" in repr(reading) and "unpatched" in repr(reading)
    with pytest.raises(ProbeError, match="no score 'f1'"):
        reading.best("f1")


def test_bad_input(speaking):
    prompt = SoftPrompt(2).bind(speaking)
    with pytest.raises(ProbeError, match=r"target layers must be in -1\.\.1 .* got \[2\]"):
        read_patchscope(speaking, prompt, describe=DESCRIBE, target_layers=[0, 2])
    with pytest.raises(ProbeError, match=r"source layers must be in -1\.\.2 .* got \[-2\]"):
        read_patchscope(speaking, prompt, describe=DESCRIBE, source_layers=[-2])
    with pytest.raises(ProbeError, match="must be 0 or more, got -1"):
        read_patchscope(speaking, prompt, describe=DESCRIBE, source_layers=[-1], entry="first_layer")
    with pytest.raises(ProbeError, match=r"positions must be one or more of 0\.\.1, got \[2\]"):
        read_patchscope(speaking, prompt, describe=DESCRIBE, positions=[2])
    with pytest.raises(ProbeError, match=r"one known token of .*, and it is 2 tokens"):
        read_patchscope(speaking, prompt, describe=DescribePrompt(placeholder=" very good"))
    with pytest.raises(ProbeError, match="at least one demonstration"):
        DescribePrompt(())
    with pytest.raises(PromptError, match="has only 64"):
        read_patchscope(speaking, prompt, describe=DESCRIBE, max_new_tokens=60)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_other_kinds_are_refused(family):
    with pytest.raises(ProbeError, match="Patchscopes reading needs a causal model"):
        read_patchscope(hooked(family), SoftPrompt(2))


def test_deep_prompts_are_refused(speaking):
    with pytest.raises(PromptError, match="keys and values"):
        read_patchscope(speaking, DeepPrompt(2), describe=DESCRIBE)


def test_describe_prompt_marks_the_placeholders(speaking):
    head, tail = DESCRIBE.encode(speaking, 3)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *WORDS]
    assert [words[i] for i in tail] == ["very", "very", "very", "is"]
    assert speaking.tokenizer.decode(torch.cat([head, tail])) == " ".join(DESCRIBE.show(3).split())


def test_scores():
    rate = class_rate(["Africa", "Asia", "south america"])
    assert rate("an asia-pacific country") == pytest.approx(1 / 3)
    assert rate("Asian, Africans") == 0 and rate("South America and AFRICA") == pytest.approx(2 / 3)
    f1 = word_f1("the capital of the country")
    assert f1("The capital of the country!") == 1 and f1("") == 0 and f1("the the the") == pytest.approx(4 / 8)
