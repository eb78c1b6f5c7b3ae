"""Causal analysis of a prompt: how it changes the answers, and through which parts of the model."""

from promptscope.causal.attribution import attribution_patch, patch_error
from promptscope.causal.carriers import Carriers, carriers
from promptscope.causal.components import Component, components
from promptscope.causal.cuts import cut_layers
from promptscope.causal.effect import PromptEffect, answers, effect
from promptscope.causal.faithfulness import faithfulness, hard_prompt, text_prompt
from promptscope.causal.inputs import Answers, Inputs, make_inputs
from promptscope.causal.patching import patch
from promptscope.causal.running import Condition
from promptscope.causal.shifts import Shifts, shift
from promptscope.causal.skill_neurons import SkillNeurons, skill_neurons
from promptscope.causal.swaps import swap_layers
from promptscope.causal.tokens import keep_tokens, token_attribution
from promptscope.causal.words import WordsComparison, compare_with_words, few_shot_prompt

__all__ = [
    "Answers",
    "Carriers",
    "Component",
    "Condition",
    "Inputs",
    "PromptEffect",
    "Shifts",
    "SkillNeurons",
    "WordsComparison",
    "answers",
    "attribution_patch",
    "carriers",
    "compare_with_words",
    "components",
    "cut_layers",
    "effect",
    "faithfulness",
    "few_shot_prompt",
    "hard_prompt",
    "keep_tokens",
    "make_inputs",
    "patch",
    "patch_error",
    "shift",
    "skill_neurons",
    "swap_layers",
    "text_prompt",
    "token_attribution",
]
