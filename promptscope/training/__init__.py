"""Training: task + prompt + model -> run; grids of runs."""

from promptscope.training.baselines import BASELINES, Baseline, train_baseline
from promptscope.training.config import TrainConfig
from promptscope.training.grid import GridRun, train_grid
from promptscope.training.jobs import ManyRuns, RunConfig, train_many
from promptscope.training.multi_model import train_across
from promptscope.training.run import Run
from promptscope.training.train import train

__all__ = [
    "BASELINES",
    "Baseline",
    "GridRun",
    "ManyRuns",
    "Run",
    "RunConfig",
    "TrainConfig",
    "train",
    "train_across",
    "train_baseline",
    "train_grid",
    "train_many",
]
