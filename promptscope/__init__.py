"""promptscope: train soft prompts on frozen transformers and show what they do inside.

A prompt is a list of hooks, a probe is a list of hooks, both run over one hooked model, and what probes capture
lands in a store. Results are computed from the store and drawn from the results.
"""

from promptscope import prompts
from promptscope.errors import (
    ModelError,
    ProbeError,
    PromptError,
    PromptscopeError,
    RunError,
    StoreError,
    TaskError,
)
from promptscope.models import EMBEDDED_MODELS, HookedModel, load_model
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, init, load_prompt, write_peft
from promptscope.tasks import Task, Template, Verbalizer
from promptscope.training import Run, TrainConfig, evaluate, generate, predict, score_labels, train
