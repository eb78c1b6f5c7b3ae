"""How much a process holds in tensors and arrays."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_NUMPY = 389047  # the domain under which NumPy reports its arrays to tracemalloc


@contextmanager
def watching_arrays() -> Iterator[None]:
    """Count arrays of NumPy that are made in a `with` block."""
    if tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held_bytes() -> int:
    """Return the bytes of all live tensors, storages counted once, and of the arrays made since `watching_arrays`."""
    gc.collect()
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided and thing.device.type != "meta":
            try:
                storage = thing.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
            except (RuntimeError, NotImplementedError):  # tensors without a storage
                continue
    arrays = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, _NUMPY)])
    return sum(storages.values()) + sum(trace.size for trace in arrays.traces)
