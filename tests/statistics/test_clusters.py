"""Silhouette, effective rank, projections, matching and draws, against scikit-learn and closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score

from promptscope.statistics import (
    distance_matrix,
    effective_rank,
    matching_test,
    p_value_of_draws,
    pca_projection,
    silhouette,
    silhouette_test,
    tsne_projection,
    umap_projection,
)


def clusters(spread=0.3, n=10, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], n).tolist()
    centres = np.repeat(generator.normal(size=(3, 8)), n, axis=0)
    return centres + spread * generator.normal(size=(3 * n, 8)), labels


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_silhouette_is_scikit_learns(metric):
    x, labels = clusters()
    labels[0] = "alone"
    distances = distance_matrix(x, metric=metric)
    assert silhouette(distances, labels) == pytest.approx(silhouette_score(distances, labels, metric="precomputed"))


def test_silhouette_test_tells_clusters_from_shuffled_labels():
    x, labels = clusters()
    distances = distance_matrix(x, metric="l2")
    found = silhouette_test(distances, labels, n_permutations=199)
    assert found.score > 0.5 and found.p_value == 1 / 200 and found.null_mean < 0
    shuffled = np.random.default_rng(1).permutation(labels).tolist()
    assert silhouette_test(distances, shuffled, n_permutations=199).p_value > 0.05


def test_silhouette_needs_labels_that_group():
    distances = np.zeros((4, 4))
    with pytest.raises(ValueError, match="2 to 3 different labels"):
        silhouette(distances, ["a"] * 4)
    with pytest.raises(ValueError, match="2 to 3 different labels"):
        silhouette(distances, list("abcd"))


def test_directions_that_nothing_has_a_share_in_do_not_count():
    assert effective_rank(np.diag([1.0, 1.0, 0.0])) == pytest.approx(2.0)


@settings(max_examples=25, deadline=None)
@given(rank=st.integers(1, 5), seed=st.integers(0, 100), scale=st.floats(0.01, 100))
def test_effective_rank_lies_between_one_and_the_rank_and_knows_no_scale(rank, seed, scale):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(9, rank)) @ generator.normal(size=(rank, 6))
    value = effective_rank(x)
    assert 1 - 1e-9 <= value <= rank + 1e-6
    assert effective_rank(scale * x) == pytest.approx(value)
    rotation = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    assert effective_rank(x @ rotation) == pytest.approx(value)


def test_effective_rank_of_known_spectra():
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    assert effective_rank(orthogonal) == pytest.approx(5)
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_rank(np.diag(7 * shares)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    offset = orthogonal[:1] * 100 + np.zeros((4, 5))
    assert effective_rank(offset) == pytest.approx(1) and np.isnan(effective_rank(offset, centre=True))


def test_pca_is_scikit_learns_and_says_what_it_shows():
    x, _ = clusters()
    projection = pca_projection(x)
    model = PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(projection.points), np.abs(model.transform(x)), atol=1e-9)
    assert projection.explained_variance == pytest.approx(tuple(model.explained_variance_ratio_))
    expected = trustworthiness(x, projection.points, n_neighbors=10)
    assert projection.trustworthiness == pytest.approx(expected) and projection.n_neighbours == 10


def test_tsne_keeps_neighbours_and_is_seeded():
    x, _ = clusters(n=15)
    projection = tsne_projection(x, perplexity=10.0, seed=1)
    assert projection.points.shape == (45, 2) and projection.settings["metric"] == "cosine"
    assert projection.trustworthiness == pytest.approx(
        trustworthiness(x, projection.points, n_neighbors=10, metric="cosine")
    )
    random_picture = trustworthiness(x, np.random.default_rng(0).normal(size=(45, 2)), n_neighbors=10, metric="cosine")
    assert projection.trustworthiness > 0.8 > random_picture
    np.testing.assert_array_equal(projection.points, tsne_projection(x, perplexity=10.0, seed=1).points)


def test_small_sets_get_fewer_neighbours():
    x = np.random.default_rng(0).normal(size=(8, 5))
    projection = tsne_projection(x)
    assert projection.settings["perplexity"] == pytest.approx(7 / 3) and projection.n_neighbours == 3


def test_quality_of_many_points_is_of_a_sample(monkeypatch):
    monkeypatch.setattr("promptscope.statistics.projections._QUALITY_POINTS", 20)
    x, _ = clusters()
    assert 0.5 < pca_projection(x).trustworthiness <= 1 and pca_projection(x).n_neighbours == 9


def test_umap_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(ImportError, match=r'pip install "promptscope\[umap\]"'):
        umap_projection(clusters()[0])


def test_umap_keeps_neighbours():
    pytest.importorskip("umap")
    x, _ = clusters(n=15)
    projection = umap_projection(x, n_umap_neighbours=8)
    assert projection.points.shape == (45, 2) and projection.trustworthiness > 0.75


def test_matching_counts_orders():
    scores = np.random.default_rng(0).random((4, 4)) + np.eye(4) * 0.2
    matched, mismatched, p = matching_test(scores, n_permutations=5000)
    means = [scores[range(4), list(order)].mean() for order in itertools.permutations(range(4))]
    assert matched == pytest.approx(means[0]) and matched + 3 * mismatched == pytest.approx(scores.sum() / 4)
    assert abs(p - np.mean(np.array(means) >= matched - 1e-12)) < 0.02


def test_p_value_of_draws_counts_ties_and_directions():
    draws = np.array([1.0, 2.0, 2.0, 3.0])
    assert p_value_of_draws(2.0, draws) == 4 / 5
    assert p_value_of_draws(2.0, draws, higher_is_more=False) == 4 / 5
    assert p_value_of_draws(3.5, draws) == 1 / 5
    assert np.isnan(p_value_of_draws(float("nan"), draws))
