"""Conversion of tensors, lists and float types that NumPy does not have (bfloat16, 8-bit floats) to NumPy arrays."""

from typing import Any

import numpy as np


def as_floats(value: Any) -> np.ndarray | None:
    """Return *value* as a float16, float32 or float64 array with the same numbers, or None if it is not made of floats.

    Taken are tensors (on any device, with or without gradient), NumPy arrays and nested lists of numbers. bfloat16 and
    8-bit floats become float32, which represents them exactly; floats longer than 64 bits become float64. An array or
    tensor of integers gives None, since it holds ids or counts; integers in a list are taken as numbers.

    >>> as_floats([[1, 2], [3, 4.5]]).dtype, as_floats(np.arange(3)) is None, as_floats(["a"]) is None
    (dtype('float64'), True, True)
    """
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "is_floating_point"):
        if not value.is_floating_point() or str(value.layout) != "torch.strided" or value.is_meta:
            return None
        held = ("torch.float16", "torch.float32", "torch.float64")
        return np.asarray((value if str(value.dtype) in held else value.float()).detach().cpu().numpy())
    if isinstance(value, list | tuple):
        return _of_list(value)
    if not hasattr(value, "dtype") or not hasattr(value, "__array__"):
        return None
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array if array.dtype.itemsize <= 8 and array.dtype.isnative else array.astype(np.float64)
    # Floats that another package adds to NumPy (bfloat16 and its like) have the kind of raw bytes, and a name.
    return array.astype(np.float32) if "float" in array.dtype.name else None


def _of_list(value: list[Any] | tuple[Any, ...]) -> np.ndarray | None:
    try:
        array = np.array([as_floats(one) if hasattr(one, "dtype") and one.ndim else one for one in value])
    except (ValueError, TypeError):  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" and array.size else None
