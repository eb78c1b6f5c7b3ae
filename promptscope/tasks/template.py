"""Templates: the arrangement of text, special tokens and label of a record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from string import Formatter
from typing import Any, Literal

from promptscope.checks import checked
from promptscope.errors import TaskError, nearest
from promptscope.files import is_valid

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
    r"""How a record becomes text: `source` is what the model reads, `target` what it must predict.

    Placeholders: `{name}` is a field of the record; `{bos}`, `{sep}`, `{mask}` and `{eos}` are the tokenizer's special
    tokens (see `ps.tasks.Specials`), and `{token:<|im_start|>}` is the special token with this spelling; `{label}`
    occurs once, in the target. `{{` is a literal brace.

    * Causal models: source and target are tokenised separately and concatenated; the loss is taken on label and end
      tokens.
    * Masked models: the source has `{mask}`, the target is `{label}`.
    * Encoder-decoders: the source is the encoder's text, the target the decoder's.

    Args:
        source: text with placeholders.
        target: optional white space (tokenised with the label's first word), `{label}`, then special tokens. Other
            words belong to the end of the source, since the loss is taken on label and end tokens only.
        name: the template's name, for named templates.
        specials: text for special tokens by role, in place of the tokenizer's; it may be several tokens or empty.
        mask_attended: for masked models; False lets no token attend to `{mask}`, not even itself, while `{mask}`
            attends to text and prompt. So does the code of Reimann and Sadrieh 2024 (*Explainable Soft Prompts*), where
            the [MASK] is at a padded position after the text.
        chat: for causal models; True means that the source is the user's message and the label the assistant's answer,
            and the tokenizer's chat template adds the text and special tokens around them, as it does for an answer
            that is given. `{eos}` is the end of the assistant's turn. A date in the chat template is always 26 July
            2024.

    Raises:
        TaskError: a placeholder is unknown, `{label}` is missing or repeated, or the target has other words.

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
        if not is_valid(self.source + self.target):
            raise TaskError(f"Template {self.source + self.target!r} is not valid Unicode (a lone surrogate).")
        source = self.source_parts
        _check_target(self.target, self.target_parts)
        if any(part.kind == "label" for part in source):
            raise TaskError(f"Template source {self.source!r} must not have {{label}}. Move it to the target.")
        if sum(part == Part("special", "mask") for part in source) > 1:
            raise TaskError(
                f"Template source {self.source!r} must not have {{mask}} more than once. Remove the others."
            )
        if self.chat and any(part.kind == "special" for part in source):
            raise TaskError(
                f"With chat=True, the source must not have special tokens, since the tokenizer's chat template adds "
                f"them, got {self.source!r}. Write for example Template('{{text}}', '{{label}}{{eos}}', chat=True)."
            )
        for role in self.specials:
            if role not in ROLES:
                raise TaskError(
                    f"Template.specials must have keys among {', '.join(ROLES)}, got {role!r}." + nearest(role, ROLES)
                )

    @property
    def source_parts(self) -> tuple[Part, ...]:
        """The parts of the source: literal text, fields and special tokens."""
        return _parse(self.source)

    @property
    def target_parts(self) -> tuple[Part, ...]:
        """The parts of the target: white space, the label and special tokens."""
        return _parse(self.target)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the record fields that the template needs, in order of first use."""
        return tuple(dict.fromkeys(part.text for part in self.source_parts if part.kind == "field"))

    @property
    def before_label(self) -> str:
        """The white space between source and label, which is tokenised together with the label's word."""
        first = self.target_parts[0]
        return first.text if first.kind == "literal" else ""

    @property
    def has_mask(self) -> bool:
        """Whether the source has `{mask}`, so that the template is for masked models."""
        return Part("special", "mask") in self.source_parts

    def to_json(self) -> dict[str, Any]:
        """Return the template as a dict that JSON can hold."""
        values = {**asdict(self), "specials": dict(self.specials)}
        if self.mask_attended:
            del values["mask_attended"]  # hashes of data, and runs that were described before, stay what they were
        if not self.chat:
            del values["chat"]
        return values

    def for_kind(self, kind: Kind) -> "Template":
        """Return the template for a kind of model: this one, or the counterpart of a named template.

        Raises:
            TaskError: a template of your own does not fit the kind of model.

        >>> import promptscope as ps
        >>> ps.tasks.TEMPLATES["single"].for_kind("masked").name
        'masked'
        """
        named = TEMPLATES.get(self.name)
        if named is not None and (named.source, named.target, named.chat) == (self.source, self.target, self.chat):
            group = next(group for group in _GROUPS if self.name in group)
            counterpart = TEMPLATES[group[KINDS.index(kind)]]
            return replace(counterpart, specials=self.specials, mask_attended=self.mask_attended)
        if self.chat and kind != "causal":
            raise TaskError(
                f"Chat templates are for causal models, got a {kind} model: use the template 'single' or 'pair'."
            )
        if kind == "masked" and not self.has_mask:
            raise TaskError(
                f"A masked language model needs {{mask}} in the source, at the place of the label, got the source "
                f"{self.source!r}. Write for example Template('{{bos}}{{text}}{{sep}}{{mask}}', '{{label}}')."
            )
        if kind == "masked" and any(part.kind == "special" for part in self.target_parts):
            raise TaskError(
                "A masked language model predicts one token, so that the target must be '{label}', got "
                f"{self.target!r}."
            )
        if kind != "masked" and self.has_mask:
            raise TaskError(
                f"{{mask}} is for masked language models, got a {kind} model and the source "
                f"{self.source!r}. Write the source without {{mask}} and put the end token in the target: "
                f"Template('{{bos}}{{text}}{{sep}}', '{{label}}{{eos}}')."
            )
        return self


def as_template(template: Any) -> Template:
    """Return a Template, given one, its name, or a pair (source, target)."""
    if isinstance(template, Template):
        return template
    if isinstance(template, str):
        if template in TEMPLATES:
            return TEMPLATES[template]
        raise TaskError(
            f"No template is called {template!r}; the templates are {', '.join(TEMPLATES)}."
            + nearest(template, TEMPLATES)
            + " For one of your own, give Template(source, target)."
        )
    if isinstance(template, tuple) and len(template) == 2 and all(isinstance(s, str) for s in template):
        return Template(*template)
    raise TaskError(f"template must be a name or Template(source, target), got {template!r}.")


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
            raise TaskError(
                f"Template {text!r}: a placeholder must be {{name}} without format or index, got {{{name}...}}."
            )
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
