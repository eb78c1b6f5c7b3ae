"""Parsing of option values that are more than a number or a name."""

from promptscope.errors import PromptError, TaskError

_MOST_LAYERS = 9999


def parse_layers(text: str | None) -> list[int] | None:
    """Return the layers of a text such as `0,1,5` or `0-3,8`.

    >>> parse_layers("0-2,5")
    [0, 1, 2, 5]
    """
    if text is None:
        return None
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise PromptError(f"--layers must be numbers and ranges such as 0,1,5 or 0-3, got {text!r}")
        if len(first + last) > 2 * len(str(_MOST_LAYERS)) or int(last or first) > _MOST_LAYERS:
            raise PromptError(f"--layers must be numbers of layers from 0 to {_MOST_LAYERS}, got {part.strip()!r}")
        if int(last or first) < int(first):
            raise PromptError(f"--layers {part.strip()!r} must begin with the smaller number: write {last}-{first}")
        layers += range(int(first), int(last or first) + 1)
    return layers


def parse_template(text: str | None) -> str | tuple[str, str] | None:
    r"""Return a template's name, or source and target of `SOURCE=>TARGET` with `\n` for a new line.

    >>> parse_template(r"Review: {text}\nLabel:=> {label}{eos}")
    ('Review: {text}\nLabel:', ' {label}{eos}')
    """
    if text is None or "=>" not in text:
        return text
    source, target = text.replace("\\n", "\n").split("=>", 1)
    return source, target


def parse_verbalizer(text: str | None) -> str | dict[str, str] | None:
    """Return `"labels"`, or the dict of a text `LABEL=WORD,LABEL=WORD`.

    >>> parse_verbalizer("0=negative,1=positive")
    {'0': 'negative', '1': 'positive'}
    """
    if text is None or text == "labels":
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(label and equals and word for label, equals, word in pairs):
        raise TaskError(f"--verbalizer must be 'labels' or LABEL=WORD,LABEL=WORD, got {text!r}")
    return {label.strip(): word for label, _, word in pairs}
