"""Interventions: what a model does when the tokens of its prompt are changed, and which of them it needs."""

from promptscope.interventions.ablation import mean, remove, zero
from promptscope.interventions.cut import CutPrompt, cut
from promptscope.interventions.importance import HOWS, importance
from promptscope.interventions.mixing import mix
from promptscope.interventions.result import MEASURES, Importance, load_importance
from promptscope.interventions.shapley import shapley

__all__ = [
    "HOWS",
    "MEASURES",
    "CutPrompt",
    "Importance",
    "cut",
    "importance",
    "load_importance",
    "mean",
    "mix",
    "remove",
    "shapley",
    "zero",
]
