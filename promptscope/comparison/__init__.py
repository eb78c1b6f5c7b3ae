"""Prompts from anywhere, compared: with no model at hand, or with one."""

from promptscope.comparison.compare import PromptComparison, compare_prompts
from promptscope.comparison.files import read_vectors
from promptscope.comparison.vectors import PromptVectors

__all__ = ["PromptComparison", "PromptVectors", "compare_prompts", "read_vectors"]
