"""Sizes of a model: layers, widths, heads, vocabulary, context."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model.

    `context` is the largest number of positions, or None if there is no limit. `d_embed` is the width of token
    embeddings and of input-level prompts. It equals `d_model`, except in models that project their embeddings to
    another width before the first layer (OPT-350m, ALBERT, ELECTRA).

    >>> import promptscope as ps
    >>> shape = ps.load_model("embedded-causal").shape
    >>> shape.n_layers, shape.d_model, shape.n_heads
    (6, 160, 5)
    """

    n_layers: int
    d_model: int
    d_embed: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab_size: int
    context: int | None
