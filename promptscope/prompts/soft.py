"""Input-level prompts: k trainable embeddings before the text (prompt tuning, "v1")."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import HookedModel, Placement
from promptscope.prompts.initialisation import FromPrompt, Initialisation, TokenInitialisation, Uniform
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.reparameterisation import Reparameterisation, draw_weights


class SoftPrompt(Prompt):
    """k trainable embeddings `P (k, d_embed)` before the text (prompt tuning; Lester et al. 2021, section 2).

    The input of the first layer is `[p_1, ..., p_k, E x_1, ..., E x_n]` for a text of tokens x_i with embedding matrix
    E; there are k d_embed parameters. On encoder-decoders the prompt comes before the encoder's text. If the model adds
    position or token type embeddings, it adds them to the prompt as to any token.

    Args:
        length: the number of prompt positions k.
        init: the values at the start of training, see `ps.init`.
        seed: of the random numbers of *init*.
        reparameterisation: a network that computes the embeddings from the parameters, see `ps.reparameterise`;
            `fold()` removes it after training.

    Raises:
        PromptError: an argument has another type, or length is below 1.

    >>> prompt = SoftPrompt(length=20, init="uniform", seed=0)
    >>> prompt.length
    20
    """

    embedding: nn.Parameter

    @checked(error=PromptError)
    def __init__(
        self,
        length: int = 20,
        init: str | Initialisation = "uniform",
        seed: int = 0,
        reparameterisation: Reparameterisation | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(length, init, seed, reparameterisation)
        self.network: nn.Module | None = None

    def settings(self) -> dict[str, Any]:
        """Return the length and the reparameterisation, if there is one; everything else is in the numbers."""
        return {"length": self.length} | self._network_settings()

    def vectors(self) -> Float[Tensor, "k d_model"]:
        """Return the k embeddings, after the reparameterisation if there is one, with gradient."""
        return self.embedding if self.network is None else self.network(self.embedding)

    def tensors(self) -> dict[str, Tensor]:
        """Return the k embeddings by the name of their parameter, with gradient."""
        return {"embedding": self.vectors()}

    def place(self, model: HookedModel) -> Placement:
        """Return the k embeddings, before the (encoder's) text, as a placement, with gradient."""
        self.bind(model)
        return Placement(self.length, self.vectors())

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        if isinstance(self.init, Uniform):
            start = torch.empty(self.n_rows, model.shape.d_embed, dtype=torch.float32)
            start.uniform_(self.init.low, self.init.high, generator=generator)
        else:
            start = start_vectors(self, model, generator).clone()
        self.embedding = nn.Parameter(start)
        self._build_network()
        if self.network is not None:
            draw_weights(self.network, generator)

    def _build_network(self) -> None:
        if self.reparameterisation is not None:
            self.network = self.reparameterisation.network(self.length, self.embedding.shape[1])

    def _set_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.network = None
        self.embedding = nn.Parameter(tensors["embedding"])

    def _check_fit(self, model: HookedModel) -> None:
        width = self.embedding.shape[1]
        if width != model.shape.d_embed:
            raise PromptError(
                f"the prompt's vectors have {width} dimensions, the embeddings of {model.name!r} "
                f"{model.shape.d_embed}: an input-level prompt fits models of the same width only"
            )


def start_vectors(prompt: Prompt, model: HookedModel, generator: torch.Generator) -> Float[Tensor, "rows d_embed"]:
    """Return the vectors of tokens or of an input-level prompt from which *prompt* starts, one for each parameter row.

    Raises:
        PromptError: the other prompt is a deep one, or of another length.
    """
    if isinstance(prompt.init, TokenInitialisation):
        return prompt.init.vectors(model, prompt.n_rows, generator).float()
    assert isinstance(prompt.init, FromPrompt)
    source = prompt.init.prompt.bind(model)
    if not isinstance(source, SoftPrompt) or source.length != prompt.n_rows:
        raise PromptError(
            f"a {type(prompt).__name__} with {prompt.n_rows} parameter vectors must start from an input-level prompt "
            f"of the same length, got {source!r}"
        )
    return source.vectors().detach()
