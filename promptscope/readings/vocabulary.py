"""The vocabulary as a table of vectors and of names."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from promptscope.errors import ProbeError
from promptscope.models import HookedModel


@torch.no_grad()
def embedding_table(model: HookedModel) -> Float[np.ndarray, "V d_model"]:
    """Return all token vectors, as the first layer gets them.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> embedding_table(model).shape == (model.shape.vocab_size, model.shape.d_model)
    True
    """
    return model.embed(torch.arange(model.shape.vocab_size)).float().cpu().numpy()


def token_names(model: HookedModel, ids: Iterable[int]) -> list[str]:
    """Return the text of each token; its id where there is no tokenizer.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> token_names(model, model.tokenizer(" the")["input_ids"])
    [' the']
    """
    return [str(model.tokenizer.decode([i])) if model.has_tokenizer else str(i) for i in ids]


def label_token_ids(model: HookedModel, words: Sequence[str]) -> list[int]:
    """Return the tokens that stand for any of the label *words*.

    Of each word: the spellings with and without a space before, as given, lower-cased and capitalised, that are one
    token; a word without such a spelling is represented by its first piece.

    Raises:
        ProbeError: a word that the tokenizer does not know.
    """
    found: dict[int, None] = {}
    for word in words:
        if not word.strip():
            raise ProbeError(f"a label word is a word, got {word!r}")
        ids = _one_token_spellings(model, word) or _first_piece(model, word)
        if not ids:
            raise ProbeError(f"the label word {word!r} has no tokens in the vocabulary of {model.name!r}")
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
