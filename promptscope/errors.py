"""Errors that say what was expected, what came, and what to do."""

import difflib
from collections.abc import Iterable, Mapping


class PromptscopeError(Exception):
    """Base of every error that promptscope raises on purpose."""


class ArgumentError(PromptscopeError, ValueError):
    """An argument is not what the function takes: another type, shape, length, or not a finite number."""


class ModelError(PromptscopeError):
    """A model cannot be loaded, or does not do what its hook-point table promises."""


class PromptError(PromptscopeError):
    """A prompt does not fit the model, or a prompt file cannot be trusted."""


class TaskError(PromptscopeError):
    """Records, template, verbalizer or metric do not fit together."""


class RunError(PromptscopeError):
    """A training run cannot start, go on or be read."""


class GridError(RunError):
    """Some runs of a grid failed and the others are finished: `failed` maps their names to their errors."""

    def __init__(self, message: str, failed: Mapping[str, RunError]) -> None:
        super().__init__(message)
        self.failed = dict(failed)


class StoreError(PromptscopeError):
    """An activation store is damaged or does not hold what was asked for."""


class ProbeError(PromptscopeError):
    """A probe cannot be computed on this model, task or prompt."""


def shortened(text: str, length: int = 80) -> str:
    """Return *text*, or its beginning: what was given may be a whole data set.

    >>> shortened("a" * 100, 5)
    'aaaaa...'
    """
    return text if len(text) <= length else f"{text[:length]}..."


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the option closest to *name*, or an empty string.

    >>> nearest("sst3", ["sst2", "nsmc"])
    " Did you mean 'sst2'?"
    """
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
