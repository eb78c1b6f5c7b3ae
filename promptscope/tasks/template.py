"""Templates: where the text, the special tokens and the label of a record are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from string import Formatter
from typing import Any, Literal

from promptscope.checks import checked
from promptscope.errors import TaskError, nearest

Kind = Literal["causal", "masked", "seq2seq"]
"""The kind of a model: GPT-like, BERT-like, or encoder and decoder."""
KINDS: tuple[Kind, ...] = ("causal", "masked", "seq2seq")
ROLES = ("bos", "sep", "mask", "eos")


@dataclass(frozen=True)
class Part:
    """One piece of a template: literal text, a record's field, a special token or the label."""

    kind: Literal["literal", "field", "special", "label"]
    text: str


@checked(error=TaskError)
@dataclass(frozen=True)
class Template:
    r"""How a record becomes text: `source` is what the model reads, `target` what it must write.

    Placeholders: `{name}` is a field of the record; `{bos} {sep} {mask} {eos}` are the tokenizer's own
    special tokens (see `promptscope.tasks.specials`), `{token:<|im_start|>}` the special token of that spelling;
    `{label}` occurs once, in the target. `{{` is a brace.

    * causal: source and target are tokenised apart and concatenated; loss on label and end token;
    * masked: the source holds `{mask}`, the target is `{label}`;
    * seq2seq: the source goes to the encoder, the target to the decoder.

    The target is optional white space (part of the label's first token), `{label}`, then special tokens;
    other words belong at the end of the source, because a loss is taken on label and end tokens only.
    `specials` overrides special tokens by name with a string, which may be several tokens or none.
    `mask_attended=False` (masked models only) hides {mask} from attention: it reads the text and the prompt, and no
    token reads it, not even itself. This is what the code of *token splitting* (S2) does, whose [MASK] is in a padding
    position after the text; the paper does not say so. By default {mask} is a token like any other.
    `chat=True` (causal models): the source is what the user says, the label what the assistant answers, and the
    tokenizer's own chat template writes what is around them, as it does where the answer is already there (with an
    empty block of thoughts, for instance); `{eos}` is the end of the assistant's turn. Where it writes today's date,
    that is always 26 July 2024.

    Raises TaskError for unknown placeholders, a missing or repeated `{label}`, or words in the target.

    >>> Template("Review: {text}\nSentiment:", " {label}{eos}").fields
    ('text',)
    """

    source: str
    target: str
    name: str = "custom"
    specials: Mapping[str, str] = field(default_factory=dict)
    mask_attended: bool = True
    chat: bool = False

    def __post_init__(self) -> None:
        source = self.source_parts
        _check_target(self.target, self.target_parts)
        if any(part.kind == "label" for part in source):
            raise TaskError(f"Template source {self.source!r} holds {{label}}. Move it to the target.")
        if sum(part == Part("special", "mask") for part in source) > 1:
            raise TaskError(f"Template source {self.source!r} holds {{mask}} more than once. Keep one.")
        if self.chat and any(part.kind == "special" for part in source):
            raise TaskError(
                f"The tokenizer's chat template writes the special tokens around the user's text; leave them out of "
                f"the source {self.source!r}: Template('{{text}}', '{{label}}{{eos}}', chat=True)."
            )
        for role in self.specials:
            if role not in ROLES:
                raise TaskError(
                    f"Template.specials names {role!r}; the special tokens are {', '.join(ROLES)}."
                    + nearest(role, ROLES)
                )

    @property
    def source_parts(self) -> tuple[Part, ...]:
        return _parse(self.source)

    @property
    def target_parts(self) -> tuple[Part, ...]:
        return _parse(self.target)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the record fields that the template needs, in order of first use."""
        return tuple(dict.fromkeys(part.text for part in self.source_parts if part.kind == "field"))

    @property
    def before_label(self) -> str:
        """White space between source and label; it is tokenised together with the label's word."""
        first = self.target_parts[0]
        return first.text if first.kind == "literal" else ""

    @property
    def has_mask(self) -> bool:
        return Part("special", "mask") in self.source_parts

    def to_json(self) -> dict[str, Any]:
        values = {**asdict(self), "specials": dict(self.specials)}
        if self.mask_attended:
            del values["mask_attended"]  # hashes of data, and runs that were described before, stay what they were
        if not self.chat:
            del values["chat"]
        return values

    def for_kind(self, kind: Kind) -> "Template":
        """Return this template, or the counterpart of a *named* template, that fits a kind of model.

        Raises TaskError where a custom template does not fit; the message says what to write.
        """
        named = TEMPLATES.get(self.name)
        if named is not None and (named.source, named.target, named.chat) == (self.source, self.target, self.chat):
            group = next(group for group in _GROUPS if self.name in group)
            counterpart = TEMPLATES[group[KINDS.index(kind)]]
            return replace(counterpart, specials=self.specials, mask_attended=self.mask_attended)
        if self.chat and kind != "causal":
            raise TaskError(
                f"Chat templates are for causal models and this one is {kind}: use the template 'single' or 'pair'."
            )
        if kind == "masked" and not self.has_mask:
            raise TaskError(
                f"A masked language model needs {{mask}} where the label goes; this template's source is "
                f"{self.source!r}. Write for example Template('{{bos}}{{text}}{{sep}}{{mask}}', '{{label}}')."
            )
        if kind == "masked" and any(part.kind == "special" for part in self.target_parts):
            raise TaskError(
                f"A masked language model predicts one token; the target must be '{{label}}', not {self.target!r}."
            )
        if kind != "masked" and self.has_mask:
            raise TaskError(
                f"{{mask}} is for masked language models and this one is {kind}; the template's source is "
                f"{self.source!r}. Write the source without {{mask}} and put the end token in the target: "
                f"Template('{{bos}}{{text}}{{sep}}', '{{label}}{{eos}}')."
            )
        return self


