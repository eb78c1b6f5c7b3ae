"""Several models that share one prompt: of one width and one tokenizer, in memory or loaded in turn."""

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from promptscope.errors import ModelError
from promptscope.files import content_hash
from promptscope.models import Hook, HookedModel, load_model

T = TypeVar("T")
ModelSource = HookedModel | str | os.PathLike[str]
"""A loaded model, or what `ps.load_model` takes."""
Models = ModelSource | Sequence[ModelSource] | Mapping[str, ModelSource]


class ModelSet:
    """M models by name; one that is given by its name is loaded for each `map`, and let go after.

    That costs the time of reading its weights each time, and never the memory of more than one such model.

    Raises:
        ModelError: no model, two of one name, or models of different widths or tokenizers (those that are loaded at
            once, the others when it is their turn).

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
        """Return what *work* returns for each model under the set's hooks, one after the other."""
        return {name: self._with(name, source, work) for name, source in self.sources.items()}

    def keep_first(self) -> HookedModel:
        """Return the first model; if it was given by its name, it stays in memory from now on."""
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
        """Names of the models, in order."""
        return list(self.sources)

    def _check(self, name: str, model: HookedModel) -> None:
        if name in self._seen:
            return
        self._seen[name] = (model.shape.d_model, content_hash(model.tokenizer.get_vocab()))
        widths, vocabularies = zip(*self._seen.values(), strict=True)
        each = ", ".join(f"{name!r}: {width}" for name, (width, _) in self._seen.items())
        if len(set(widths)) > 1:
            raise ModelError(f"one prompt needs models of one width, and these have d_model {each}")
        if len(set(vocabularies)) > 1:
            first, last = next(iter(self._seen)), name
            raise ModelError(
                f"one prompt needs models of one tokenizer, and the vocabulary of {last!r} is not that of {first!r} "
                f"(d_model {each}): their token ids mean different words"
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
                f"two models have the name {twice[0]!r}: give a dict, {{'a name': model, 'another': other}}"
            )
        named = dict(zip(names, listed, strict=True))
    if not named:
        raise ModelError("expected at least one model, got none")
    return named
