"""Pictures of vectors in two dimensions, each with a number that says how far it can be trusted."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.distances import Metric

_QUALITY_POINTS = 2000


@dataclass(frozen=True)
class Projection:
    """Points of N vectors in two dimensions.

    `trustworthiness` (Venna & Kaski 2001) in [0, 1]: how far the neighbours in the picture are neighbours in the full
    space; 1 = all, about 0.5 = a random picture. It is computed over `n_neighbours` nearest points; above 2,000
    vectors over a random 2,000 of them. `explained_variance` (PCA only) is the share of variance of each dimension.

    >>> projection = pca_projection(np.random.default_rng(0).normal(size=(40, 8)))
    >>> projection.method, projection.points.shape, 0.0 <= projection.trustworthiness <= 1.0
    ('pca', (40, 2), True)
    """

    method: Literal["pca", "t-SNE", "UMAP"]
    points: Float[np.ndarray, "N 2"]
    trustworthiness: float
    n_neighbours: int
    explained_variance: tuple[float, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def _check_vectors(x: Float[np.ndarray, "N d"], metric: Metric) -> None:
    if len(x) < 3 or x.shape[1] < 2:
        raise ArgumentError(f"a picture in two dimensions needs three vectors of two dimensions or more, got {x.shape}")
    if not np.ptp(x, axis=0).any():
        raise ArgumentError(f"all {len(x)} vectors are equal: there is nothing to see in a picture of them")
    if metric == "cosine" and not x.any(axis=1).all():
        raise ArgumentError("a vector of zeros has no cosine distance to others: leave it out, or use metric='l2'")


@checked(n_neighbours=1)
def pca_projection(x: Float[np.ndarray, "N d"], n_neighbours: int = 10) -> Projection:
    """Project on the two directions of largest variance. Linear: distances in the picture are never too long.

    >>> projection = pca_projection(np.random.default_rng(0).normal(size=(40, 8)))
    >>> projection.points.shape, len(projection.explained_variance)
    ((40, 2), 2)
    """
    _check_vectors(x, "l2")
    pca = PCA(2, svd_solver="full").fit(x.astype(np.float64))
    shares = tuple(pca.explained_variance_ratio_.tolist())
    return _projection("pca", x, pca.transform(x.astype(np.float64)), "l2", n_neighbours, 0, {}, shares)


@checked(n_neighbours=1, seed=0, pca_dims=1)
def tsne_projection(
    x: Float[np.ndarray, "N d"],
    perplexity: float = 30.0,
    metric: Metric = "cosine",
    pca_dims: int | None = 50,
    n_neighbours: int = 10,
    seed: int = 0,
) -> Projection:
    """Project by t-SNE: neighbourhoods mean something, distances between far points and sizes of clusters do not.

    *pca_dims* reduces the vectors by PCA first (None: not at all), which is faster and changes the cosine slightly,
    since PCA centres them. A perplexity above (N - 1)/3 is lowered to that.

    Reference: van der Maaten & Hinton 2008; scikit-learn's, started from PCA.

    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> tsne_projection(x, perplexity=5.0, n_neighbours=3).points.shape
    (20, 2)
    """
    _check_vectors(x, metric)
    if perplexity <= 0:
        raise ArgumentError(f"perplexity must be above 0, got {perplexity}")
    settings = {"perplexity": min(perplexity, (len(x) - 1) / 3), "metric": metric, "pca_dims": pca_dims, "seed": seed}
    model = TSNE(
        2,
        perplexity=settings["perplexity"],
        metric=_SKLEARN_METRIC[metric],
        init="pca",
        random_state=seed,
        n_jobs=1,
    )
    points = model.fit_transform(_reduced(x, pca_dims, seed))
    return _projection("t-SNE", x, points, metric, n_neighbours, seed, settings)


@checked(n_neighbours=1, seed=0, pca_dims=1, n_umap_neighbours=1)
def umap_projection(
    x: Float[np.ndarray, "N d"],
    n_umap_neighbours: int = 15,
    min_dist: float = 0.1,
    metric: Metric = "cosine",
    pca_dims: int | None = None,
    n_neighbours: int = 10,
    seed: int = 0,
) -> Projection:
    """Project by UMAP (McInnes et al. 2018), from the optional package umap-learn.

    Raises:
        ImportError: umap-learn is not installed.

    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> umap_projection(x, n_neighbours=3).points.shape  # doctest: +SKIP
    (20, 2)
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "UMAP needs the package umap-learn, which promptscope does not install by default: "
            'pip install "promptscope[umap]", or use tsne_projection'
        ) from error
    _check_vectors(x, metric)
    n_umap_neighbours = min(n_umap_neighbours, len(x) - 1)
    settings = {"n_neighbors": n_umap_neighbours, "min_dist": min_dist, "metric": metric, "seed": seed}
    model = UMAP(
        n_neighbors=n_umap_neighbours, min_dist=min_dist, metric=_SKLEARN_METRIC[metric], random_state=seed, n_jobs=1
    )
    points = model.fit_transform(_reduced(x, pca_dims, seed))
    return _projection("UMAP", x, points, metric, n_neighbours, seed, settings | {"pca_dims": pca_dims})


_SKLEARN_METRIC = {"cosine": "cosine", "l2": "euclidean"}


def _reduced(x: np.ndarray, dims: int | None, seed: int) -> np.ndarray:
    if dims is None or dims >= min(x.shape):
        return x
    return PCA(dims, random_state=seed).fit_transform(x)


def _projection(
    method: Literal["pca", "t-SNE", "UMAP"],
    x: np.ndarray,
    points: np.ndarray,
    metric: Metric,
    n_neighbours: int,
    seed: int,
    settings: dict[str, Any],
    explained: tuple[float, ...] = (),
) -> Projection:
    sample = np.arange(len(x))
    if len(x) > _QUALITY_POINTS:
        sample = np.random.default_rng(seed).choice(len(x), _QUALITY_POINTS, replace=False)
    # Trustworthiness is defined for fewer than N/2 neighbours.
    k = max(1, min(n_neighbours, (len(sample) - 1) // 2))
    quality = trustworthiness(x[sample], points[sample], n_neighbors=k, metric=_SKLEARN_METRIC[metric])
    return Projection(method, np.asarray(points, dtype=np.float64), float(quality), k, explained, settings)
