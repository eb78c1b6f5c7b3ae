"""The reference of the site: what its extensions make of docstrings and of code in sentences."""

import ast
import doctest
import inspect
import sys
from importlib import import_module
from pathlib import Path

import pytest
from sphinx.util.inspect import signature, stringify_signature

import promptscope as ps


@pytest.fixture(scope="module", autouse=True)
def extensions():
    folder = str(Path(__file__).parents[1] / "docs")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


def test_every_example_on_the_site_says_what_it_imports() -> None:
    pages, examples = import_module("_ext.api_pages"), import_module("_ext.api_examples")
    left = []
    for module in pages.MODULES:
        for name in pages.public_names(module):
            value = getattr(import_module(module), name)
            lines = (inspect.getdoc(value) or "").split("\n")
            if inspect.isclass(value) or inspect.isroutine(value):
                text = "\n".join(examples.completed(lines, examples.namespace(value)))
                trees = [ast.parse(one.source) for one in doctest.DocTestParser().get_examples(text)]
                left += [(module, name, unknown) for unknown in examples.missing(trees)]
    assert left == []


def test_an_example_is_completed() -> None:
    completed = import_module("_ext.api_examples").completed
    lines = ["Text.", "", ">>> task = load_task('sst2')  # load_task", ">>> f'{task.name}'", "'sst2'"]
    assert completed(lines, {"load_task": ps.load_task}) == [
        "Text.",
        "",
        ">>> import promptscope as ps",
        ">>> task = ps.load_task('sst2')  # load_task",
        ">>> f'{task.name}'",
        "'sst2'",
    ]


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("ps.train", "promptscope.training.train"),
        ("ps.load_prompt(folder)", "promptscope.prompts.load_prompt"),
        ("ps.init.Uniform", "promptscope.prompts.initialisation.Uniform"),
        ("prompt.bind(model)", "promptscope.prompts.Prompt.bind"),
        ("ps.SoftPrompt.bind", "promptscope.prompts.Prompt.bind"),
        ("AttentionMass", "promptscope.probes.AttentionMass"),
        ("patch", None),  # a word of other sentences too
        ("torch.save", None),
        ("prompt.no_such_method", None),
    ],
)
def test_code_in_a_sentence_leads_to_its_entry(code: str, entry: str | None) -> None:
    known = {"promptscope.prompts.Prompt.bind"}
    assert import_module("_ext.api_links").entry_of(code, known) == entry


def test_signatures_name_type_aliases_and_defaults() -> None:
    pages = import_module("_ext.api_pages")
    text = stringify_signature(signature(ps.train_across), unqualified_typehints=True)
    assert "tuple[str, " in text and "Sequence[~promptscope.models" in text
    text, returned = pages.readable(None, "function", "f", None, None, text, "~promptscope.prompts.prompt.P")
    assert "tuple[str, " not in text and "models: ~promptscope.inference.Models" in text
    assert returned == "~typing.Self"
    made, _ = pages.readable(None, "class", "Template", ps.Template, None, "(specials: dict = <factory>)", None)
    assert made == "(specials: dict = {})"
    made, _ = pages.readable(None, "class", "HookedModel", ps.HookedModel, None, "(_tokenizer: None)", None)
    assert made == ""
