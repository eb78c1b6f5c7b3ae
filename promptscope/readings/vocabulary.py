"""The vocabulary as a table of embeddings and of token texts."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel


@checked()
@torch.no_grad()
def embedding_table(model: HookedModel) -> Float[np.ndarray, "V d_model"]:
    """Return all token embeddings (V, d_model), as they enter the first layer.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> embedding_table(model).shape == (model.shape.vocab_size, model.shape.d_model)
    True
    """
    return model.embed(torch.arange(model.shape.vocab_size)).float().cpu().numpy()


@checked()
def token_names(model: HookedModel, ids: Iterable[int]) -> list[str]:
    """Return the text of each token, or its id if the model has no tokenizer.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> token_names(model, model.tokenizer(" the")["input_ids"])
    [' the']
    """
    return [str(model.tokenizer.decode([i])) if model.has_tokenizer else str(i) for i in ids]


def label_token_ids(model: HookedModel, words: Sequence[str]) -> list[int]:
    """Return the ids of the tokens that count as one of the label *words*.

    For each word: all its spellings that are a single token, with and without a space before it, as given, in lower
    case, and capitalised. A word with no such spelling is represented by its first token.

    Raises:
        ProbeError: an empty word, or one without tokens in this vocabulary.
    """
    found: dict[int, None] = {}
    for word in words:
        if not word.strip():
            raise ProbeError(f"label_words must be words, got {word!r}")
        ids = _one_token_spellings(model, word) or _first_piece(model, word)
        if not ids:
            raise ProbeError(f"the label word {word!r} has no tokens in the vocabulary of {model.name!r}: leave it out")
        found |= dict.fromkeys(ids)
    return list(found)


def _one_token_spellings(model: HookedModel, word: str) -> list[int]:
    stems = dict.fromkeys([word.strip(), word.strip().lower(), word.strip().capitalize()])
    pieces = [_pieces(model, space + stem) for stem in stems for space in ("", " ")]
    return [ids[0] for ids in pieces if len(ids) == 1]


def _first_piece(model: HookedModel, word: str) -> list[int]:
    return [i for i in _pieces(model, word.strip()) if str(model.tokenizer.decode([i])).strip()][:1]


def _pieces(model: HookedModel, text: str) -> list[int]:
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [i for i in ids if i != model.tokenizer.unk_token_id]
