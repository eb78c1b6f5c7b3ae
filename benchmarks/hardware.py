"""The machine, the versions, and how fast the machine multiplies matrices."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.timing import clock_for

_VECTOR_FLAGS = ("fma", "avx", "amx", "asimd", "sve", "neon")
_ENVIRONMENT = ("LD_PRELOAD", "OMP_NUM_THREADS", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "ONEDNN_MAX_CPU_ISA")
_PACKAGES = ("promptscope", "torch", "transformers", "transformer-lens", "peft", "numpy")
_GEMM = (800, 576, 1536)  # rows, in, out: an FFN of SmolLM2 on a batch of the usual size of the cases


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect timings."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def describe(device: str) -> dict[str, Any]:
    """Return what a reader of the figures must know about the machine."""
    name, flags = _cpu()
    about: dict[str, Any] = {
        "device": device,
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_flags": flags,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "environment": {name: Path(os.environ[name]).name for name in _ENVIRONMENT if name in os.environ},
        "load_average": list(os.getloadavg()),
        "clock": "CUDA events" if device.startswith("cuda") else "CPU time of the process",
    }
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name(device)
        about["gpu_memory_gb"] = torch.cuda.get_device_properties(device).total_memory / 1e9
    return about


def gemm_gflops(device: str, seconds: float = 0.2) -> dict[str, float]:
    """Measure float32 GEMM rates in GFLOP/s: of `torch.nn.Linear`, and of oneDNN with a weight packed beforehand.

    Their ratio tells which instructions MKL uses: on a processor with AVX-512 the rates are close if MKL uses it, and
    oneDNN is about twice as fast if MKL does not.
    """
    rows, n_in, n_out = _GEMM
    x, weight = torch.randn(rows, n_in, device=device), torch.randn(n_out, n_in, device=device)
    rates = {"linear": _rate(lambda: linear(x, weight), device, seconds)}
    packed = _onednn_linear(x, weight) if device == "cpu" else None
    if packed is not None:
        rates["onednn_packed"] = _rate(packed, device, seconds)
    return rates


@torch.no_grad()
def _rate(run: Any, device: str, seconds: float) -> float:
    clock, rows_in_out = clock_for(device), 2 * _GEMM[0] * _GEMM[1] * _GEMM[2]
    times: list[float] = []
    run()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 5:
        times.append(clock(run)[1])
    return rows_in_out / min(times) / 1e9


def _onednn_linear(x: Tensor, weight: Tensor) -> Any:
    # Private operations of torch, which its compiler uses; only this control depends on them.
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def _cpu() -> tuple[str, list[str]]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine(), []
    fields = dict(
        (key.strip(), value.strip())
        for key, _, value in (line.partition(":") for line in info.read_text().split("\n\n")[0].splitlines())
    )
    flags = fields.get("flags", fields.get("Features", "")).split()
    name = fields.get("model name", platform.machine())
    return name, [flag for flag in flags if flag.startswith(_VECTOR_FLAGS)]
