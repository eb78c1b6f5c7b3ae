"""Soft prompts: from parameters to vectors, and from vectors to hooks or a prefix cache."""

from promptscope.prompts import initialisation as init
from promptscope.prompts import reparameterisation as reparameterise
from promptscope.prompts.deep import DeepPrompt
from promptscope.prompts.norms import prompt_norms
from promptscope.prompts.peft_io import write_peft
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.random_like import random_like
from promptscope.prompts.saving import OtherWeightsWarning, load_prompt, register_prompt, versions
from promptscope.prompts.soft import SoftPrompt
from promptscope.prompts.tensors import read_torch
from promptscope.prompts.wayward import WaywardPrompt

__all__ = [
    "DeepPrompt",
    "OtherWeightsWarning",
    "Prompt",
    "SoftPrompt",
    "WaywardPrompt",
    "init",
    "load_prompt",
    "prompt_norms",
    "random_like",
    "read_torch",
    "register_prompt",
    "reparameterise",
    "versions",
    "write_peft",
]
