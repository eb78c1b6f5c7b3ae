"""Each mistake gives one clear error, before any forward pass."""

import copy
import inspect

import pytest

import promptscope as ps
from promptscope.errors import ArgumentError, ProbeError, PromptError, StoreError, TaskError
from promptscope.probes import AttentionKL, AttentionVariability, Probe, probe
from promptscope.tasks import Task
from tests.probe_inputs import counting, encoded
from tests.tiny_models import hooked
from tests.tiny_tokenizer import tiny_tokenizer


def unchecked(function):
    """Take the tests' type checks off: users run without them."""
    return inspect.unwrap(function)


def fails(error, match, probes=None, prompts=None, task=None, **options):
    """Expect an error, and not a single pass."""
    model, passes = counting()
    with pytest.raises(error, match=match):
        unchecked(probe)(
            model,
            prompts,
            encoded() if task is None else task,
            AttentionKL() if probes is None else probes,
            progress=False,
            **options,
        )
    assert not passes


def prompts():
    return {"v1": ps.SoftPrompt(4)}


class Nameless(Probe):
    """A probe that forgot its name."""

    def captures(self):
        return {}

    def compute(self, entries):
        raise AssertionError("never reached")


def test_unknown_probe():
    fails(ProbeError, r"'attention_k1'.*Did you mean 'attention_kl'.*attention_variability", ["attention_k1"])


def test_no_probe_two_of_one_name_or_a_class():
    fails(ProbeError, "name at least one probe", [])
    fails(ProbeError, r"two probes are called 'attention_kl'.*name=", ["attention_kl", AttentionKL()])
    fails(ProbeError, "an object, not the class", [AttentionKL])
    fails(ProbeError, "Nameless has no name", [Nameless()])


def test_kl_without_a_prompt():
    fails(ProbeError, r"needs a prompt, and none is given.*prompts=\{'v2': prompt\}")


def test_prompts_of_another_model_or_no_prompts_at_all():
    other = ps.SoftPrompt(4).bind(hooked("gpt2", seed=5))
    fails(PromptError, "embedding hash", prompts={"v1": other})
    fails(ProbeError, "name -> prompt", prompts={"v1": "folder"})
    fails(ProbeError, "name -> prompt", prompts={"": ps.SoftPrompt(4)})


def test_too_few_long_inputs_for_the_variability():
    fails(ProbeError, r"first_n=13.*1 of 7 have them.*Lower first_n to 12 or less", AttentionVariability(13))
    fails(ProbeError, "at least 2 inputs", AttentionVariability(3), task=encoded([8]))
    with pytest.raises(ProbeError, match="at least 2"):
        AttentionVariability(first_n=1)


def test_unknown_settings():
    make, blank = unchecked(AttentionKL.__init__), AttentionKL()
    with pytest.raises(ProbeError, match="'paper' or 'per_query'"):
        make(blank, reading="text")
    with pytest.raises(ProbeError, match="'own' or 'shared'"):
        make(blank, positions="mine")


def test_no_task_or_an_empty_one():
    for no_task in (None, "sst2"):
        with pytest.raises(ArgumentError, match=r"probe: task must be .*Make it with ps.load_task"):
            probe(hooked("gpt2"), prompts(), no_task, AttentionKL())
    fails(ProbeError, "is empty", prompts=prompts(), task=[])


def test_inputs_without_text_between_special_tokens():
    model, _ = counting()
    with pytest.raises(ProbeError, match=r"is undefined .* for each of the 2 inputs"):
        probe(model, prompts(), encoded([2, 2]), AttentionKL(), progress=False)
    result = probe(model, prompts(), encoded([2, 6, 2, 5]), AttentionKL(), progress=False)["attention_kl"]
    assert (result.n_examples, result.n_skipped) == (2, 2)
    assert result.data["example"].values.tolist() == ["x1", "x3"]


def test_inputs_that_do_not_fit_the_context():
    model, passes = counting()
    with pytest.raises(PromptError, match="64"):
        probe(model, prompts(), [*encoded([5] * 20), *encoded([62])], AttentionKL(), progress=False)
    assert not passes


def test_batch_size_and_store():
    fails(ProbeError, "batch_size", prompts=prompts(), batch_size=0)


def test_store_that_is_a_file(tmp_path):
    (tmp_path / "store").write_text("")
    fails(StoreError, "is a file", prompts=prompts(), store=tmp_path / "store")


def test_unknown_split():
    rows = [{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}] * 2
    task = Task.from_records(rows)
    model = hooked("gpt2")
    with pytest.raises(TaskError, match="no split 'test'"):
        probe(_with_tokenizer(model), prompts(), task, AttentionKL())


def _with_tokenizer(model):
    model = copy.copy(model)
    model._tokenizer = tiny_tokenizer()
    return model
