"""How much a command says on stderr while it works."""

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
    """Say as much as *level* asks for: `error` leaves out bars and warnings; `info` and `debug` add what libraries log.

    `warning` is how a command runs without the option: nothing is changed.
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
