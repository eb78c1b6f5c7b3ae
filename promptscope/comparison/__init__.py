"""Comparison of prompts from any source, with or without a model."""

from promptscope.comparison.compare import PromptComparison, compare_prompts
from promptscope.comparison.files import read_vectors
from promptscope.comparison.vectors import PromptVectors

__all__ = ["PromptComparison", "PromptVectors", "compare_prompts", "read_vectors"]
