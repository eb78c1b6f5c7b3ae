"""One thread at a time runs a model: what decides how it runs (hooks, config, kernels) belongs to the model."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptscope.errors import ModelError


class Turns:
    """The lock of a model, and which thread has hooks of its own attached to it.

    A forked process starts with a lock of its own: that of its parent may be held by a thread that it does not have.
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
        """Wait for the turn of this thread at model *name*.

        Raises:
            ModelError: another thread has hooks attached, which would act here too.
        """
        self._begin()
        with self._lock:
            if self._owner not in (None, threading.get_ident()):
                raise ModelError(
                    f"another thread has hooks attached to {name!r} (`with model.hooks(...)`), and they would act on "
                    "this call too: give hooks=[...] to the calls themselves, which take turns, or load a model for "
                    "each thread"
                )
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """Let nobody but this thread run model *name* until the block ends."""
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
