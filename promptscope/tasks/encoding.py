"""Encoding of records as tokens, for one tokenizer and one kind of model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from promptscope.errors import TaskError
from promptscope.tasks.chat import template_for
from promptscope.tasks.encoded import IGNORED, Batch, Encoded, EncodedSplit, collate
from promptscope.tasks.records import Record
from promptscope.tasks.specials import Specials
from promptscope.tasks.template import KINDS, Kind, Template
from promptscope.tasks.tokens import Tokens, tokenise
from promptscope.tasks.truncation import fit
from promptscope.tasks.verbalizer import Verbalizer

__all__ = ["Batch", "Encoded", "EncodedSplit", "collate", "encode_records"]


def encode_records(
    records: Sequence[Record],
    template: Template,
    verbalizer: Verbalizer | None,
    tokenizer: Any,
    kind: Kind,
    with_label: bool = True,
    max_length: int | None = None,
    decoder_start_id: int | None = None,
) -> EncodedSplit:
    """Tokenise records for a kind of model, and return one `Encoded` for each.

    `max_length` is the largest number of tokens of source and target together (causal), of the encoder's input
    (encoder-decoders) or of the input (masked). With a verbalizer, room is left for its longest word, whatever the
    record's label, so that the remaining text does not depend on the label or on *with_label*.

    Raises:
        TaskError: the template does not fit the kind of model, a label word is not one token (masked), a record does
            not fit `max_length` even without text, or `decoder_start_id` is missing.
    """
    if kind not in KINDS:
        raise TaskError(f"Expected a kind of model among {', '.join(KINDS)}, got {kind!r}.")
    if kind == "seq2seq" and decoder_start_id is None:
        raise TaskError(
            "An encoder-decoder needs decoder_start_id, the model config's decoder_start_token_id: "
            "task.encode(..., decoder_start_id=model.config.decoder_start_token_id)."
        )
    if max_length is not None and max_length < 1:
        raise TaskError(f"max_length must be at least 1, got {max_length}.")
    specials = Specials(tokenizer)
    template = template_for(template, kind, specials)
    _check_literals(template, specials)
    targets = _targets(records, template, verbalizer, specials, kind)
    room = _room(records, targets, verbalizer is not None, kind, with_label, max_length)
    values = [{name: record.text(name) for name in template.fields} for record in records]
    sources, truncated = fit(
        template.source_parts, values, specials, template.specials, room, [record.id for record in records]
    )
    encode = {"causal": _causal, "masked": _masked, "seq2seq": _seq2seq}[kind]
    mask = specials.ids("mask", template.specials) if kind == "masked" else []
    start = decoder_start_id if kind == "seq2seq" else None
    examples = [
        encode(record.id, source, targets[record.label or ""], with_label, cut, mask, start)
        for record, source, cut in zip(records, sources, truncated, strict=True)
    ]
    if kind == "masked" and not template.mask_attended:
        examples = [replace(example, mask_attended=False) for example in examples]
    return EncodedSplit(examples)


def answer_length(
    records: Sequence[Record], template: Template, verbalizer: Verbalizer | None, tokenizer: Any, kind: Kind
) -> int:
    """Return the number of tokens of the longest answer of *records*, with the template's end token."""
    specials = Specials(tokenizer)
    template = template_for(template, kind, specials)
    return max(map(len, _targets(records, template, verbalizer, specials, kind).values()))


def _targets(
    records: Sequence[Record],
    template: Template,
    verbalizer: Verbalizer | None,
    specials: Specials,
    kind: Kind,
) -> dict[str, Tokens]:
    """Return the target tokens of each label of the verbalizer or, without one, of the records."""
    parts = [part for part in template.target_parts if part.kind != "literal"]
    before = template.before_label
    if kind == "masked":
        if verbalizer is None:
            raise TaskError(
                "A masked language model predicts one token, so that it needs a verbalizer, and this task has none. "
                "Give Verbalizer({label: word, ...}), or use a causal model or an encoder-decoder."
            )
        one = verbalizer.token_ids(specials.tokenizer, kind, before)
        return {label: Tokens(ids, ["label"], [False], [(0, 0)]) for label, ids in one.items()}
    if verbalizer is not None:
        verbalizer.token_ids(specials.tokenizer, kind, before)  # raises where words cannot be told apart
        words = verbalizer.words
    else:
        words = {label: label for label in dict.fromkeys(record.label or "" for record in records)}
    values = [{"label": before + word if word else ""} for word in words.values()]
    targets = dict(zip(words, tokenise(parts, values, specials, template.specials), strict=True))
    if any(len(target) == 0 for target in targets.values()):
        raise TaskError(
            "A record's label is empty and the template has no end token, so that there is no target token. End the "
            "template's target with {eos}."
        )
    return targets


def _room(
    records: Sequence[Record],
    targets: dict[str, Tokens],
    closed: bool,
    kind: Kind,
    with_label: bool,
    max_length: int | None,
) -> list[int | None]:
    if max_length is None or kind != "causal":
        return [max_length] * len(records)
    if closed:
        return [max_length - max(map(len, targets.values()))] * len(records)
    return [max_length - (len(targets[record.label or ""]) if with_label else 0) for record in records]


def _causal(
    id: str, source: Tokens, target: Tokens, with_label: bool, cut: bool, mask: list[int], start: int | None
) -> Encoded:
    if not source.ids:
        raise TaskError(
            f"Record {id!r} has no source token, but a causal model predicts the label at the last source token. Begin "
            "the template with {bos} or a word."
        )
    tail = target if with_label else Tokens()
    targets = [IGNORED] * (len(source) - 1) + tail.ids + [IGNORED]
    return Encoded(
        id,
        source.ids + tail.ids,
        source.segments + tail.segments,
        source.special + tail.special,
        targets,
        None,
        len(source),
        cut,
    )


def _masked(
    id: str, source: Tokens, target: Tokens, with_label: bool, cut: bool, mask: list[int], start: int | None
) -> Encoded:
    # the mask among special tokens only: text can hold the same id for no tokenizer we accept
    at = next(
        i
        for i, (token, special) in enumerate(zip(source.ids, source.special, strict=True))
        if special and token in mask
    )
    targets = [IGNORED] * len(source)
    if with_label:
        targets[at] = target.ids[0]
    types = source.types if any(source.types) else None
    return Encoded(id, source.ids, source.segments, source.special, targets, None, at, cut, token_types=types)


def _seq2seq(
    id: str, source: Tokens, target: Tokens, with_label: bool, cut: bool, mask: list[int], start: int | None
) -> Encoded:
    if not source.ids:
        raise TaskError(
            f"Record {id!r} has no token for the encoder, which needs at least one. End the template's source with "
            "{eos}."
        )
    assert start is not None
    decoder = [start, *target.ids[:-1]] if with_label else [start]
    targets = list(target.ids) if with_label else [IGNORED]
    return Encoded(id, source.ids, source.segments, source.special, targets, decoder, 0, cut)


def _check_literals(template: Template, specials: Specials) -> None:
    for part in template.source_parts:
        spelt = [s for s in specials.spellings if part.kind == "literal" and s in part.text]
        if spelt:
            raise TaskError(
                f"The template writes the special token {max(spelt, key=len)!r} as plain text, which is read as "
                "plain text. Write {bos}, {sep}, {mask} or {eos}, with Template(..., specials={...}) to say "
                "which token is meant."
            )
