"""Interventions on a prompt's tokens: change some of them, and measure which of them a model needs."""

from promptscope.interventions.ablation import cut, mean, mix, remove, zero
from promptscope.interventions.importance import HOWS, importance
from promptscope.interventions.result import MEASURES, Importance
from promptscope.interventions.shapley import shapley
from promptscope.prompts.edited import EditedPrompt

__all__ = [
    "HOWS",
    "MEASURES",
    "EditedPrompt",
    "Importance",
    "cut",
    "importance",
    "mean",
    "mix",
    "remove",
    "shapley",
    "zero",
]