def as_template(template: Any) -> Template:
    """Take a Template, the name of one, or a (source, target) pair."""
    if isinstance(template, Template):
        return template
    if isinstance(template, str):
        if template in TEMPLATES:
            return TEMPLATES[template]
        raise TaskError(
            f"No template is called {template!r}; there are {', '.join(TEMPLATES)}."
            + nearest(template, TEMPLATES)
            + " For your own write Template(source, target)."
        )
    if isinstance(template, tuple) and len(template) == 2 and all(isinstance(s, str) for s in template):
        return Template(*template)
    raise TaskError(f"Expected a template name or Template(source, target), got {template!r}.")


def _parse(text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise TaskError(f"Template {text!r}: {error}. Write {{{{ and }}}} for plain braces.") from error
    for literal, name, spec, conversion in pieces:
        if literal:
            # "{{" ends a piece in Formatter; neighbouring literals are one text
            if parts and parts[-1].kind == "literal":
                parts[-1] = Part("literal", parts[-1].text + literal)
            else:
                parts.append(Part("literal", literal))
        if name is None:
            continue
        if name == "token" and spec and not conversion:
            parts.append(Part("special", spec))
            continue
        if spec or conversion or not name or any(mark in name for mark in ".[]"):
            raise TaskError(f"Template {text!r}: a placeholder is {{name}} without format or index, got {{{name}...}}.")
        if name == "label":
            parts.append(Part("label", name))
        else:
            parts.append(Part("special" if name in ROLES else "field", name))
    return tuple(parts)


def _check_target(text: str, parts: tuple[Part, ...]) -> None:
    kinds = [part.kind for part in parts]
    if kinds.count("label") != 1:
        raise TaskError(
            f"Template target {text!r} must hold {{label}} once, as in '{{label}}{{eos}}'."
            + (" Did you swap source and target?" if "field" in kinds else "")
        )
    at = kinds.index("label")
    before, after = parts[:at], parts[at + 1 :]
    blank = all(part.kind == "literal" and part.text.isspace() for part in before)
    ends = all(part.kind == "special" and part.text != "mask" for part in after)
    if not (blank and ends):
        raise TaskError(
            f"Template target {text!r} must be white space or nothing, then {{label}}, then special tokens, "
            "as in ' {label}{eos}'. Move other words to the end of the source."
        )


def _named(name: str, source: str, target: str, chat: bool = False) -> Template:
    return Template(source, target, name, chat=chat)


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        _named("single", "{bos}{text}{sep}", "{label}{eos}"),
        _named("pair", "{bos}{text1}{sep}{text2}{sep}", "{label}{eos}"),
        _named("input_label", "Input: {text}\nLabel:", " {label}{eos}"),
        _named("chat", "{text}", "{label}{eos}", chat=True),
        _named("chat_pair", "{text1}\n{text2}", "{label}{eos}", chat=True),
        _named("masked", "{bos}{text}{sep}{mask}", "{label}"),
        _named("masked_pair", "{bos}{text1}{sep}{text2}{sep}{mask}", "{label}"),
        _named("masked_input_label", "{bos}Input: {text}\nLabel: {mask}{sep}", "{label}"),
        _named("text_to_text", "{text}{eos}", "{label}{eos}"),
        # T5's own way of writing sentence pairs (Raffel et al. 2020, appendix D)
        _named("text_to_text_pair", "sentence1: {text1} sentence2: {text2}{eos}", "{label}{eos}"),
        _named("text_to_text_input_label", "Input: {text}\nLabel:{eos}", "{label}{eos}"),
    )
}
"""The templates by name."""

# one line per input type; columns in the order of KINDS
_GROUPS = (
    ("single", "masked", "text_to_text"),
    ("pair", "masked_pair", "text_to_text_pair"),
    ("input_label", "masked_input_label", "text_to_text_input_label"),
    ("chat", "masked", "text_to_text"),
    ("chat_pair", "masked_pair", "text_to_text_pair"),
)
