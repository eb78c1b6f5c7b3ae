"""How close hidden states are to label words."""

import numpy as np
from jaxtyping import Float, Int

from promptscope.checks import check_indices, checked
from promptscope.errors import ArgumentError


@checked()
def label_cosines(
    hidden: Float[np.ndarray, "X L d"], labels: Float[np.ndarray, "C L d"], centred: bool = False
) -> Float[np.ndarray, "X L C"]:
    """Return `cos(h_xl, w_cl)` (X, L, C) of X hidden states and C label words, in each of L layers.

    With *centred*, it is the cosine with `w_cl - mean_c w_cl`. This removes the component that all words share, which
    is the largest one in an anisotropic space.

    Returns:
        In [-1, 1]; higher = closer to the word; 0 for a vector of length zero.

    Raises:
        ArgumentError: *centred* with a single label word.

    >>> words = np.array([[[1.0, 0.1]], [[1.0, -0.1]]])
    >>> label_cosines(np.array([[[1.0, 0.5]]]), words).round(2).tolist()
    [[[0.93, 0.85]]]
    >>> label_cosines(np.array([[[1.0, 0.5]]]), words, centred=True).round(2).tolist()
    [[[0.45, -0.45]]]
    """
    if centred and len(labels) < 2:
        raise ArgumentError("centred=True needs at least two label words, got one, which minus its mean is zero")
    hidden, labels = hidden.astype(np.float64), labels.astype(np.float64)
    if centred:
        labels = labels - labels.mean(axis=0)
    return np.asarray(np.einsum("xld,cld->xlc", _unit(hidden), _unit(labels)))


@checked()
def gold_and_other(
    cosines: Float[np.ndarray, "X L C"], gold: Int[np.ndarray, "X"], drawn: Int[np.ndarray, "X"] | None = None
) -> Float[np.ndarray, "X 2 L"]:
    """Return the cosine with the gold label word and with a non-gold one: (X, 2, L).

    The non-gold cosine is that with label *drawn*, or, without *drawn*, the mean over all non-gold labels. *gold* and
    *drawn* (X,) are indices of labels.

    Raises:
        ArgumentError: an index out of range, a drawn index that is the gold one, or a single label.

    >>> gold_and_other(np.array([[[0.5, 0.1, 0.3]]]), np.array([0])).round(2).tolist()
    [[[0.5], [0.2]]]
    """
    n_labels = cosines.shape[-1]
    if n_labels < 2:
        raise ArgumentError("a non-gold label needs at least two labels, got one")
    check_indices("gold", gold, n_labels)
    if drawn is not None:
        check_indices("drawn", drawn, n_labels)
        if (drawn == gold).any():
            raise ArgumentError(
                "drawn must be a label other than gold, and is the same for input "
                f"{int(np.flatnonzero(drawn == gold)[0])}"
            )
    rows = np.arange(len(cosines))
    right = cosines[rows, :, gold]  # (X, L)
    if drawn is not None:
        return np.stack([right, cosines[rows, :, drawn]], axis=1)
    return np.stack([right, (cosines.sum(axis=-1) - right) / (n_labels - 1)], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
