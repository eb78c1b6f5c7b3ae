"""The amount of messages that a command writes to stderr."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

LogLevel = Literal["error", "warning", "info", "debug"]
# The libraries are imported when a command runs, and read these then.
_SILENT = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@contextmanager
def logging_at(level: LogLevel) -> Iterator[None]:
    """Set the amount of messages within a `with` block.

    `error` hides progress bars and warnings, `warning` is the default and changes nothing, and `info` and `debug` add
    the log messages of libraries.
    """
    if level == "warning":
        yield
        return
    before = dict(os.environ)
    handler = logging.StreamHandler(sys.stderr)
    root, root_level = logging.getLogger(), logging.getLogger().level
    try:
        os.environ["TRANSFORMERS_VERBOSITY"] = level
        os.environ.update(_SILENT if level == "error" else {})
        root.addHandler(handler)
        root.setLevel(level.upper())
        with warnings.catch_warnings():
            if level == "error":
                warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(root_level)
        os.environ.clear()
        os.environ.update(before)
