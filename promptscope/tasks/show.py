"""Printing of encoded records: exact tokens, their segments, and the positions where labels are predicted."""

from itertools import groupby
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from promptscope.errors import TaskError
from promptscope.tasks.chat import template_for
from promptscope.tasks.encoded import Encoded
from promptscope.tasks.specials import Specials
from promptscope.tasks.task import Task
from promptscope.tasks.template import ROLES, Kind

_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}
_VISIBLE = {" ": "·", "▁": "·", "\n": "⏎", "\t": "⇥"}


def tokens_as_text(task: Task, model: Any, n: int = 3, split: str = "train", kind: Kind | None = None) -> str:
    """Return what `Task.show` prints: the tokens of the first `n` records of a split.

    Each line has consecutive tokens of one segment, with bars between tokens and `·` for a space; `판×3` is one
    character that is split into three tokens. `>` marks tokens with a loss, and `<-` the position at which each is
    predicted.
    """
    if n < 1:
        raise TaskError(f"n must be at least 1, got {n}.")
    tokenizer, kind, start = _target(model, kind)
    encoded = task.encode(tokenizer, kind, split, limit=n, decoder_start_id=start)
    lines = [f"{task!r} for a {kind} model, template {task.template_for(kind).name!r}"]
    lines += _special_lines(task, tokenizer, kind)
    if task.dropped.get(split):
        lines.append(f"{task.dropped[split]} rows of {split!r} were left out (no label, or at the boundary)")
    for example, record in zip(encoded, task.split(split), strict=False):
        lines += ["", f"{split} record {record.id!r}, label {record.label!r}, {len(example.input_ids)} tokens"]
        if example.truncated:
            lines[-1] += f", text cut to fit {task.max_length}"
        lines += _input_lines(tokenizer, example, kind)
        if example.decoder_input_ids is not None:
            lines += _decoder_lines(tokenizer, example)
    return "\n".join(lines)


def _special_lines(task: Task, tokenizer: Any, kind: Kind) -> list[str]:
    """Return lines with the tokenizer's token for each special token of the template."""
    specials = Specials(tokenizer)
    template = template_for(task.template, kind, specials)
    parts = [*template.source_parts, *template.target_parts]
    roles = dict.fromkeys(part.text for part in parts if part.kind == "special" and part.text in ROLES)
    each = [f"{{{role}}} = {_bars(tokenizer, specials.ids(role, template.specials))}" for role in roles]
    return [f"special tokens: {', '.join(each)}"] if each else []


def _target(model: Any, kind: Kind | None) -> tuple[Any, Kind, int | None]:
    if not hasattr(model, "family"):
        if kind == "seq2seq":
            raise TaskError(
                "For an encoder-decoder, show needs the model, got a tokenizer: the start token is in the model's "
                "config."
            )
        return model, kind or "causal", None
    start = getattr(model.twin.config, "decoder_start_token_id", None)
    return model.tokenizer, kind or model.family.kind, start


def _input_lines(tokenizer: Any, example: Encoded, kind: Kind) -> list[str]:
    lines = []
    mask = example.label_start if kind == "masked" else -1
    runs = groupby(range(len(example.input_ids)), key=lambda i: (example.segments[i], i == mask))
    for (segment, is_mask), group in runs:
        positions = list(group)
        shown = _bars(tokenizer, [example.input_ids[i] for i in positions])
        note, mark = "", " "
        if kind == "causal" and segment in ("label", "end"):
            note, mark = f"   <- predicted at {_range([i - 1 for i in positions])}", ">"
        if is_mask:
            note, mark = f"   <- {_bars(tokenizer, [example.targets[mask]])} predicted at {mask}", ">"
            note += "" if example.mask_attended else ", attended by nothing"
        lines.append(f"{mark} {_range(positions):>9}  {segment:<8} {shown}{note}")
    return lines


def _decoder_lines(tokenizer: Any, example: Encoded) -> list[str]:
    last = _range(list(range(len(example.targets))))
    return [
        f"  {last:>9}  decoder  {_bars(tokenizer, example.decoder_input_ids or [])}",
        f"> {last:>9}  label    {_bars(tokenizer, example.targets)}   <- predicted at {last} of the decoder",
    ]


def _range(positions: list[int]) -> str:
    return f"{positions[0]}-{positions[-1]}" if len(positions) > 1 else f"{positions[0]}"


def _bars(tokenizer: Any, ids: list[int]) -> str:
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if "ByteLevel" not in str(tokenizer.backend_tokenizer.decoder):
        return "|" + "|".join(map(_visible, tokens)) + "|"
    special = set(tokenizer.all_special_ids)
    shown: list[str] = []
    pending, count = b"", 0  # bytes of a character that more than one token spells
    for id, token in zip(ids, tokens, strict=True):
        if id in special or any(character not in _BYTE_OF for character in token):
            shown += [f"<{pending.hex()}>×{count}"] if pending else []
            shown.append(_visible(token))
            pending, count = b"", 0
            continue
        pending, count = pending + bytes(_BYTE_OF[character] for character in token), count + 1
        try:
            shown.append(_visible(pending.decode()) + (f"×{count}" if count > 1 else ""))
            pending, count = b"", 0
        except UnicodeDecodeError:
            continue
    shown += [f"<{pending.hex()}>×{count}"] if pending else []
    return "|" + "|".join(shown) + "|"


def _visible(token: str) -> str:
    return "".join(_VISIBLE.get(character, character) for character in token)
