"""Progress bars, all made here, so that one rule says when they are drawn."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def progress_bar(items: Iterable[Any] | None = None, *, shown: bool, **options: Any) -> tqdm:
    """Return tqdm's bar; it is drawn where *shown* is True and the environment does not set `TQDM_DISABLE`.

    >>> sum(progress_bar([1, 2, 3], shown=False))
    6
    """
    return tqdm(items, disable=not shown or bool(os.environ.get("TQDM_DISABLE")), **options)
