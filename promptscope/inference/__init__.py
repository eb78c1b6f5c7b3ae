"""Inference: batches, scores of labels, greedy generation, and metrics of tasks."""

from promptscope.inference.batches import batches, encode_split
from promptscope.inference.evaluate import evaluate, predict
from promptscope.inference.generate import generate
from promptscope.inference.model_set import Models, ModelSet, ModelSource
from promptscope.inference.scoring import score_labels
from promptscope.inference.targets import target_logits, target_losses

__all__ = [
    "ModelSet",
    "ModelSource",
    "Models",
    "batches",
    "encode_split",
    "evaluate",
    "generate",
    "predict",
    "score_labels",
    "target_logits",
    "target_losses",
]
