"""Progress bars; all of them are made here, so that one rule decides when they are drawn."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


class _Bar(tqdm):
    """A tqdm bar that leaves one line on the screen when it ends, also when several threads have bars."""

    def close(self) -> None:
        """Clear the line of a bar that is drawn below another thread's bar, then write its last state."""
        if not hasattr(self, "pos"):  # Ctrl-C came while it was made
            return
        with self.get_lock():
            if not self.disable and self.pos:
                self.clear()
            super().close()


def progress_bar(items: Iterable[Any] | None = None, *, shown: bool, **options: Any) -> tqdm:
    """Return a tqdm bar over *items*; it is drawn if *shown* is True and the variable `TQDM_DISABLE` is not set.

    >>> sum(progress_bar([1, 2, 3], shown=False))
    6
    """
    return _Bar(items, disable=not shown or bool(os.environ.get("TQDM_DISABLE")), **options)
