"""What a prompt's vectors are before training: numbers or token vectors, drawn from a generator of their own."""

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
    """What a prompt's vectors are before training.

    >>> import promptscope as ps
    >>> isinstance(ps.init.Uniform(), ps.init.Initialisation)
    True
    """


class TokenInitialisation(Initialisation):
    """A starting point made of token vectors, one for each prompt position.

    A deep prompt takes the keys and values that these vectors have inside the model, so that it starts as
    exactly the input-level prompt with the same vectors.

    >>> import torch, promptscope as ps
    >>> class LastToken(ps.init.TokenInitialisation):
    ...     def vectors(self, model, length, generator):
    ...         return model.embed(torch.full((length,), model.shape.vocab_size - 1)).detach()
    >>> ps.SoftPrompt(length=2, init=LastToken()).bind(ps.load_model("embedded-causal")).is_bound
    True
    """

    @abstractmethod
    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Return one vector for each of *length* positions."""


@dataclass(frozen=True)
class Uniform(Initialisation):
    """Every number uniform in [low, high); Lester et al. 2021 and the multilingual-GPT paper use +-0.5.

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(length=4, init=ps.init.Uniform(-0.1, 0.1)).bind(ps.load_model("embedded-causal"))
    >>> bool(prompt.vectors().abs().max() <= 0.1)
    True
    """

    low: float = -0.5
    high: float = 0.5

    def __str__(self) -> str:
        return f"uniform({self.low}, {self.high})"


@dataclass(frozen=True)
class Vocabulary(TokenInitialisation):
    """Token vectors drawn without replacement from the *n* most frequent vocabulary entries.

    Vocabularies are ordered by merge or frequency, so the rank is the token id, special tokens left out;
    a count per token id in *frequencies* replaces that.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(length=4, init="vocab:100").init == ps.init.Vocabulary(100)
    True
    """

    n: int = 5000
    frequencies: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return f"vocabulary({self.n})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Draw *length* distinct tokens."""
        candidates = _frequent_ids(model, self.n, self.frequencies)
        if len(candidates) < length:
            raise PromptError(f"init {self}: {length} positions need as many tokens, there are {len(candidates)}")
        chosen = candidates[torch.randperm(len(candidates), generator=generator)[:length]]
        return model.embed(chosen).detach()


@dataclass(frozen=True)
class Text(TokenInitialisation):
    """The tokens of a text or a single word, repeated until every position has one.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(length=4, init="text:the capital of").init == ps.init.Text("the capital of")
    True
    """

    text: str

    def __str__(self) -> str:
        return f"text({self.text!r})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Repeat the tokens of the text; a longer text is cut."""
        ids = _token_ids(model, self.text)
        return model.embed(torch.tensor([ids[i % len(ids)] for i in range(length)])).detach()


@dataclass(frozen=True)
class Labels(TokenInitialisation):
    """One position for each class label, the mean of its token vectors; the rest as in `Vocabulary`.

    Without *words*, training takes the label words of its task.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(length=4, init="labels:good,bad").init == ps.init.Labels(("good", "bad"))
    True
    """

    words: tuple[str, ...] | None = None
    n: int = 5000

    def __str__(self) -> str:
        return f"labels({', '.join(self.words or ())})"

    def vectors(self, model: HookedModel, length: int, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        """Average each label's tokens (Lester et al. 2021, section 3.2) and fill up from the vocabulary."""
        if not self.words:
            raise PromptError("init 'labels' needs words: use ps.init.Labels(('positive', 'negative'))")
        if len(self.words) > length:
            raise PromptError(
                f"{len(self.words)} labels do not fit into {length} prompt positions: use a longer prompt"
            )
        rows = [model.embed(torch.tensor(_token_ids(model, word))).mean(dim=0) for word in self.words]
        missing = length - len(rows)
        rest = (
            Vocabulary(self.n).vectors(model, missing, generator) if missing else model.embed(torch.tensor([]).long())
        )
        return torch.cat([torch.stack(rows), rest]).detach()


@dataclass(frozen=True)
class FromPrompt(Initialisation):
    """The parameters of another prompt; a deep prompt can start from an input-level one.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> first = ps.SoftPrompt(length=4).bind(model)
    >>> ps.DeepPrompt(length=4, init=ps.init.FromPrompt(first)).bind(model).is_bound
    True
    """

    prompt: Prompt

    def __str__(self) -> str:
        return f"prompt({self.prompt.content_hash()[:12] if self.prompt.is_bound else 'unbound'})"


def parse_init(init: str | Initialisation) -> Initialisation:
    """Read an initialisation from its short spelling.

    `"uniform"`, `"vocab"`, `"vocab:5000"`, `"text:some words"`, `"labels"`, `"labels:good,bad"`.

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
        raise PromptError(f"init text {text!r} has no tokens in the vocabulary of {model.name!r}")
    return ids


def _frequent_ids(model: HookedModel, n: int, frequencies: tuple[float, ...] | None) -> Tensor:
    # Without a tokenizer nothing says which ids are special: all of them count.
    special = set(model.tokenizer.all_special_ids) if model.has_tokenizer else set()
    size = min(model.shape.vocab_size, len(model.tokenizer)) if model.has_tokenizer else model.shape.vocab_size
    if frequencies is None:
        ranked = torch.arange(size)
    else:
        if len(frequencies) != size:
            raise PromptError(f"frequencies must have one count for each of {size} token ids, got {len(frequencies)}")
        ranked = torch.tensor(frequencies).argsort(descending=True, stable=True)
    keep = [int(i) for i in ranked if int(i) not in special][:n]
    return torch.tensor(keep)
