"""Principal components."""

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from promptscope.checks import checked
from promptscope.errors import ArgumentError

_LARGE = 500


@checked(n_components=1)
def principal_components(
    vectors: Float[np.ndarray, "N d"], n_components: int = 2
) -> tuple[Float[np.ndarray, "N c"], Float[np.ndarray, "c"]]:
    """Return coordinates (N, c) along the c directions of largest variance, and each one's share of the variance (c,).

    scikit-learn's PCA in float64, with signs that are the same in every run. Shares are in [0, 1], and 0 if all vectors
    are equal.

    Raises:
        ArgumentError: fewer vectors or dimensions than components.

    >>> points, shares = principal_components(np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [4.0, 0.1, 1.0]]))
    >>> points.round(2).tolist()[0], shares.round(3).tolist()
    ([-2.0, 0.02], [1.0, 0.0])
    """
    if min(vectors.shape) < n_components:
        raise ArgumentError(
            f"{n_components} components need at least as many vectors and dimensions, got "
            f"vectors of shape {vectors.shape}"
        )
    exact = vectors.astype(np.float64)
    if not np.ptp(exact, axis=0).any():
        return np.zeros((len(exact), n_components)), np.zeros(n_components)
    # A full decomposition of thousands of vectors takes minutes; Lanczos iteration finds the first few as exactly.
    solver = "arpack" if min(exact.shape) > _LARGE else "full"
    pca = PCA(n_components, svd_solver=solver, random_state=0)
    points = pca.fit_transform(exact)
    return np.asarray(points), np.asarray(pca.explained_variance_ratio_)
