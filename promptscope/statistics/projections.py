"""Projections of vectors to two dimensions, each with a number that says how well it represents the full space."""

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
    """N vectors projected to two dimensions: `points` (N, 2).

    - `trustworthiness` (Venna & Kaski 2001), in [0, 1]: how far neighbours in the picture are neighbours in the full
      space; 1 = all of them, about 0.5 = a random picture. It is computed from the `n_neighbours` nearest points; with
      more than 2,000 vectors, from 2,000 random ones.
    - `explained_variance` (PCA only): share of the variance of each of the two dimensions.
    - `method`: `"pca"`, `"t-SNE"` or `"UMAP"`; `settings`: its settings.

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
        raise ArgumentError(
            "a projection to two dimensions needs at least three vectors of at least two "
            f"dimensions, got shape {x.shape}"
        )
    if not np.ptp(x, axis=0).any():
        raise ArgumentError(f"all {len(x)} vectors are equal, so they cannot be projected: check where they come from")
    if metric == "cosine" and not x.any(axis=1).all():
        raise ArgumentError(
            "cosine distances need vectors that are not zero, and one is: leave it out, or use metric='l2'"
        )


@checked(n_neighbours=1)
def pca_projection(x: Float[np.ndarray, "N d"], n_neighbours: int = 10) -> Projection:
    """Project to the two directions of largest variance; distances in the picture are never larger than in full space.

    Raises:
        ArgumentError: fewer than three vectors or two dimensions, or vectors that are all equal.

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
    """Project by t-SNE: neighbours are meaningful; distances between far points and sizes of clusters are not.

    *pca_dims* reduces the vectors by PCA first (None: not), which is faster, and changes cosines slightly because PCA
    centres the vectors. A *perplexity* above (N - 1)/3 is lowered to that.

    Raises:
        ArgumentError: a perplexity that is not above 0, a vector of zeros with the cosine metric, or as in
            `pca_projection`.

    Reference: van der Maaten & Hinton 2008; scikit-learn's implementation, initialised by PCA.

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
    """Project by UMAP (McInnes et al. 2018), with the optional package umap-learn.

    Raises:
        ImportError: umap-learn is not installed.
        ArgumentError: as in `tsne_projection`.

    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> umap_projection(x, n_neighbours=3).points.shape  # doctest: +SKIP
    (20, 2)
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "UMAP needs the package umap-learn, which is not installed: "
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
