"""Chat templates: conversion of a tokenizer's chat template to a `Template`."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from promptscope.errors import TaskError
from promptscope.tasks.specials import Specials
from promptscope.tasks.template import Kind, Template

# Unicode noncharacters: no chat template writes them, so they mark where the two texts go.
_USER, _ASSISTANT = "\ufdd1", "\ufdd2"
# Some chat templates write today's date: tomorrow's tokens would be others. This is Llama's own where it has no clock.
_TODAY = {
    code: datetime(2024, 7, 26).strftime(code) for code in ("%-d", *(f"%{letter}" for letter in "dmyYbBaAjHIMSfp"))
}
_CLOCK = (
    "{% macro strftime_now(format) %}{% set written = namespace(date=format) %}{% for code, value in today.items() %}"
    "{% set written.date = written.date.replace(code, value) %}{% endfor %}{{ written.date }}{% endmacro %}{{ '' }}"
)


def template_for(template: Template, kind: Kind, specials: Specials) -> Template:
    """Return the template for a kind of model, with the tokenizer's chat template written out.

    Raises:
        TaskError: the template does not fit the kind of model, or the tokenizer has no chat template.
    """
    template = template.for_kind(kind)
    return _written_out(template, specials) if template.chat else template


def _written_out(template: Template, specials: Specials) -> Template:
    asked = _render(specials.tokenizer, [("user", _USER)], generation=True)
    answered = _render(specials.tokenizer, [("user", _USER), ("assistant", _ASSISTANT)], generation=False)
    if asked.count(_USER) != 1 or answered.count(_ASSISTANT) != 1:
        raise TaskError(
            "The tokenizer's chat template does not write the user's and the assistant's text once each. Write the "
            "template out, with {token:...} for its special tokens."
        )
    before, after = asked.split(_USER)
    begun, end = answered.split(_ASSISTANT)
    if not begun.startswith(asked):
        raise TaskError(
            f"The tokenizer's chat template writes {begun.split(_USER)[-1]!r} before an answer that is given, but "
            f"{after!r} before an answer to be generated, so that it is not clear which one to use. Write the template "
            "out, with {token:...} for its special tokens."
        )
    rest = begun.removeprefix(asked)  # Qwen3: an empty <think> block; Llama 2: the space that is part of the first word
    space = rest[len(rest.rstrip(" ")) :]
    after += rest.removesuffix(space)
    known = sorted(specials.spellings, key=len, reverse=True)
    found = next((token for token in known if end.lstrip().startswith(token)), None)
    if found is None:
        raise TaskError(
            f"The tokenizer's chat template ends the assistant's turn with {end!r}, which is not a special token. "
            "Write the template out, and end its target with {eos} or {token:...}."
        )
    target = template.target
    if not template.before_label:
        target = space + target
    if "eos" not in template.specials:
        target = target.replace("{eos}", f"{{token:{found}}}")
    source = _spelt_out(before, known) + template.source + _spelt_out(after, known)
    return replace(template, source=source, target=target, chat=False, name="custom")


def _render(tokenizer: Any, turns: list[tuple[str, str]], generation: bool) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        program = tokenizer.get_chat_template()
        return str(
            tokenizer.apply_chat_template(
                messages,
                chat_template=_CLOCK + program if "strftime_now" in program else program,
                tokenize=False,
                add_generation_prompt=generation,
                today=_TODAY,
            )
        )
    except Exception as error:  # a chat template is a program of somebody else's, and may raise anything
        raise TaskError(
            f"The tokenizer {tokenizer.name_or_path!r} has no chat template for a user's and an assistant's "
            f"turn ({str(error).splitlines()[0] if str(error) else type(error).__name__}). Use the template 'single', "
            "or set tokenizer.chat_template."
        ) from error


def _spelt_out(text: str, known: list[str]) -> str:
    """Return text with its special tokens written as `{token:...}`, and everything else as plain text."""
    pieces = re.split("(" + "|".join(map(re.escape, known)) + ")", text) if known else [text]
    return "".join(
        f"{{token:{piece}}}" if piece in known else piece.replace("{", "{{").replace("}", "}}") for piece in pieces
    )
