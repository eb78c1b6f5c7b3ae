"""Readings: decode a prompt into words (nearest tokens, logit lens, Patchscopes), and compare with random prompts."""

from promptscope.readings.comparison import compare_with_nulls
from promptscope.readings.describe import DescribePrompt
from promptscope.readings.logit_lens import LogitLens, read_logit_lens
from promptscope.readings.nearest import NearestTokens, read_nearest_tokens
from promptscope.readings.nulls import Nulls, Subject, subjects
from promptscope.readings.patchscope import Patchscope, read_patchscope
from promptscope.readings.residual import patch, prompt_residual
from promptscope.readings.scores import Score, class_rate, word_f1
from promptscope.readings.vocabulary import embedding_table, token_names

__all__ = [
    "DescribePrompt",
    "LogitLens",
    "NearestTokens",
    "Nulls",
    "Patchscope",
    "Score",
    "Subject",
    "class_rate",
    "compare_with_nulls",
    "embedding_table",
    "patch",
    "prompt_residual",
    "read_logit_lens",
    "read_nearest_tokens",
    "read_patchscope",
    "subjects",
    "token_names",
    "word_f1",
]
