"""Initialisations of prompts: random numbers or token vectors, drawn from the prompt's own random generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.errors import PromptError, nearest
from promptscope.models import HookedModel

if TYPE_CHECKING:
    from promptscope.prompts.prompt import Prompt

__all__ = [
    "FromPrompt",
    "Initialisation",
    "Labels",
    "Text",
    "TokenInitialisation",
    "Uniform",
    "Vocabulary",
    "parse_init",
]


class Initialisation(ABC):  # noqa: B024 - says where a prompt starts; the prompt does the rest
    """Base class of initialisations: the values of a prompt's parameters before training.

    >>> import promptscope as ps
    >>> isinstance(ps.init.Uniform(), ps.init.Initialisation)
    True
    """


class TokenInitialisation(Initialisation):
    """Base class of initialisations with one token vector for each prompt position.

    An untied deep prompt starts with the keys and values that these vectors have inside the model. On causal models it
    then acts exactly as the input-level prompt of the same vectors.

    >>> import torch, promptscope as ps
    >>> class LastToken(ps.init.TokenInitialisation):
    ...     def vectors(self, model, length, generator):
    ...         return model.embed(torch.full((length,), model.shape.vocab_size - 1)).detach()
    >>> ps.SoftPrompt(2, init=LastToken()).bind(ps.load_model("embedded-causal")).is_bound
    True
    """

    @abstractmethod
    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Return one vector for each of *length* positions; random choices are made with *generator*."""


@dataclass(frozen=True)
class Uniform(Initialisation):
    """Every number is drawn uniformly from [low, high); Lester et al. 2021, section 3.2, use -0.5 and 0.5.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(4, init=ps.init.Uniform(-0.1, 0.1)).init
    Uniform(low=-0.1, high=0.1)
    """

    low: float = -0.5
    high: float = 0.5

    def __str__(self) -> str:
        return f"uniform({self.low}, {self.high})"


@dataclass(frozen=True)
class Vocabulary(TokenInitialisation):
    """Vectors of tokens drawn without replacement from the *n* most frequent tokens of the vocabulary.

    Vocabularies are roughly ordered by frequency, so that the tokens with the n smallest ids are used, without special
    tokens. With *frequencies* (a count for each token id), those with the n largest counts are used instead. Lester et
    al. 2021, section 3.2, draw from the 5,000 most common tokens.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(4, init=ps.init.Vocabulary(5000)).bind(ps.load_model("embedded-causal")).length
    4

    """

    n: int = 5000
    frequencies: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return f"vocabulary({self.n})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Return the vectors of *length* distinct tokens, drawn at random."""
        candidates = _frequent_ids(model, self.n, self.frequencies)
        if len(candidates) < length:
            raise PromptError(
                f"init {self}: {length} positions need {length} different tokens, got {len(candidates)} to draw from: "
                "use a larger n"
            )
        chosen = candidates[torch.randperm(len(candidates), generator=generator)[:length]]
        return model.embed(chosen).detach()


@dataclass(frozen=True)
class Text(TokenInitialisation):
    """The vectors of the tokens of a text, repeated until every position has one.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(4, init="text:the capital of").init == ps.init.Text("the capital of")
    True
    """

    text: str

    def __str__(self) -> str:
        return f"text({self.text!r})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Return the vectors of the text's tokens, repeated or cut to *length*."""
        ids = _token_ids(model, self.text)
        return model.embed(torch.tensor([ids[i % len(ids)] for i in range(length)])).detach()


@dataclass(frozen=True)
class Labels(TokenInitialisation):
    """One position for each class label, with the mean of its word's token vectors; the rest as in `Vocabulary`.

    Without *words*, training uses the label words of its task. Lester et al. 2021, section 3.2 ("class label").

    >>> import promptscope as ps
    >>> ps.SoftPrompt(4, init="labels:good,bad").init == ps.init.Labels(("good", "bad"))
    True
    """

    words: tuple[str, ...] | None = None
    n: int = 5000

    def __str__(self) -> str:
        return f"labels({', '.join(self.words or ())})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Return the mean vector of each label's tokens, and vectors drawn from the vocabulary for other positions."""
        if not self.words:
            raise PromptError(
                "init 'labels' has no words, as the prompt is not trained on a task: use ps.init.Labels(('positive', "
                "'negative'))"
            )
        if len(self.words) > length:
            raise PromptError(
                f"init 'labels' needs a position for each of {len(self.words)} labels, got {length} prompt positions: "
                "use a longer prompt"
            )
        rows = [model.embed(torch.tensor(_token_ids(model, word))).mean(dim=0) for word in self.words]
        if missing := length - len(rows):
            rows += Vocabulary(self.n).vectors(model, missing, generator)
        return torch.stack(rows).detach()


@dataclass(frozen=True)
class FromPrompt(Initialisation):
    """The vectors of another prompt of the same length; a deep prompt can also start from an input-level one.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> first = ps.SoftPrompt(4).bind(model)
    >>> ps.DeepPrompt(4, init=ps.init.FromPrompt(first)).bind(model).is_bound
    True
    """

    prompt: Prompt

    def __str__(self) -> str:
        return f"prompt({self.prompt.content_hash()[:12] if self.prompt.is_bound else 'unbound'})"


def parse_init(init: str | Initialisation) -> Initialisation:
    """Return the initialisation for a name; an initialisation is returned unchanged.

    Names: `"uniform"`, `"vocab"`, `"vocab:5000"`, `"text:some words"`, `"labels"`, `"labels:good,bad"`.

    Raises:
        PromptError: the name is unknown.

    >>> parse_init("vocab:100")
    Vocabulary(n=100, frequencies=None)
    """
    if isinstance(init, Initialisation):
        return init
    kind, _, argument = init.partition(":")
    if kind == "uniform" and not argument:
        return Uniform()
    if kind == "vocab" and (not argument or argument.isdigit()):
        return Vocabulary(int(argument or 5000))
    if kind == "text" and argument:
        return Text(argument)
    if kind == "labels":
        return Labels(tuple(argument.split(",")) if argument else None)
    raise PromptError(
        f"unknown initialisation {init!r}.{nearest(kind, ['uniform', 'vocab', 'text', 'labels'])} Expected 'uniform', "
        "'vocab[:N]', 'text:WORDS', 'labels[:A,B]' or an object of ps.init"
    )


def _token_ids(model: HookedModel, text: str) -> Sequence[int]:
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise PromptError(f"init text {text!r} gives no tokens with the tokenizer of {model.name!r}: use another text")
    return ids


def _frequent_ids(model: HookedModel, n: int, frequencies: tuple[float, ...] | None) -> Tensor:
    size, special = model.shape.vocab_size, set()
    if model.has_tokenizer:  # without one nothing says which ids are special: all of them count
        size, special = min(size, len(model.tokenizer)), set(model.tokenizer.all_special_ids)
    if frequencies is not None and len(frequencies) != size:
        raise PromptError(
            f"frequencies must have one count for each of {size} token ids, got {len(frequencies)} counts"
        )
    counts = torch.zeros(size) if frequencies is None else torch.tensor(frequencies)
    ranked = counts.argsort(descending=True, stable=True)
    return torch.tensor([i for i in ranked.tolist() if i not in special][:n])
