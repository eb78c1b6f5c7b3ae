"""Hooked models: one table of hook points over all supported families."""

from promptscope.models.architectures import supported_architectures
from promptscope.models.attached import Hook
from promptscope.models.caching import PromptCache
from promptscope.models.families import Attention, Family, HookPoint
from promptscope.models.hooked import HookedModel, PromptLike, Via
from promptscope.models.loading import EMBEDDED_MODELS, Backend, load_model
from promptscope.models.nnsight_table import backend_table
from promptscope.models.placement import KeysValues, Placement
from promptscope.models.placement_hooks import hooks_of
from promptscope.models.placement_prefix import prefix_of
from promptscope.models.prefix import Prefix, rotate
from promptscope.models.shape import ModelShape

__all__ = [
    "EMBEDDED_MODELS",
    "Attention",
    "Backend",
    "Family",
    "Hook",
    "HookPoint",
    "HookedModel",
    "KeysValues",
    "ModelShape",
    "Placement",
    "Prefix",
    "PromptCache",
    "PromptLike",
    "Via",
    "backend_table",
    "hooks_of",
    "load_model",
    "prefix_of",
    "rotate",
    "supported_architectures",
]
