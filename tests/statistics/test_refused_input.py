"""Arrays of the right type and shape that cannot be meant: refused, never counted from the end, broadcast or NaN."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from promptscope import statistics as s
from promptscope.errors import ArgumentError

LINE = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
COSINES = np.random.default_rng(0).random((2, 1, 3))
HEADS = np.random.default_rng(0).random((4, 3))
SEEN = np.array([[True, True]])
TWO, THREE = ["a"] * 3 + ["b"] * 3, [np.array([1]), np.array([0])]


def grouped(*parts: tuple[Any, Any], n_groups: int = 2) -> s.GroupedMean:
    mean = s.GroupedMean(n_groups)
    for values, groups in parts:
        mean.add(np.ones(values), np.array(groups))
    return mean


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    # what a function that is handed in returns
    "null: NaN": ("one finite number", lambda: s.permutation_null(lambda a, b: np.nan, np.ones(5), np.ones(5))),
    "null: array": ("one finite number", lambda: s.permutation_null(lambda a, b: a, np.ones(5), np.ones(5))),
    "null: lengths": ("first axis", lambda: s.permutation_null(lambda a, b: 1.0, np.ones(5), np.ones(1))),
    "bootstrap: one number": ("each of 1000 rows of weights", lambda: s.bootstrap_interval(lambda w: np.array(3.0), 5)),
    "bootstrap: no rows": ("each of 1000 rows of weights", lambda: s.bootstrap_interval(lambda w: w.mean(axis=0), 5)),
    "shapley: too many": ("each of 4 subsets", lambda: s.exact_shapley(lambda kept: np.arange(9.0), 2)),
    "shapley: NaN": ("4 NaN", lambda: s.exact_shapley(lambda kept: kept[:, 0] * np.nan, 2)),
    "sampled: too many": ("subsets", lambda: s.sampled_shapley(lambda kept: np.arange(99.0), 2, n_pairs=2)),
    # indices
    "gold": (r"gold must lie in 0\.\.2, got -1", lambda: s.gold_and_other(COSINES, np.array([-1, 0]))),
    "drawn": ("drawn must", lambda: s.gold_and_other(COSINES, np.array([1, 0]), np.array([0, 3]))),
    "drawn gold": ("for input 1", lambda: s.gold_and_other(COSINES, np.array([1, 0]), np.array([0, 0]))),
    "one label": ("at least two", lambda: s.gold_and_other(COSINES[..., :1], np.array([0, 0]))),
    "one word": ("at least two", lambda: s.label_cosines(COSINES, COSINES[:1], centred=True)),
    "groups": (r"0\.\.3, got 0..7", lambda: s.grouped_pearson(HEADS, HEADS, [[0, 7]])),
    "groups < 0": ("rows of groups", lambda: s.grouped_pearson(HEADS, HEADS, [[0, -1]])),
    "groups twice": ("no layer twice", lambda: s.grouped_pearson(HEADS, HEADS, [[0, 0, 1]])),
    "tokens_of": ("assignment must", lambda: s.tokens_of(np.array([0, 5]), 3)),
    "alignment": ("name 3 models", lambda: s.alignment_test(np.array([[0, 1]]), np.array([[0, -1]]), 2)),
    "exclude": ("exclude must", lambda: s.nearest_vectors(np.ones((1, 2)), HEADS[:, :2], exclude=np.array([-5]))),
    "neighbours": ("neighbours must", lambda: s.neighbours_alike([np.array([-1])], ["a"])),
    "neighbours of a table": ("got 0..2", lambda: s.neighbours_alike([np.array([0, 2])], ["a"], ["a", "b"])),
    "neighbours, labels": ("each of 2 items", lambda: s.neighbour_counts_by_group(THREE, ["a"])),
    # labels
    "NaN": ("NaN", lambda: s.silhouette(LINE, [float("nan")] * 3 + ["a"] * 3)),
    "1 and True": ("1 and True", lambda: s.group_mean_distances(LINE, [1, True, 1, "a", "a", "a"])),
    "lists": ("texts, numbers or tuples", lambda: s.mantel_test(LINE, LINE, strata=[[0]] * 6)),
    # distances
    "similarities": ("similarities", lambda: s.silhouette(-LINE, TWO)),
    "one way": ("symmetric", lambda: s.silhouette_test(np.triu(LINE), TWO)),
    "not to itself": ("zeros on the diagonal", lambda: s.between_groups(LINE + 1, TWO)),
    "mean of one way": ("symmetric", lambda: s.mean_distance(np.tril(LINE))),
    # attention
    "received": ("pattern must not", lambda: s.received_attention(-np.ones((1, 1, 2, 2)), SEEN)),
    "KL": ("plain must not", lambda: s.per_query_kl(np.ones((1, 1, 2, 2)), -np.ones((1, 1, 2, 2)), SEEN, SEEN)),
    "variability": ("blocks must not", lambda: s.attention_variability(-np.ones((2, 3, 3)))),
    "ratio": ("mass must not", lambda: s.variability_ratio(np.ones(3), -np.ones(3))),
    # nothing at all
    "no inputs": ("empty", lambda: s.paired_permutation_test(np.zeros(0), np.zeros(0))),
    "no heads": ("empty", lambda: s.mean_interval(np.zeros((4, 0)))),
    "no models": ("empty", lambda: s.assign_tokens(np.zeros((0, 2)))),
    "no draws": ("empty", lambda: s.p_value_of_draws(1.0, np.zeros(0))),
    "zeros": ("all rows", lambda: s.own_nearest_distances(np.zeros((3, 2)))),
    # parts
    "another shape": ("as those before", lambda: grouped(((2, 3), [0, 1]), ((2, 1), [0, 1]))),
    "no such group": ("groups must", lambda: grouped(((2, 3), [0, -1]))),
    "other lengths": ("must be", lambda: grouped(((1, 3), [0, 1]))),
    "no mean": ("no mean", lambda: grouped().of_all()),
    "all in one": ("no mean", lambda: grouped(((2, 3), [1, 1])).without(1)),
    "no such without": ("group must", lambda: grouped(((2, 3), [0, 1])).without(-1)),
    # settings
    "min_effect": ("at least 0", lambda: s.effect_of(np.ones(4), min_effect=-1.0)),
    "perplexity": ("above 0", lambda: s.tsne_projection(HEADS, perplexity=-3.0)),
    "no perplexity": ("above 0", lambda: s.tsne_projection(HEADS, perplexity=0.0)),
    "equal vectors": ("all 5 vectors are equal", lambda: s.tsne_projection(np.ones((5, 3)))),
    "a vector of zeros": ("vectors that are not zero", lambda: s.tsne_projection(np.eye(4)[:, :3])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(case: str) -> None:
    match, call = REFUSED[case]
    with pytest.raises(ArgumentError, match=match):
        call()


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_neighbours_do_not_depend_on_the_unit(size: float, metric: s.nearest.NearMetric) -> None:
    table = np.random.default_rng(1).normal(size=(50, 4))
    expected, distances = s.nearest_vectors(table[:5] + 0.1, table, 3, metric)
    rows, found = s.nearest_vectors((table[:5] + 0.1) * size, table * size, 3, metric)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(found / size ** {"cosine": 0, "l2": 1, "dot": 2}[metric], distances, rtol=1e-9)


def test_a_cosine_knows_no_length() -> None:
    table = np.array([[0.0, 1e-30], [1e30, 1e29], [1.0, 0.2]])
    assert s.nearest_vectors(np.array([[1e-20, 0.0]]), table, 3)[0].tolist() == [[1, 2, 0]]


def test_sets_may_have_nothing_in_common_or_be_empty() -> None:
    assert s.hypergeometric_overlap(10, 3, 3, 0) == (0.9, 1.0)
    assert s.hypergeometric_overlap(10, 0, 0, 0) == (0.0, 1.0)
