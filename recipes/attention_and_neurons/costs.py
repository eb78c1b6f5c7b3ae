"""What a results folder has cost so far: time and memory of every call that filled it."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptscope.files import write_text


@contextmanager
def counted(out: Path) -> Iterator[None]:
    """Add a line to `calls.jsonl` when the block ends, however it ends: seconds, seconds of CPU, peak memory in MB."""
    start, cpu = time.time(), time.process_time()
    try:
        yield
    finally:
        call = {
            "seconds": round(time.time() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        }
        path = out / "calls.jsonl"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        write_text(path, before + json.dumps(call) + "\n")


def total(out: Path) -> dict[str, float]:
    """Return the sums of the seconds and the largest memory of all calls so far; nothing before the first has ended."""
    path = out / "calls.jsonl"
    calls = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    if not calls:
        return {}
    sums = {name: round(sum(call[name] for call in calls), 3) for name in ("seconds", "cpu_seconds")}
    return {"calls": len(calls), **sums, "peak_mb": max(call["peak_mb"] for call in calls)}
