"""Running tasks through models: batches, label scores, greedy text, metrics. Nothing is trained here."""

from promptscope.inference.evaluate import evaluate, predict
from promptscope.inference.generate import generate
from promptscope.inference.model_set import Models, ModelSet
from promptscope.inference.scoring import score_labels

__all__ = ["ModelSet", "Models", "evaluate", "generate", "predict", "score_labels"]
