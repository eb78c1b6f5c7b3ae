"""Label-space cosines against loops over single rows of bare models."""

import copy
import inspect
from itertools import product

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import LabelCosine, ResidualPCA, layer_curves, probe
from promptscope.store import ActivationStore
from promptscope.tasks import Encoded, Task
from tests.models.zoo import make
from tests.probes.inside import K, eager, hooked_inside, inside, prompt
from tests.tiny_models import hooked
from tests.tiny_tokenizer import ids, tiny_tokenizer

TEXTS = ("the film is very good", "bad story", "a very dull film is a bad film", "great", "the story is good")
WORDS = {"pos": "positive", "neg": "negative", "mid": "dull"}
LABELS = ("pos", "neg", "neg", "pos", "mid")


def task(words=WORDS, labels=LABELS, template="single", name="films", **options) -> Task:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    return Task.from_records(rows, template, words, name=name, split="test", **options)


def model(family: str, seed: int = 0):
    made = copy.copy(hooked(family, seed=seed))
    made._tokenizer = tiny_tokenizer()
    return made


def rows_of(family: str, of: Task) -> list[Encoded]:
    return list(of.encode(tiny_tokenizer(), hooked(family).family.kind, "test", with_label=False, decoder_start_id=0))


def state(family: str, kind: str | None, row: Encoded) -> list[np.ndarray]:
    """Residual stream leaving each layer where the label is predicted, of the row alone."""
    made = prompt(kind, family) if kind else None
    if family == "t5":  # the decoder's, at its first position
        residual, k = decoder_residual(row, made), 0
        return [x[0] for x in residual]
    found = hooked_inside(family, row, made) if made is not None else inside(family, row)
    k = K if made is not None else 0
    at = row.label_start if family == "bert" else row.label_start - 1
    residual = hooked_inside(family, row, made)["residual"]  # a bare model's last one is after the final norm
    for mine, theirs in zip(found["residual"][:-1], residual[:-1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    return [x[k + at] for x in residual]


def decoder_residual(row: Encoded, made):
    one, found = hooked("t5"), {}
    names = [f"decoder_blocks.{i}.hook_resid_post" for i in range(3)]
    hooks = [(name, lambda x, hook, name=name: found.__setitem__(name, x[0].numpy())) for name in names]
    with torch.no_grad():
        one.forward_hooked(
            torch.tensor([row.input_ids]), prompt=made, hooks=hooks, decoder_input_ids=torch.tensor([[0]])
        )
    skip = made.slots(one).get("decoder", 0) if made is not None else 0
    return [found[name][skip:] for name in names]


def cos(a, b) -> float:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def expected(family: str, kind: str | None, reference: str, centred: bool, of: Task) -> np.ndarray:
    """(X, label, layer), loop by loop."""
    tokens = [ids(word)[0] for word in of.verbalizer.words.values()]
    matrix = eager(family).get_output_embeddings().weight.detach().numpy().astype(float)
    rows = rows_of(family, of)
    if reference == "residual":
        before = rows[0].input_ids[-1]
        own = [
            state(
                family, kind, Encoded("w", [before, t], ["special", "label"], [True, False], [-100] * 2, None, 2, False)
            )
            for t in tokens
        ]
    table = []
    for row in rows:
        h = state(family, kind, row)
        if reference == "residual":
            mean = [np.mean([one[i] for one in own], axis=0) if centred else 0.0 for i in range(3)]
            table.append([[cos(h[i], one[i] - mean[i]) for i in range(3)] for one in own])
        else:
            mean = matrix.mean(axis=0) if centred else 0.0
            table.append([[cos(h[i], matrix[t] - mean) for i in range(3)] for t in tokens])
    return np.array(table)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kind", [None, "v1", "v2"])
@pytest.mark.parametrize(
    ("family", "reference"),
    [*product(("gpt2", "llama", "bert", "t5"), ("unembedding",)), ("gpt2", "residual"), ("llama", "residual")],
)
def test_gold_and_mean_of_the_others(family, reference, kind, centred):
    of = task()
    one = LabelCosine(reference, non_gold="mean", centred=centred)
    prompts = {"p": prompt(kind, family)} if kind else None
    (result,) = probe(model(family), prompts, of, one, batch_size=2, progress=False).values()
    table = expected(family, kind, reference, centred, of)
    gold = [list(WORDS).index(label) for label in LABELS]
    truth = np.array(
        [
            [
                [row[g][i] for i in range(3)],
                [np.mean([row[c][i] for c in range(3) if c != g]) for i in range(3)],
            ]
            for row, g in zip(table, gold, strict=True)
        ]
    )
    data = result.data.sel(prompt="p") if kind else result.data
    np.testing.assert_allclose(data["per_example"], truth, atol=2e-6)
    np.testing.assert_allclose(data["values"], truth.mean(axis=0), atol=2e-6)
    np.testing.assert_allclose(data["gap"], (truth[:, 0] - truth[:, 1]).mean(axis=0), atol=2e-6)
    assert (data["gap_low"] <= data["gap"]).all() and (data["gap"] <= data["gap_high"]).all()
    assert np.abs(truth).max() > 0.05
    assert result.layer_curve() is result
    assert result.provenance["labels"] == {label: ids(word)[0] for label, word in WORDS.items()}


def test_the_drawn_word_is_one_of_the_others_and_does_not_depend_on_the_order():
    of = task()
    made = {"p": prompt("v1", "gpt2")}
    table = expected("gpt2", "v1", "unembedding", False, of)
    gold = [list(WORDS).index(label) for label in LABELS]
    seen = []
    for seed in range(8):
        (result,) = probe(model("gpt2"), made, of, LabelCosine(seed=seed), progress=False).values()
        drawn = result.data["per_example"].sel(prompt="p", word="non-gold")
        chosen = []
        for x, g in enumerate(gold):
            near = [c for c in range(3) if np.allclose(drawn[x], table[x, c], atol=2e-6)]
            assert len(near) == 1 and near[0] != g
            chosen += near
        seen.append(tuple(chosen))
    assert len(set(seen)) > 1
    assert any(one[0] != one[3] for one in seen)  # two inputs of one label, each with a draw of its own
    rows = [{"id": f"test-{i}", "text": TEXTS[i], "label": LABELS[i]} for i in reversed(range(5))]
    back = Task.from_records(rows, "single", WORDS, split="test")
    (again,) = probe(model("gpt2"), made, back, LabelCosine(seed=7), progress=False, batch_size=2).values()
    there, here = (found.data["per_example"] for found in (result, again))
    np.testing.assert_allclose(here.sel(example=there["example"]), there, atol=1e-6)


@pytest.mark.parametrize("reference", ["unembedding", "residual"])
def test_label_words_in_another_shard_than_the_inputs(tmp_path, reference):
    made, one = {"p": prompt("v1", "gpt2")}, LabelCosine(reference)
    (whole,) = probe(model("gpt2"), made, task(), one, progress=False).values()
    store = ActivationStore(tmp_path, shard_size=2)
    (parts,) = probe(model("gpt2"), made, task(), one, store=store, progress=False).values()
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-6)


def test_the_default_keeps_a_few_numbers_and_both_corrections_share_them(tmp_path):
    store = ActivationStore(tmp_path)
    made = {"p": prompt("v1", "gpt2")}
    probe(model("gpt2"), made, task(), [LabelCosine(), LabelCosine(centred=True)], store=store, progress=False)
    entries = store.entries()
    assert len(entries) == 1
    assert entries["bytes"][0] < 5 * 3 * 2 * 3 * 4 + 500  # inputs, layers, corrections, labels, bytes; and the header


def test_label_words_cost_one_short_pass_beside_a_probe_of_the_same_inputs(tmp_path):
    """The words are fed apart: what the inputs leave behind is ResidualPCA's capture, and is not run again."""
    one, passes = model("gpt2"), []
    forward = type(one).forward_hooked

    def counted(input_ids, *arguments, **options):
        passes.append(tuple(input_ids.shape))
        return forward(one, input_ids, *arguments, **options)

    one.forward_hooked = counted
    made = {"p": prompt("v1", "gpt2")}
    probe(one, made, task(), ResidualPCA(), store=tmp_path, progress=False)
    passes.clear()
    both = [ResidualPCA(), LabelCosine("residual")]
    probe(one, made, task(), both, store=tmp_path, progress=False)
    assert passes == [(len(WORDS), 2)]


def test_other_label_words_are_other_captures(tmp_path):
    other = dict(WORDS, mid="great")
    store = ActivationStore(tmp_path)
    first = probe(model("gpt2"), None, task(), LabelCosine(non_gold="mean"), store=store, progress=False)
    second = probe(model("gpt2"), None, task(other), LabelCosine(non_gold="mean"), store=store, progress=False)
    assert len(store.entries()) == 2
    assert np.abs(first["label_cosine_mean"].values - second["label_cosine_mean"].values).max() > 1e-4


def generation() -> Task:
    return task(None, tuple("abcde"), metric="exact_match")


def test_tasks_without_label_words():
    with pytest.raises(ProbeError, match=r"'films' is a generation task.*leave the probe out.*verbalizer"):
        probe(model("gpt2"), {"p": ps.SoftPrompt(2)}, generation(), LabelCosine(), progress=False)
    with pytest.raises(ProbeError, match="which a list of encoded records does not have"):
        probe(model("gpt2"), None, rows_of("gpt2", task()), LabelCosine(), progress=False)
    with pytest.raises(ProbeError, match="has one"):
        probe(model("gpt2"), None, task({"pos": "positive"}, ("pos",) * 5), LabelCosine(), progress=False)
    twins = {"pos": "very good", "neg": "very bad", "mid": "dull"}
    with pytest.raises(ProbeError, match=r"'pos' and 'neg'.*both begin with the token 'very'"):
        probe(model("gpt2"), None, task(twins), LabelCosine(), progress=False)
    korean = ps.load_model("embedded-causal")  # its byte-level tokenizer writes rare syllables as bytes
    for word, piece in (("뷁", "ë·"), ("😀", "ð")):
        words = {"pos": word, "neg": "bad", "mid": "dull"}
        with pytest.raises(ProbeError, match=rf"label 'pos' of 'films' begins with the token '{piece}.*no letter"):
            probe(korean, None, task(words), LabelCosine(), progress=False)
    with pytest.raises(ProbeError, match=r"needs a causal model.*reference='unembedding'"):
        probe(model("bert"), None, task(), LabelCosine("residual"), progress=False)
    for bad in ({"reference": "logits"}, {"non_gold": "all"}):
        with pytest.raises(ProbeError, match="must be"):
            inspect.unwrap(LabelCosine.__init__)(LabelCosine(), **bad)


def test_tasks_with_different_label_sets():
    """Side by side where gold and non-gold mean the same; refused where the scale depends on the number of words."""
    two = {"pos": "positive", "neg": "negative"}
    tasks = {"films": task(), "other": task(two, ("pos", "neg") * 2 + ("pos",), name="other")}
    made = {"p": prompt("v1", "gpt2")}

    def run(one):
        return {n: next(iter(probe(model("gpt2"), made, t, one, progress=False).values())) for n, t in tasks.items()}

    plain = layer_curves(run(LabelCosine()))
    assert plain.dims == ("prompt", "word", "group", "layer")
    with pytest.raises(ProbeError, match=r"different sizes of label sets: 3 and 2.*centred=False"):
        layer_curves(run(LabelCosine("residual", centred=True)))


@pytest.mark.parametrize(
    ("name", "way_out"), [("opt_proj", "reference='residual'"), ("electra", "projects the residual stream first")]
)
def test_an_unembedding_narrower_than_the_residual_stream_is_refused(name: str, way_out: str) -> None:
    narrow = ps.load_model(make(name), tokenizer=tiny_tokenizer())
    with pytest.raises(ProbeError, match=f"(has no cosine between residual stream).*{way_out}"):
        probe(narrow, None, task(), LabelCosine(), progress=False)
    if name == "opt_proj":
        found = probe(narrow, None, task(), LabelCosine("residual"), progress=False)
        assert np.isfinite(found["label_cosine_residual"].values.values).all()
