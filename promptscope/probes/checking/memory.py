"""How much is held in tensors and arrays that were made since a certain moment."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_NUMPY = 389047  # the domain under which NumPy reports its arrays to tracemalloc


@contextmanager
def watching() -> Iterator[None]:
    """Let `held_bytes` count, in a `with` block, what is made inside it."""
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    gc.collect()
    gc.freeze()  # what exists already is not looked at: looking through a million objects takes seconds
    try:
        yield
    finally:
        gc.unfreeze()
        if ours:
            tracemalloc.stop()


def held_bytes() -> int:
    """Return the bytes of live tensors, storages counted once, and of arrays, made since `watching` began."""
    gc.collect()
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided and thing.device.type != "meta":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    arrays = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, _NUMPY)])
    return sum(storages.values()) + sum(trace.size for trace in arrays.traces)
