"""Intervals over examples for quantities that are not means: leave out a group of examples, and compute again."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from promptscope.checks import check_between, check_indices, checked
from promptscope.errors import ArgumentError

N_GROUPS = 20


@checked(n_examples=1, n_groups=1, seed=0)
def random_groups(n_examples: int, n_groups: int = N_GROUPS, seed: int = 0) -> Int[np.ndarray, "X"]:
    """Divide examples at random into groups of equal size (up to one); there are at most as many groups as examples.

    >>> sorted(random_groups(5, n_groups=2).tolist())
    [0, 0, 0, 1, 1]
    """
    groups = np.arange(n_examples) % max(min(n_groups, n_examples), 1)
    return np.random.default_rng(seed).permutation(groups)


@checked()
def jackknife_interval(
    estimate: Float[np.ndarray, "*shape"], without: Float[np.ndarray, "G *shape"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return (low, high) of the delete-a-group jackknife: `estimate -+ t * se`.

    `se^2 = (G - 1)/G sum_g (without_g - mean_g without_g)^2`, where *without* (G, ...) holds the estimate computed
    again without each of G random groups of examples, and t is Student's quantile with G - 1 degrees of freedom. NaN
    for G < 5, where the standard error is too uncertain.

    Reference: Kott 2001, *The delete-a-group jackknife*.

    >>> values = np.random.default_rng(0).normal(size=(10, 20))  # ten groups of examples
    >>> without = np.array([np.delete(values, group, axis=0).mean() for group in range(10)])
    >>> low, high = jackknife_interval(np.array(values.mean()), without)
    >>> bool(low < values.mean() < high)
    True
    """
    check_between("level", level, 0, 1)
    n = len(without)
    if n < 5:
        return np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    error = np.sqrt((n - 1) / n * np.square(without - without.mean(axis=0)).sum(axis=0))
    half = stdtrit(n - 1, (1 + level) / 2) * error
    return np.asarray(estimate - half), np.asarray(estimate + half)


class GroupedMean:
    """Mean over examples that arrive in parts: of all, and without each group; accumulated in float64.

    >>> mean = GroupedMean(n_groups=2)
    >>> mean.add(np.array([[1.0], [2.0]]), np.array([0, 1]))
    >>> mean.add(np.array([[6.0]]), np.array([0]))
    >>> mean.n, mean.of_all().tolist(), mean.without(0).tolist()
    (3, [3.0], [2.0])
    """

    @checked(n_groups=1)
    def __init__(self, n_groups: int) -> None:
        self._sums: list[np.ndarray | float] = [0.0] * n_groups
        self._counts = [0] * n_groups

    @property
    def n(self) -> int:
        """Number of examples so far."""
        return sum(self._counts)

    @checked(empty=("values", "groups"))
    def add(self, values: Float[np.ndarray, "X *shape"], groups: Int[np.ndarray, "X"]) -> None:
        """Add *X* more examples, with the group of each.

        Raises:
            ArgumentError: an unknown group, or values of another shape than those before.
        """
        check_indices("groups", groups, len(self._counts))
        shapes = {np.shape(total) for total, n in zip(self._sums, self._counts, strict=True) if n}
        if shapes - {values.shape[1:]}:
            raise ArgumentError(
                f"values must have shape {shapes.pop()} after the first axis, as those before, got {values.shape[1:]}"
            )
        for group in np.unique(groups).tolist():
            members = values[groups == group]
            self._sums[group] = self._sums[group] + members.sum(axis=0, dtype=np.float64)
            self._counts[group] += len(members)

    def of_all(self) -> Float[np.ndarray, "*shape"]:
        """Return the mean over all examples.

        Raises:
            ArgumentError: no examples were added.
        """
        if not self.n:
            raise ArgumentError("no examples were added yet, so there is no mean: call add() first")
        return np.asarray(sum(self._sums) / self.n)

    def without(self, group: int) -> Float[np.ndarray, "*shape"]:
        """Return the mean over all examples except those of *group*.

        Raises:
            ArgumentError: an unknown group, or no examples in other groups.
        """
        check_indices("group", np.array(group), len(self._counts))
        if self.n == self._counts[group]:
            raise ArgumentError(f"all {self.n} examples are in group {group}: there is no mean without it")
        return np.asarray((sum(self._sums) - self._sums[group]) / (self.n - self._counts[group]))
