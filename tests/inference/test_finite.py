"""Nothing is answered from logits that are no numbers, and the message names what is to blame."""

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ModelError, PromptError


@pytest.fixture(scope="module")
def embedded():
    return ps.load_model("embedded-causal")


@pytest.fixture(scope="module")
def continents():
    return ps.load_task("continent_en")


CALLS = {
    "evaluate": lambda model, prompt, task: ps.evaluate(model, prompt, task, limit=4, progress=False),
    "predict": lambda model, prompt, task: ps.predict(model, prompt, task, limit=4, progress=False),
    "score_labels": lambda model, prompt, task: ps.score_labels(model, prompt, task, limit=4, progress=False),
    "generate": lambda model, prompt, task: ps.generate(model, prompt, torch.tensor([[5, 7, 9]])),
    "importance": lambda model, prompt, task: ps.importance(model, prompt, task, limit=4, progress=False),
    "effect": lambda model, prompt, task: ps.causal.effect(model, prompt, task, limit=4),
    "explain": lambda model, prompt, task: ps.explain(model, prompt, task, settings=ps.account.Settings(limit=4)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", [ps.SoftPrompt, ps.DeepPrompt])
def test_a_prompt_that_holds_nan_answers_nothing(name, kind, embedded, continents):
    prompt = kind(2).bind(embedded)
    with torch.no_grad():
        next(prompt.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(PromptError, match=r"1 of \d+ numbers in the prompt's '.*' are NaN or infinite"):
        CALLS[name](embedded, prompt, continents)


@pytest.mark.parametrize("name", ["evaluate", "predict", "score_labels", "generate"])
def test_numbers_too_large_for_the_type_answer_nothing(name, embedded, continents):
    prompt = ps.SoftPrompt(2).bind(embedded)

    def overflow(x, hook):
        return x * 1e38  # the next product is infinite, as in float16 much earlier

    with embedded.hooks([("blocks.0.hook_resid_pre", overflow)]), pytest.raises(ModelError, match="NaN or infinite"):
        CALLS[name](embedded, prompt, continents)


def test_a_prompt_of_several_tokens_and_words_of_several_tokens(embedded):
    """Labels of several tokens are scored by another way."""
    rows = [{"text": f"text {i}", "label": "Burkina Faso" if i % 2 else "Seoul city"} for i in range(6)]
    task = ps.Task.from_records(rows, "single", {"Burkina Faso": "Burkina Faso", "Seoul city": "Seoul city"})
    prompt = ps.SoftPrompt(2).bind(embedded)
    with torch.no_grad():
        prompt.embedding[0, 0] = np.inf
    with pytest.raises(PromptError, match="NaN or infinite"):
        ps.predict(embedded, prompt, task, split="train", progress=False)


def test_it_is_not_saved_and_not_read(tmp_path, embedded):
    prompt = ps.SoftPrompt(2).bind(embedded)
    with torch.no_grad():
        prompt.embedding[1, 3] = torch.inf
    for call in (lambda: prompt.save(tmp_path / "p"), lambda: ps.readings.read_nearest_tokens(embedded, prompt),
                 lambda: ps.random_like(prompt)):  # fmt: skip
        with pytest.raises(PromptError, match="NaN or infinite"):
            call()
    assert not (tmp_path / "p").exists()
