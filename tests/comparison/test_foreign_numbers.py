"""Tensors, lists and floats of every length through the statistics: the numbers are those of the plain arrays."""

import numpy as np
import pytest
import torch

from promptscope import statistics
from promptscope.arrays import as_floats
from promptscope.errors import ArgumentError

X, Y = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).bfloat16().float().numpy()
AS = {
    "list": lambda x: x.tolist(),
    "list of arrays": list,
    "float64": lambda x: x.astype(np.float64),
    "long double": lambda x: x.astype(np.longdouble),
    "big endian": lambda x: x.astype(">f4"),
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "tensor": torch.tensor,
    "bfloat16 tensor": lambda x: torch.tensor(x).bfloat16(),
    "parameter": lambda x: torch.nn.Parameter(torch.tensor(x)),
    "transposed tensor": lambda x: torch.tensor(x.T.copy()).T,
}
FUNCTIONS = {
    "prompt_similarities": lambda x, y: list(vars(statistics.prompt_similarities(x, y)).values()),
    "effective_rank": lambda x, y: statistics.effective_rank(x),
    "distance_matrix": statistics.distance_matrix,
    "nearest_vectors": lambda x, y: statistics.nearest_vectors(x, y, 2)[1],
    "principal_components": lambda x, y: statistics.principal_components(x, 2)[1],
    "pca_projection": lambda x, y: statistics.pca_projection(x, 2).explained_variance,
    "epsilon_neighbours": lambda x, y: [len(row) for row in statistics.epsilon_neighbours(x, y, 0.8)],
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", AS)
def test_the_same_numbers_come_out(function: str, kind: str) -> None:
    expected = FUNCTIONS[function](X.astype(np.float64), Y.astype(np.float64))
    np.testing.assert_allclose(FUNCTIONS[function](AS[kind](X), AS[kind](Y)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "value",
    [["a", "b"], [[1.0], [1.0, 2.0]], np.arange(4), torch.arange(4), torch.eye(2).to_sparse(), [], "1.5", None, [True]],
)
def test_what_is_no_floating_point_number_is_not_taken(value: object) -> None:
    assert as_floats(value) is None
    with pytest.raises(ArgumentError, match="x must be"):
        statistics.effective_rank(value)  # type: ignore[arg-type]


def test_nothing_that_is_not_finite_comes_through_a_list() -> None:
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        statistics.effective_rank([[1.0, float("nan")]])  # type: ignore[arg-type]
