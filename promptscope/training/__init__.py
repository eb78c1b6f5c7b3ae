"""Training: task + prompt + model -> run; evaluation, verbalizer scoring and generation."""

from promptscope.training.config import TrainConfig
from promptscope.training.evaluate import evaluate, predict
from promptscope.training.generate import generate
from promptscope.training.grid import GridRun, train_grid
from promptscope.training.jobs import ManyRuns, RunConfig, train_many
from promptscope.training.multi_model import train_across
from promptscope.training.run import Run
from promptscope.training.scoring import score_labels
from promptscope.training.train import train

__all__ = [
    "GridRun",
    "ManyRuns",
    "Run",
    "RunConfig",
    "TrainConfig",
    "evaluate",
    "generate",
    "predict",
    "score_labels",
    "train",
    "train_across",
    "train_grid",
    "train_many",
]
