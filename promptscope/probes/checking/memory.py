"""How much memory is held by tensors, arrays and Python objects made since some moment."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_NUMPY = 389047  # the domain under which NumPy reports its arrays to tracemalloc
_MUCH = 32 * 2**20


@contextmanager
def watching() -> Iterator[None]:
    """Let `held_bytes` count what is made inside this `with` block."""
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


def held_bytes() -> tuple[int, int, int]:
    """Return the bytes held of what was made since `watching` began: tensors, arrays, and everything but tensors."""
    gc.collect()
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided and thing.device.type != "meta":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    total = tracemalloc.get_traced_memory()[0]
    arrays = 0
    if total < _MUCH:  # looking through a million objects takes minutes, and so many are noticed by their total
        arrays = sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.domain == _NUMPY)
    return sum(storages.values()), arrays, total
