"""The control: the same session with MKL made to use AVX-512, which by itself it does on Intel's processors only.

A speed-up that comes from oneDNN's AVX-512 kernels must not be mistaken for one that comes from promptscope's method:
in the control session the baselines use AVX-512 too. MKL calls one function that tells whether the processor is
Intel's; a small library that is loaded before MKL replaces this function by one that always answers yes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Results
from promptscope.files import read_json

_SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


def run_control(arguments: Sequence[str], folder: Path) -> Results | str:
    """Run `python -m benchmarks` with *arguments* in another process; return its results, or why it was not run."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        return "not run: needs Linux and a C compiler"
    source, library, out = folder / "shim.c", folder / "shim.so", folder / "control.json"
    source.write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    command = [sys.executable, "-m", "benchmarks", *arguments, "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, "LD_PRELOAD": preload}, check=False)
    if not out.is_file():
        return f"not run: the process ended with code {done.returncode} and left no results"
    return Results.from_json(read_json(out))
