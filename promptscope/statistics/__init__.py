"""Pure functions on arrays; they know nothing of models, prompts or files."""

from promptscope.statistics.alignment import Alignment, agreement_null, alignment_test, mcnemar_test
from promptscope.statistics.attention_kl import (
    ZERO,
    kl_of_received,
    per_query_kl,
    received_attention,
)
from promptscope.statistics.bootstrap import bootstrap_interval, mean_interval
from promptscope.statistics.clustering import SilhouetteTest, silhouette, silhouette_test
from promptscope.statistics.concentration import Concentration, concentration_test, importance_concentration
from promptscope.statistics.correlation import grouped_pearson, layer_quarters
from promptscope.statistics.distances import Metric, distance_matrix
from promptscope.statistics.effect_shares import (
    MIN_EFFECT,
    Effect,
    effect_of,
    effect_share,
    hypergeometric_overlap,
    smallest_count,
)
from promptscope.statistics.group_distances import between_groups, group_mean_distances, mean_distance
from promptscope.statistics.jackknife import GroupedMean, jackknife_interval, random_groups
from promptscope.statistics.label_space import gold_and_other, label_cosines
from promptscope.statistics.mantel import MantelTest, mantel_test
from promptscope.statistics.matching import matching_test
from promptscope.statistics.nearest import nearest_vectors, own_nearest_distances, percentile_of
from promptscope.statistics.neighbourhoods import epsilon_neighbours, neighbour_counts_by_group, neighbours_alike
from promptscope.statistics.neuron_overlap import neuron_overlap, neuron_overlap_matrix
from promptscope.statistics.null_draws import p_value_of_draws
from promptscope.statistics.pca import principal_components
from promptscope.statistics.peaks import peak_and_trough_groups, peaks_and_troughs
from promptscope.statistics.permutation import paired_permutation_test, permutation_null
from promptscope.statistics.projections import Projection, pca_projection, tsne_projection, umap_projection
from promptscope.statistics.prompt_similarity import PromptSimilarities, prompt_similarities
from promptscope.statistics.shapley import MAX_EXACT, ShapleyValues, exact_shapley, sampled_shapley
from promptscope.statistics.space_vote import nearest_in_spaces, neighbour_vote
from promptscope.statistics.spectrum import effective_rank
from promptscope.statistics.token_importance import (
    assign_tokens,
    importance_difference,
    importance_ratio,
    important_to,
    important_token_loss,
    tokens_of,
)
from promptscope.statistics.token_subsets import compress, mask_tokens, mix_tokens, random_choice
from promptscope.statistics.transfer import Transfer, transfer_summary
from promptscope.statistics.variability import (
    attention_variability,
    variability_ratio,
    variability_sums,
)

__all__ = [
    "MAX_EXACT",
    "MIN_EFFECT",
    "ZERO",
    "Alignment",
    "Concentration",
    "Effect",
    "GroupedMean",
    "MantelTest",
    "Metric",
    "Projection",
    "PromptSimilarities",
    "ShapleyValues",
    "SilhouetteTest",
    "Transfer",
    "agreement_null",
    "alignment_test",
    "assign_tokens",
    "attention_variability",
    "between_groups",
    "bootstrap_interval",
    "compress",
    "concentration_test",
    "distance_matrix",
    "effect_of",
    "effect_share",
    "effective_rank",
    "epsilon_neighbours",
    "exact_shapley",
    "gold_and_other",
    "group_mean_distances",
    "grouped_pearson",
    "hypergeometric_overlap",
    "importance_concentration",
    "importance_difference",
    "importance_ratio",
    "important_to",
    "important_token_loss",
    "jackknife_interval",
    "kl_of_received",
    "label_cosines",
    "layer_quarters",
    "mantel_test",
    "mask_tokens",
    "matching_test",
    "mcnemar_test",
    "mean_distance",
    "mean_interval",
    "mix_tokens",
    "nearest_in_spaces",
    "nearest_vectors",
    "neighbour_counts_by_group",
    "neighbour_vote",
    "neighbours_alike",
    "neuron_overlap",
    "neuron_overlap_matrix",
    "own_nearest_distances",
    "p_value_of_draws",
    "paired_permutation_test",
    "pca_projection",
    "peak_and_trough_groups",
    "peaks_and_troughs",
    "per_query_kl",
    "percentile_of",
    "permutation_null",
    "principal_components",
    "prompt_similarities",
    "random_choice",
    "random_groups",
    "received_attention",
    "sampled_shapley",
    "silhouette",
    "silhouette_test",
    "smallest_count",
    "tokens_of",
    "transfer_summary",
    "tsne_projection",
    "umap_projection",
    "variability_ratio",
    "variability_sums",
]
