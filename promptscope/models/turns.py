"""A lock that lets one thread at a time run a model, since hooks, config and kernels belong to the model."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from promptscope.errors import ModelError
from promptscope.undo import undoing


class Turns:
    """The lock of a model, and the thread that has attached hooks to it.

    A forked process makes a new lock, since the parent's may be held by a thread that does not exist in it.
    """

    def __init__(self) -> None:
        self._pid = -1
        self._begin()

    def _begin(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._lock, self.depth = os.getpid(), threading.RLock(), 0
            self._owner: int | None = None
            self._owned = 0

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Wait until no other thread runs the model *name*, and hold its lock within the `with` block.

        Raises:
            ModelError: another thread has hooks attached, which would act in this thread's calls too.
        """
        self._begin()
        with self._lock:
            if self._owner not in (None, threading.get_ident()):
                raise ModelError(
                    f"another thread has hooks attached to {name!r} (`with model.hooks(...)`), which would act on this "
                    "call too: pass hooks=[...] to the calls instead, or load a model for each thread"
                )
            with undoing(partial(setattr, self, "depth", self.depth)):
                self.depth += 1
                yield

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """Let only this thread run the model *name* within the `with` block."""
        with self.take(name):
            self._owner, self._owned = threading.get_ident(), self._owned + 1
        try:
            yield
        finally:
            with self._lock:
                self._owned -= 1
                if not self._owned:
                    self._owner = None

    def __deepcopy__(self, memo: Any) -> "Turns":
        return Turns()

    def __reduce__(self) -> Any:
        return Turns, ()
