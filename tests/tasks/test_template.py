"""Templates: parsing, counterparts by kind of model, and what is refused."""

import pytest

from promptscope.errors import TaskError
from promptscope.tasks import TEMPLATES, Template
from promptscope.tasks.template import as_template


def test_parts_and_fields() -> None:
    template = Template("{bos}Q: {question} {{x}} {question}{sep}", " {label}{eos}")
    kinds = [(part.kind, part.text) for part in template.source_parts]
    assert kinds == [
        ("special", "bos"),
        ("literal", "Q: "),
        ("field", "question"),
        ("literal", " {x} "),
        ("field", "question"),
        ("special", "sep"),
    ]
    assert template.fields == ("question",)
    assert template.before_label == " "


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("single", "causal", "single"),
        ("single", "masked", "masked"),
        ("single", "seq2seq", "text_to_text"),
        ("pair", "masked", "masked_pair"),
        ("pair", "seq2seq", "text_to_text_pair"),
        ("masked", "causal", "single"),
        ("text_to_text_pair", "causal", "pair"),
        ("input_label", "masked", "masked_input_label"),
    ],
)
def test_named_templates_have_counterparts(name: str, kind: str, expected: str) -> None:
    assert TEMPLATES[name].for_kind(kind) == TEMPLATES[expected]
    assert TEMPLATES[name].fields == TEMPLATES[expected].fields


def test_every_named_template_belongs_to_every_kind() -> None:
    for template in TEMPLATES.values():
        assert template.for_kind("masked").has_mask
        assert not template.for_kind("causal").has_mask
        assert not template.for_kind("seq2seq").has_mask


def test_counterpart_keeps_overridden_specials() -> None:
    template = Template("{bos}{text}{sep}", "{label}{eos}", "single", {"sep": ";"})
    assert template.for_kind("masked").specials == {"sep": ";"}


def test_custom_template_that_does_not_fit_says_what_to_write() -> None:
    with pytest.raises(TaskError, match=r"\{bos\}\{text\}\{sep\}\{mask\}"):
        Template("{text}", "{label}").for_kind("masked")
    with pytest.raises(TaskError, match="one token"):
        Template("{text}{mask}", "{label}{eos}").for_kind("masked")
    for kind in ("causal", "seq2seq"):
        with pytest.raises(TaskError, match="is for masked language models"):
            Template("{text}{mask}", "{label}").for_kind(kind)
    # named like a built-in but written differently: a custom template, not its namesake's counterpart
    with pytest.raises(TaskError, match=r"needs \{mask\}"):
        Template("{text}", "{label}", "single").for_kind("masked")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("{text}{label}", "{label}", "Move it to the target"),
        ("{text}", "{eos}", "must hold {label} once"),
        ("{label}", "{text}", "swap"),
        ("{text}", "{label}{label}", "once"),
        ("{text}", "Answer: {label}", "end of the source"),
        ("{text}", "{label}.{eos}", "end of the source"),
        ("{text}", "{eos}{label}", "end of the source"),
        ("{mask}{mask}", "{label}", "more than once"),
        ("{text!r}", "{label}", "without format or index"),
        ("{text:>4}", "{label}", "without format or index"),
        ("{}", "{label}", "without format or index"),
        ("{a.b}", "{label}", "without format or index"),
        ("{text", "{label}", "plain braces"),
    ],
)
def test_bad_templates_are_refused(source: str, target: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Template(source, target)


def test_unknown_special_and_unknown_name_suggest_the_nearest() -> None:
    with pytest.raises(TaskError, match="mean 'sep'"):
        Template("{text}", "{label}", specials={"sepp": "x"})
    with pytest.raises(TaskError, match="mean 'single'"):
        as_template("singel")
    with pytest.raises(TaskError, match="template must be a name"):
        as_template(3)
    assert as_template(("{x}", "{label}")) == Template("{x}", "{label}")
