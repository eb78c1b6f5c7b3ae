"""Peak memory of a run, above what the process held before it."""

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mb(run: Callable[[], Any], device: str) -> tuple[Any, float | None]:
    """Return what *run* returns and its peak memory in MB, None if the system does not report it."""
    gc.collect(1)  # frees what the last run left; a full collection would take longer than a small run
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        return result, (torch.cuda.max_memory_allocated() - before) / 1e6
    _give_back_free_memory()
    resident = _status_mb("VmRSS")
    try:
        _CLEAR.write_text("5")  # resets the peak
    except OSError:
        return run(), None
    result = run()
    peak = _status_mb("VmHWM")
    return result, None if peak is None or resident is None else max(0.0, peak - resident)


def process_peak_mb() -> float:
    """Return the largest resident memory of this process since it started (or since `peak_mb` last reset it), in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _give_back_free_memory() -> None:
    # Memory that an earlier run has freed but the allocator still holds would hide a peak.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_mb(field: str) -> float | None:
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
