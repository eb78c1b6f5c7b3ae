"""Progress bars, all made here, so that one rule says when they are drawn."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


class _Bar(tqdm):
    """A bar that leaves one line: tqdm writes the last state of a lower bar further up, and its line stays as well."""

    def close(self) -> None:
        """Give up the line of a bar below another one, of another thread, before the last state is written."""
        with self.get_lock():
            if not self.disable and self.pos:
                self.clear()
            super().close()


def progress_bar(items: Iterable[Any] | None = None, *, shown: bool, **options: Any) -> tqdm:
    """Return tqdm's bar; it is drawn where *shown* is True and the environment does not set `TQDM_DISABLE`.

    >>> sum(progress_bar([1, 2, 3], shown=False))
    6
    """
    return _Bar(items, disable=not shown or bool(os.environ.get("TQDM_DISABLE")), **options)
