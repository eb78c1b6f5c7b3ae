"""Which words a soft prompt's vectors lie near."""

import pandas as pd
import torch
from torch.nn.functional import normalize

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.soft import SoftPrompt


@checked(n=1)
@torch.no_grad()
def nearest_tokens(prompt: Prompt, model: HookedModel, n: int = 3) -> pd.DataFrame:
    """Return the *n* vocabulary entries nearest to each vector of an input-level prompt.

    Columns `position`, `rank` (from 1), `token`, `cosine`: the cosine of prompt vector and token embedding, in
    [-1, 1], higher = nearer. The best of V random directions in d dimensions reaches about sqrt(2 ln V / d) by
    chance (0.2 for V = 50,000 and d = 576): only what is clearly above it means something.

    Raises:
        PromptError: a deep prompt, whose keys and values are no embeddings.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(length=2, init="text: the").bind(model)
    >>> nearest_tokens(prompt, model, n=1)["cosine"].round(3).tolist()
    [1.0, 1.0]
    """
    if not isinstance(prompt, SoftPrompt):
        raise PromptError("only an input-level prompt (v1) lies among token embeddings; a deep one is keys and values")
    prompt.bind(model)
    vocabulary = model.embed(torch.arange(model.shape.vocab_size)).float()
    cosines = normalize(prompt.vectors().float(), dim=-1) @ normalize(vocabulary, dim=-1).T  # (k, V)
    best = cosines.topk(n, dim=-1)
    tokens = [_tokens(model, ids) for ids in best.indices.tolist()]
    rows = [
        (position, rank + 1, token, cosine)
        for position, (names, row) in enumerate(zip(tokens, best.values.tolist(), strict=True))
        for rank, (token, cosine) in enumerate(zip(names, row, strict=True))
    ]
    return pd.DataFrame(rows, columns=["position", "rank", "token", "cosine"])


def _tokens(model: HookedModel, ids: list[int]) -> list[str]:
    return [str(model.tokenizer.decode([i])) if model.has_tokenizer else str(i) for i in ids]
