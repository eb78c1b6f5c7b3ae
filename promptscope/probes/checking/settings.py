"""Process-wide settings that a probe must not change: how to read each one, and how to restore it."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from promptscope.probes.registry import PROBES


def _set_environment(was: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(was)


def _set_filters(was: list[Any]) -> None:
    warnings.filters[:] = was  # type: ignore[index]


def _levels() -> dict[str, int]:
    loggers = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {name: one.level for name, one in {"root": logging.root, **loggers}.items() if one.level}


def _set_levels(was: dict[str, int]) -> None:
    for name in _levels().keys() | was.keys():
        (logging.root if name == "root" else logging.getLogger(name)).setLevel(was.get(name, logging.NOTSET))


def _functions() -> dict[str, Any]:
    return {name: value for name, value in vars(torch.nn.functional).items() if callable(value)}


def _set_functions(was: dict[str, Any]) -> None:
    vars(torch.nn.functional).update(was)


def _switches() -> dict[str, Any]:
    return {
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.enabled": torch.backends.cudnn.enabled,
        "mkldnn.enabled": torch.backends.mkldnn.enabled,
        "flash attention": torch.backends.cuda.flash_sdp_enabled(),
        "memory-efficient attention": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "plain attention": torch.backends.cuda.math_sdp_enabled(),
    }


def _set_switches(was: dict[str, Any]) -> None:
    torch.backends.cuda.enable_flash_sdp(was["flash attention"])
    torch.backends.cuda.enable_mem_efficient_sdp(was["memory-efficient attention"])
    torch.backends.cuda.enable_math_sdp(was["plain attention"])
    for path in [path for path in was if "." in path]:
        home: Any = torch.backends
        *parents, last = path.split(".")
        for part in parents:
            home = getattr(home, part)
        setattr(home, last, was[path])


def _threads() -> list[str]:
    # tqdm starts one of its own at the first bar, which is nobody's fault.
    return sorted(thread.name for thread in threading.enumerate() if not type(thread).__module__.startswith("tqdm"))


def _set_probes(was: tuple[str, ...]) -> None:
    for name in set(PROBES.registered()) - set(was):
        PROBES.remove(name)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch default device": (lambda: str(torch.empty(0).device), torch.set_default_device),
    "torch gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch threads": (torch.get_num_threads, torch.set_num_threads),
    "torch deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.backends": (_switches, _set_switches),
    "torch.nn.functional": (_functions, _set_functions),
    "numpy errors": (np.geterr, lambda was: np.seterr(**was)),
    "numpy printing": (np.get_printoptions, lambda was: np.set_printoptions(**was)),
    "environment": (lambda: dict(os.environ), _set_environment),
    "working directory": (os.getcwd, os.chdir),
    "sys.path": (lambda: list(sys.path), lambda was: sys.path.__setitem__(slice(None), was)),
    "sys.stdout": (lambda: sys.stdout, lambda was: setattr(sys, "stdout", was)),
    "sys.stderr": (lambda: sys.stderr, lambda was: setattr(sys, "stderr", was)),
    "warning filters": (lambda: list(warnings.filters), _set_filters),
    "logging levels": (_levels, _set_levels),
    "garbage collection": (gc.isenabled, lambda was: gc.enable() if was else gc.disable()),
    "running threads": (_threads, lambda was: None),  # nobody can end another's thread
    "registered probes": (lambda: tuple(PROBES.registered()), _set_probes),
}
"""Name -> how to read it, and how to restore it."""
