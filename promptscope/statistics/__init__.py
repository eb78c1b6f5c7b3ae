"""Pure functions on arrays; nothing here knows of models, prompts or files."""

from promptscope.statistics.attention_kl import (
    ZERO,
    kl_of_received,
    per_query_kl,
    received_attention,
)
from promptscope.statistics.bootstrap import bootstrap_interval, mean_interval
from promptscope.statistics.jackknife import GroupedMean, jackknife_interval, random_groups
from promptscope.statistics.permutation import paired_permutation_test, permutation_null
from promptscope.statistics.variability import (
    attention_variability,
    variability_ratio,
    variability_sums,
)

__all__ = [
    "ZERO",
    "GroupedMean",
    "attention_variability",
    "bootstrap_interval",
    "jackknife_interval",
    "kl_of_received",
    "mean_interval",
    "paired_permutation_test",
    "per_query_kl",
    "permutation_null",
    "random_groups",
    "received_attention",
    "variability_ratio",
    "variability_sums",
]
