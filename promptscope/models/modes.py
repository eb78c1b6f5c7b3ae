"""Model passes that do not depend on the global modes of PyTorch (inference mode, autocast, default device)."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from promptscope.undo import undoing


@contextmanager
def own_modes() -> Iterator[None]:
    """Suspend the caller's global PyTorch modes within a `with` block; gradients stay enabled or disabled.

    Suspended are `torch.inference_mode` (its tensors could never be trained, but prompts and packed weights outlive
    the caller's block), `torch.autocast` and `torch.set_float32_matmul_precision` (a model runs in the dtype chosen
    when it was loaded), and a default device other than the CPU.
    """
    learns = torch.is_grad_enabled()
    modes = ExitStack()
    with undoing(modes.close):  # so that a block which an interrupt leaves open changes no mode when it is forgotten
        # Only where it is on: an interrupt in its exit would leave a guard that sets modes when it is forgotten.
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.set_grad_enabled(learns))  # inference_mode(False) switches them on
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":  # torch.get_default_device fails in 2.6 after a device was unset
            modes.enter_context(torch.device("cpu"))
        modes.enter_context(_PRODUCTS.exact())
        yield


class _Products:
    """Counts users of exact float32 matrix products, a setting of the process, and restores it after the last one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._wanted: set[object] = set()
        self._before: list[tuple[Any, str, Any]] = []

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Compute matrix products in exact float32 within a `with` block."""
        me = object()
        with undoing(partial(self._leave, me)):
            with self._lock:
                if not self._wanted:
                    self._before = [(place, name, getattr(place, name)) for place, name, _ in _settings()]
                self._wanted.add(me)
                for place, name, exact in _settings():
                    if getattr(place, name) != exact:
                        setattr(place, name, exact)
            yield

    def _leave(self, one: object) -> None:
        with self._lock:
            self._wanted.discard(one)
            if not self._wanted:
                for place, name, value in self._before:
                    if getattr(place, name) != value:
                        setattr(place, name, value)


def _settings() -> list[tuple[Any, str, Any]]:
    """Return the PyTorch settings for the precision of float32 products: object, attribute, and value for float32."""
    if hasattr(torch.backends.mkldnn, "matmul"):  # since PyTorch 2.9
        return [(place.matmul, "fp32_precision", "ieee") for place in (torch.backends.cuda, torch.backends.mkldnn)]
    return [(_Legacy, "precision", "highest")]


class _LegacySetting:
    @property
    def precision(self) -> str:
        return torch.get_float32_matmul_precision()

    @precision.setter
    def precision(self, value: str) -> None:
        torch.set_float32_matmul_precision(value)


_Legacy = _LegacySetting()
_PRODUCTS = _Products()
