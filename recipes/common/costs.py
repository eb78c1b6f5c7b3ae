"""What a results folder has cost so far, and on which machine."""

import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptscope.files import writable

_begun: dict[Path, tuple[float, float]] = {}
"""Folders that are being filled: when by the clock and by the CPU's time their call began."""


@contextmanager
def counted(out: Path) -> Iterator[None]:
    """Add a line to `calls.jsonl` when the block ends, however it ends: seconds, seconds of CPU, peak memory in MB."""
    _begun[out] = time.time(), time.process_time()
    try:
        yield
    finally:
        call = _call(*_begun.pop(out))
        if out.is_dir():  # a call that was refused before it wrote anything leaves no folder
            # One write at the end of the file, wherever it is by then: another process may add its own line.
            with writable(out / "calls.jsonl"):
                # The empty line keeps it apart from a line before it that was cut off.
                file = os.open(out / "calls.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                try:
                    os.write(file, f"\n{json.dumps(call)}\n".encode())
                finally:
                    os.close(file)


def total(out: Path) -> dict[str, float]:
    """Return the sums of the seconds and the largest memory of all calls, including the running one so far.

    Lines that cannot be read are left out, and the user is told.
    """
    path = out / "calls.jsonl"
    lines = [line for line in path.read_bytes().splitlines() if line] if path.is_file() else []
    calls = [call for line in lines if (call := _read(line)) is not None]
    if len(calls) < len(lines):
        print(f"{path}: {len(lines) - len(calls)} lines are damaged, so the sums of the costs are too low", flush=True)
    calls += [_call(*_begun[out])] if out in _begun else []
    if not calls:
        return {}
    sums = {name: round(sum(call[name] for call in calls), 3) for name in ("seconds", "cpu_seconds")}
    return {"calls": len(calls), **sums, "peak_mb": round(max(call["peak_mb"] for call in calls))}


def peak_memory_mb() -> int:
    """Return the most memory that this process had, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def hardware() -> dict[str, Any]:
    """Return what the numbers were made on."""
    import torch  # this import takes seconds, and `--help` does not need it

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}


def cost(out: Path) -> dict[str, Any]:
    """Return what `results.json` says about time, memory and machine."""
    return {"cost": total(out), "hardware": hardware()}


def _read(line: bytes) -> dict[str, float] | None:
    try:
        call = json.loads(line)
        numbers = {name: float(call[name]) for name in ("seconds", "cpu_seconds", "peak_mb")}
        return numbers if all(map(math.isfinite, numbers.values())) else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _call(start: float, cpu: float) -> dict[str, float]:
    return {
        "seconds": round(time.time() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_mb": peak_memory_mb(),
    }
