"""Training of prompts on tasks: single runs, grids of runs, and baselines."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptscope.training.baselines import BASELINES, Baseline, train_baseline
    from promptscope.training.config import TrainConfig
    from promptscope.training.gradient import accumulate_gradient, accumulate_gradients
    from promptscope.training.grid import GridRun, train_grid
    from promptscope.training.jobs import ManyRuns, RunConfig, train_many
    from promptscope.training.multi_model import train_across
    from promptscope.training.run import Run, load_run
    from promptscope.training.single import train

# The same table for Python: the command line makes its options of TrainConfig, and `--help` must not wait for torch.
_HOMES = {
    "baselines": "BASELINES Baseline train_baseline",
    "config": "TrainConfig",
    "gradient": "accumulate_gradient accumulate_gradients",
    "grid": "GridRun train_grid",
    "jobs": "ManyRuns RunConfig train_many",
    "multi_model": "train_across",
    "run": "Run load_run",
    "single": "train",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "BASELINES",
    "Baseline",
    "GridRun",
    "ManyRuns",
    "Run",
    "RunConfig",
    "TrainConfig",
    "accumulate_gradient",
    "accumulate_gradients",
    "load_run",
    "train",
    "train_across",
    "train_baseline",
    "train_grid",
    "train_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'promptscope.training' has no attribute {name!r}")
    value = getattr(import_module(f"promptscope.training.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
