"""Several models for one prompt, of equal width and tokenizer, in memory or loaded one after the other."""

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from promptscope.errors import ModelError
from promptscope.files import content_hash
from promptscope.models import Hook, HookedModel, load_model

T = TypeVar("T")
ModelSource = HookedModel | str | os.PathLike[str]
"""A loaded model, or a name or folder for `ps.load_model`."""
Models = ModelSource | Sequence[ModelSource] | Mapping[str, ModelSource]
"""One model, several, or name -> model; each is loaded, or a name or folder for `ps.load_model`."""


class ModelSet:
    """M models by name, for one prompt.

    A model that is given by its name or folder is loaded for each `map` and released afterwards, so that at most one
    such model is in memory, at the cost of reading its weights each time.

    Raises:
        ModelError: there is no model, two have the same name, or models have different widths or tokenizers (of models
            given by name, this is noticed when they are loaded).

    >>> models = ModelSet(["embedded-masked-0", "embedded-masked-1"])  # loaded in turn
    >>> len(models), list(models.sources)
    (2, ['embedded-masked-0', 'embedded-masked-1'])
    """

    def __init__(self, models: Models, hooks: Sequence[Hook] = ()) -> None:
        self.sources = _by_name(models)
        self.hooks = list(hooks)
        self._seen: dict[str, tuple[int, str]] = {}  # name -> width, hash of the vocabulary
        for name, source in self.sources.items():
            if isinstance(source, HookedModel):
                self._check(name, source)

    def __len__(self) -> int:
        return len(self.sources)

    def map(self, work: Callable[[HookedModel], T]) -> dict[str, T]:
        """Call *work* with each model, with the set's hooks attached, and return the results by name."""
        return {name: self._with(name, source, work) for name, source in self.sources.items()}

    def keep_first(self) -> HookedModel:
        """Return the first model; if it was given by name, it stays in memory from now on."""
        name, source = next(iter(self.sources.items()))
        model = source if isinstance(source, HookedModel) else load_model(source)
        self._check(name, model)
        self.sources[name] = model
        return model

    def _with(self, name: str, source: ModelSource, work: Callable[[HookedModel], T]) -> T:
        if isinstance(source, HookedModel):
            with source.turn(self.hooks):
                return work(source)
        # Of the model before, cycles of modules are left: it must be gone before the next one takes its place.
        gc.collect()
        model = load_model(source)
        self._check(name, model)
        with model.turn(self.hooks):
            return work(model)

    @property
    def names(self) -> list[str]:
        """The names of the models, in order."""
        return list(self.sources)

    def _check(self, name: str, model: HookedModel) -> None:
        if name in self._seen:
            return
        self._seen[name] = (model.shape.d_model, content_hash(model.tokenizer.get_vocab()))
        widths, vocabularies = zip(*self._seen.values(), strict=True)
        each = ", ".join(f"{name!r}: {width}" for name, (width, _) in self._seen.items())
        if len(set(widths)) > 1:
            raise ModelError(f"one prompt needs models of one width, got d_model {each}: choose models of equal width")
        if len(set(vocabularies)) > 1:
            first, last = next(iter(self._seen)), name
            raise ModelError(
                f"one prompt needs models with one tokenizer, and the vocabulary of {last!r} is not that of {first!r} "
                f"(d_model {each}), so that token ids mean different words: choose models with equal vocabularies"
            )


def _by_name(models: Models) -> dict[str, ModelSource]:
    if isinstance(models, Mapping):
        named = dict(models)
    else:
        listed = [models] if isinstance(models, HookedModel | str | os.PathLike) else list(models)
        names = [model.name if isinstance(model, HookedModel) else str(model) for model in listed]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelError(
                f"two models have the name {twice[0]!r}: give a dict with different names, {{'a': model, 'b': other}}"
            )
        named = dict(zip(names, listed, strict=True))
    if not named:
        raise ModelError("models must hold at least one model, got none")
    return named
