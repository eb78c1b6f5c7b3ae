"""Special tokens by role, and tokenisation in which text never becomes a special token."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Encoding, Tokenizer

from promptscope.errors import TaskError, nearest
from promptscope.tasks.template import ROLES

# A Unicode noncharacter: no text holds it, so a token that is spelt with it cannot be reached from text.
_UNREACHABLE = "\ufdd0"


class Specials:
    """The special tokens of a fast tokenizer for a template's placeholders, and a copy of it that reads plain text.

    - `{bos}`: `bos_token`, or else `cls_token`, or else `eos_token`;
    - `{sep}`: `sep_token`, or else `eos_token`;
    - `{eos}`: `eos_token`, or else `sep_token`;
    - `{mask}`: `mask_token`.

    Only tokens that the tokenizer declares for a role are used, not others in its vocabulary: the `{eos}` of a chat
    model may be `<|im_end|>`, although its vocabulary also has `<|endoftext|>`. `{token:<|im_start|>}` is the special
    token with this spelling.

    Raises:
        TaskError: the tokenizer is a slow one, without offsets; or it has no token for a role.

    >>> import promptscope as ps
    >>> tokenizer = ps.load_model("embedded-causal").tokenizer
    >>> tokenizer.convert_ids_to_tokens(Specials(tokenizer).ids("eos"))
    ['<|endoftext|>']
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = _fast(tokenizer)
        self._vocabulary, self.spellings, self._reader = _contents(tokenizer)

    def read(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise texts, with offsets; special tokens that are spelt in a text are read as plain text."""
        return self._reader.encode_batch(list(texts), add_special_tokens=False) if texts else []

    def ids(self, role: str, overrides: Mapping[str, str] | None = None) -> list[int]:
        """Return the token ids of a role: that of the tokenizer, or those of the text in *overrides*."""
        if overrides and role in overrides:
            if overrides[role] in self.spellings:
                return [self._vocabulary[overrides[role]]]
            return list(self.tokenizer(overrides[role], add_special_tokens=False)["input_ids"])
        if role not in ROLES:
            return [self._spelt(role)]
        token = self._token(role)
        if token is None:
            raise TaskError(
                f"{_name(self.tokenizer)} has no token for {{{role}}}. "
                + (
                    "Use a masked language model's tokenizer, or a template without {mask}."
                    if role == "mask"
                    else f"Say what to use with Template(..., specials={{{role!r}: '...'}})."
                )
            )
        return [self._vocabulary[token]]

    def _spelt(self, token: str) -> int:
        if token not in self.spellings:
            known = ", ".join(sorted(self.spellings))
            raise TaskError(
                f"{_name(self.tokenizer)} has no special token {token!r} for {{token:{token}}}; it has {known}."
                + nearest(token, self.spellings)
            )
        return self._vocabulary[token]

    def _token(self, role: str) -> str | None:
        tokenizer = self.tokenizer
        named = {name: getattr(tokenizer, f"{name}_token", None) for name in ("bos", "cls", "sep", "eos", "mask")}
        candidates = {
            "bos": (named["bos"], named["cls"], named["eos"]),
            "sep": (named["sep"], named["eos"]),
            "eos": (named["eos"], named["sep"]),
            "mask": (named["mask"],),
        }[role]
        return next((token for token in candidates if token in self._vocabulary), None)


def _name(tokenizer: Any) -> str:
    return f"The tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__!r}"


def _fast(tokenizer: Any) -> Any:
    if tokenizer is None:
        raise TaskError(
            "A task needs a tokenizer, but the model has none. Load it with ps.load_model(..., tokenizer=...)."
        )
    if not getattr(tokenizer, "is_fast", False):
        raise TaskError(
            f"{_name(tokenizer)} is a slow one, but a task needs a fast one, with character offsets. Load it with "
            "AutoTokenizer.from_pretrained(...), or convert it and save its tokenizer.json."
        )
    return tokenizer


_Contents = tuple[dict[str, int], frozenset[str], Tokenizer]
_KNOWN: WeakKeyDictionary[Any, tuple[str, _Contents]] = WeakKeyDictionary()


def _contents(tokenizer: Any) -> _Contents:
    """Return vocabulary, spellings of special tokens and plain reader of a tokenizer, kept until it changes."""
    state = _state(tokenizer)
    known = _KNOWN.get(tokenizer)
    if known is not None and known[0] == state:
        return known[1]
    vocabulary = tokenizer.get_vocab()
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    roles = (token for token in ("</s>", "<|endoftext|>") if token in vocabulary)
    spellings = frozenset({*added, *roles, *tokenizer.all_special_tokens})
    contents = vocabulary, spellings, _plain_reader(tokenizer, spellings)
    _KNOWN[tokenizer] = state, contents
    return contents


def _state(tokenizer: Any) -> str:
    """Return the state of *tokenizer* that changes when it is edited; of its vocabulary only the size, to be fast."""
    backend = tokenizer.backend_tokenizer
    steps = [getattr(backend, step) for step in ("normalizer", "pre_tokenizer")]
    model = {name: getattr(backend.model, name) for name in dir(backend.model) if not name.startswith("_")}
    values = {name: value for name, value in model.items() if isinstance(value, bool | int | float | str | None)}
    read = [step.__getstate__().hex() if step is not None else "" for step in steps]
    return f"{len(tokenizer)} {tokenizer.all_special_tokens} {read} {type(backend.model).__name__} {values}"


def _plain_reader(tokenizer: Any, spellings: frozenset[str]) -> Tokenizer:
    """Return a copy of the tokenizer with other spellings of its special tokens, so that no text can produce one.

    `split_special_tokens=True` is not enough: Unigram and WordPiece models would still find `</s>` or `[SEP]` in their
    vocabularies, and it would change the caller's tokenizer.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.update(truncation=None, padding=None, post_processor=None)
    new = {spelling: f"{_UNREACHABLE}{spelling}{_UNREACHABLE}" for spelling in spellings}
    for token in state["added_tokens"]:
        token["content"] = new.get(token["content"], token["content"])
    model = state["model"]
    if model.get("dropout"):  # of merges, at random: a text has one reading here
        model["dropout"] = None
    if isinstance(model["vocab"], dict):
        model["vocab"] = {new.get(token, token): index for token, index in model["vocab"].items()}
    else:  # Unigram: pieces with scores
        model["vocab"] = [[new.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in new:
        model["unk_token"] = new[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, spellings)]
    return Tokenizer.from_str(json.dumps(state))


def _touches(merge: Any, spellings: frozenset[str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return bool({left, right, left + right} & spellings)
