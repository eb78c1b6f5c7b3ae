"""Training: task + prompt + model -> run; evaluation, verbalizer scoring and generation."""

from promptscope.training.config import TrainConfig
from promptscope.training.evaluate import evaluate, predict
from promptscope.training.generate import generate
from promptscope.training.grid import GridRun, train_grid
from promptscope.training.run import Run
from promptscope.training.scoring import score_labels
from promptscope.training.train import train

__all__ = [
    "GridRun",
    "Run",
    "TrainConfig",
    "evaluate",
    "generate",
    "predict",
    "score_labels",
    "train",
    "train_grid",
]
