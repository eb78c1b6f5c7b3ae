"""Shell completion of names of tasks, models and probes; it is fast, since torch is not imported.

Where no name fits, the shell completes paths.
"""

import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1]
# Written out, because the modules that define them import torch; tests/cli/test_completion.py compares.
PROBES = (
    "attention_bias",
    "attention_kl",
    "attention_mass",
    "attention_variability",
    "label_cosine",
    "neuron_states",
    "residual_pca",
)
PARTS = ("answers", "tokens", "layers", "routes", "direction", "words", "readings", "neurons")
MODELS = ("embedded-causal", "embedded-seq2seq", *(f"embedded-masked-{seed}" for seed in range(5)))


def tasks(incomplete: str) -> list[str]:
    """Complete the name of a task.

    >>> tasks("capital")
    ['capital_en', 'capital_ko']
    """
    inside = [path.parent.name for path in (PACKAGE / "tasks" / "data").rglob("META.json")]
    return _begin(sorted([*inside, *_alone(PACKAGE / "tasks" / "known.py").KNOWN]), incomplete)


def models(incomplete: str) -> list[str]:
    """Complete the name of an embedded model; other models are paths or Hub names."""
    return _begin(MODELS, incomplete)


def probes(incomplete: str) -> list[str]:
    """Complete the last name of a comma-separated list of probes, with those of installed packages.

    >>> probes("attention_kl,lab")
    ['attention_kl,label_cosine']
    """
    return _last([*PROBES, *sorted(one.name for one in entry_points(group="promptscope.probes"))], incomplete)


def parts(incomplete: str) -> list[str]:
    """Complete the last name of a comma-separated list of parts of an account."""
    return _last(PARTS, incomplete)


def inits(incomplete: str) -> list[str]:
    """Complete the name of an initialisation."""
    return _begin(("uniform", "vocab", "vocab:", "text:", "labels", "labels:", "prompt:"), incomplete)


def splits(incomplete: str) -> list[str]:
    """Complete the name of a split."""
    return _begin(("train", "validation", "test"), incomplete)


def prompts(incomplete: str) -> list[str]:
    """Complete `last`, `best` or `none`, a prompt of a run."""
    return _begin(("last", "best", "none"), incomplete)


def trained_prompts(incomplete: str) -> list[str]:
    """Complete `last` or `best`, a prompt of a run."""
    return _begin(("last", "best"), incomplete)


def dtypes(incomplete: str) -> list[str]:
    """Complete the name of a dtype."""
    return _begin(("float32", "bfloat16", "float16", "float64"), incomplete)


def _begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _last(names: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in _begin(names, last) if name not in given]


def _alone(path: Path) -> ModuleType:
    """Import a file without its package, so that torch is not imported."""
    spec = importlib.util.spec_from_file_location(f"_completion_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
