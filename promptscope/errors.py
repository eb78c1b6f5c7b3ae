"""Exceptions and warnings; each message says what was expected, what was given, and what to do."""

import difflib
from collections.abc import Iterable, Mapping


class PromptscopeError(Exception):
    """Base class of all exceptions that promptscope raises on purpose.

    >>> import promptscope as ps
    >>> try:
    ...     ps.load_task("continent_fr")
    ... except ps.PromptscopeError as error:
    ...     print(type(error).__name__)
    TaskError
    """


class ArgumentError(PromptscopeError, ValueError):
    """An argument has another type, shape or length than the function takes, or is not finite; also a ValueError.

    >>> import promptscope as ps
    >>> import numpy as np
    >>> ps.statistics.effective_rank(np.full((3, 3), np.nan))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    promptscope.errors.ArgumentError: effective_rank: ...
    """


class FileError(PromptscopeError, OSError):
    """A file or folder cannot be written: no space left, no rights, a read-only disk, a file where a folder should be.

    >>> import promptscope as ps
    >>> issubclass(ps.FileError, OSError)
    True
    """

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class ModelError(PromptscopeError):
    """A model cannot be loaded, fails its self-test, or is given inputs or hooks that do not fit it.

    >>> import promptscope as ps
    >>> ps.load_model("embedded-casual")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    promptscope.errors.ModelError: no embedded model 'embedded-casual'. Did you mean 'embedded-causal'? Known: ...
    """


class CheckpointWarning(UserWarning):
    """A checkpoint was saved with another head than a language model's, and holds all weights of the language model.

    `load_model` gives this warning and loads the language model; the weights of the other head are left out.

    >>> import promptscope as ps
    >>> issubclass(ps.CheckpointWarning, UserWarning)
    True
    """


class NoChecksumWarning(UserWarning):
    """The JSON file of a saved prompt, run or result has no checksum, so that later changes to it cannot be detected.

    Files of older versions and files written by hand have none. `warnings.simplefilter("error", ps.NoChecksumWarning)`
    makes loading such a folder an error.

    >>> import promptscope as ps
    >>> issubclass(ps.NoChecksumWarning, UserWarning)
    True
    """


class PromptError(PromptscopeError):
    """A prompt does not fit the model, or a saved prompt is damaged, was changed, or belongs to another model.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(0)
    Traceback (most recent call last):
    promptscope.errors.PromptError: a prompt needs a whole number of positions, at least one, got length=0
    """


class TaskError(PromptscopeError):
    """Records, template, verbalizer or metric do not fit together.

    >>> import promptscope as ps
    >>> ps.load_task("continent_fr")
    Traceback (most recent call last):
    promptscope.errors.TaskError: There is no task, file or folder called 'continent_fr'. Did you mean 'continent_ko'?
    """


class RunError(PromptscopeError):
    """A training run cannot be started, continued or read.

    >>> import promptscope as ps
    >>> ps.load_run("no/such/folder")
    Traceback (most recent call last):
    promptscope.errors.RunError: 'no/such/folder' is not a run: there is no such folder. Check the path.
    """


class GridError(RunError):
    """Some runs of a grid failed while the others finished; `failed` maps the name of a failed run to its error.

    >>> GridError("1 of 2 runs failed: ...", {"seed 1": RunError("the loss is NaN")}).failed
    {'seed 1': RunError('the loss is NaN')}
    """

    def __init__(self, message: str, failed: Mapping[str, RunError]) -> None:
        super().__init__(message)
        self.failed = dict(failed)


class StoreError(PromptscopeError):
    """An activation store is damaged or does not contain the capture that was asked for.

    >>> import promptscope as ps
    >>> ps.ActivationStore(ps.__file__)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    promptscope.errors.StoreError: the activation store ... must be a folder, or a path that does not exist yet, ...
    """


class ProbeError(PromptscopeError):
    """A probe cannot be computed on this model, task or prompt.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.probe(model, None, task, "attention_mas")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    promptscope.errors.ProbeError: there is no probe 'attention_mas'. Did you mean 'attention_mass'? There are: ...
    """


def shortened(text: str, length: int = 80) -> str:
    """Return *text*, cut after *length* characters with `...` if it is longer; for values quoted in messages.

    >>> shortened("a" * 100, 5)
    'aaaaa...'
    """
    return text if len(text) <= length else f"{text[:length]}..."


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the option closest to *name*, or an empty string if none is close.

    >>> nearest("sst3", ["sst2", "nsmc"])
    " Did you mean 'sst2'?"
    """
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
