"""The causal account of a prompt: what it does to the answers, and what inside the model the effect goes through."""

from promptscope.causal.components import Component, components
from promptscope.causal.effect import PromptEffect, answers, effect
from promptscope.causal.inputs import Answers, Inputs, make_inputs
from promptscope.causal.patching import patch

__all__ = [
    "Answers",
    "Component",
    "Inputs",
    "PromptEffect",
    "answers",
    "components",
    "effect",
    "make_inputs",
    "patch",
]
