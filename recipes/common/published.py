"""Published numbers compared with computed ones: what is equal, what differs and why, what is absent."""

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import pandas as pd

from promptscope.errors import PromptscopeError

Cell = tuple[str, str, str]
"""(table, row, column), as `published.csv` names them."""


_DIGITS = 15
"""Before the point; a larger float is a whole number anyway."""


class PublishedError(PromptscopeError):
    """A file of published numbers cannot be read."""


def read_published(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read `published.csv`: columns `table,row,column,published`, one line per printed number.

    All columns stay text: `0.360` keeps the decimals it was printed with. A cell "0.360 ± 0.093" is two lines
    ("... mean", "... std").

    Raises:
        PublishedError: no such file, other columns, a cell twice, or a value that is not a number.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise PublishedError(f"{path}: {error}") from error
    wanted = ["table", "row", "column", "published"]
    if list(table.columns) != wanted:
        raise PublishedError(f"{path}: expected the columns {', '.join(wanted)}, got {', '.join(table.columns)}")
    twice = table[table.duplicated(wanted[:3])]
    if len(twice):
        raise PublishedError(
            f"{path}: each cell may be listed once, and this one is listed twice: table "
            f"{' / '.join(twice.iloc[0][wanted[:3]])}"
        )
    for cell in table.itertuples(index=False):
        if _decimals(str(cell.published)) is None:
            raise PublishedError(
                f"{path}: expected a number in table {cell.table} / {cell.row} / {cell.column}, got {cell.published!r}"
            )
    return table


def compare(
    published: pd.DataFrame,
    computed: Mapping[tuple[str, str], float],
    decimals: int | None = None,
    matched: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Compare the *computed* numbers of one table, keyed by (row, column), with the *published* ones.

    Computed numbers are rounded (half up) to *decimals*, or to those of the printed number; a paper that prints
    0.35 for 0.350 needs *decimals*. Returns the columns

    - `row`, `column`, `published`, `computed`, `difference` (computed - published): text, empty where there is no
      such number;
    - `exact`: the computed number, not rounded;
    - `status`: `equal`, `differs`, `absent` (published only), `unpublished` (computed only), or `matched`: a setting
      was chosen so that the number comes out, which is no comparison.
    """
    rows = []
    left = dict(computed)
    for cell in published.itertuples(index=False):
        printed = str(cell.published)
        exact = left.pop((cell.row, cell.column), None)
        if exact is None:
            rows.append((cell.row, cell.column, printed, "", "", float("nan"), "absent"))
            continue
        ours = rounded(exact, _decimals(printed) if decimals is None else decimals)
        if (cell.row, cell.column) in matched:
            rows.append((cell.row, cell.column, printed, str(ours), "", exact, "matched"))
            continue
        difference = ours - Decimal(printed)
        status = "equal" if difference == 0 else "differs"
        rows.append((cell.row, cell.column, printed, str(ours), str(difference), exact, status))
    for (row, column), exact in left.items():
        ours = rounded(exact, 6 if decimals is None else decimals)
        rows.append((row, column, "", str(ours), "", exact, "unpublished"))
    columns = ["row", "column", "published", "computed", "difference", "exact", "status"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Explanation:
    """Why some printed numbers are not the computed ones.

    *number* takes a cell and its exact computed number and returns what the cell would be if *reason* were true, or
    None if the reason does not concern it; the reason is accepted only if this equals the printed number. *stated*:
    cells whose reason no number can prove, each with the computed number of which the reason speaks.
    """

    name: str
    reason: str
    number: Callable[[Cell, float], float | None] = lambda cell, exact: None
    stated: Mapping[Cell, float] = field(default_factory=dict)


def explain(comparisons: Mapping[str, pd.DataFrame], explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Return one line for every cell that differs in any of the *comparisons* (by table), with its explanation.

    Columns: `table`, those of the table, `explanation`, `reason`, and `proof`: `recomputed` where the reason's own
    number is the printed one, `stated` where not. A cell that no explanation holds for is `unexplained`.
    """
    rows = []
    for table, comparison in comparisons.items():
        for cell in comparison[comparison["status"] == "differs"].itertuples(index=False):
            at = (table, str(cell.row), str(cell.column))
            found = _explanation(
                at, float(cell.exact), str(cell.published), _decimals(str(cell.computed)), explanations
            )
            rows.append((*at, cell.published, cell.computed, cell.difference, *found))
    numbers = ["published", "computed", "difference"]
    return pd.DataFrame(rows, columns=["table", "row", "column", *numbers, "explanation", "reason", "proof"])


def rounded(value: float, decimals: int | None) -> Decimal:
    """Round half up, the way numbers are rounded by hand: 0.6375 -> 0.638 though its float lies below.

    >>> rounded(0.6375, 3), rounded(-0.00001, 3), rounded(1e300, 3)
    (Decimal('0.638'), Decimal('0.000'), Decimal('1E+300'))
    """
    number = Decimal(repr(round(float(value), 12)))
    if not number.is_finite() or number.adjusted() > _DIGITS:
        return number
    # The sum with zero turns -0.000 into 0.000.
    return number.quantize(Decimal(1).scaleb(-(decimals or 0)), rounding=ROUND_HALF_UP) + 0


def _explanation(
    at: Cell, exact: float, published: str, decimals: int | None, explanations: Sequence[Explanation]
) -> tuple[str, str, str]:
    for explanation in explanations:
        number = explanation.number(at, exact)
        if number is not None and rounded(number, decimals) == Decimal(published):
            return explanation.name, explanation.reason, "recomputed"
        if math.isclose(exact, explanation.stated.get(at, math.nan), rel_tol=1e-6):
            return explanation.name, explanation.reason, "stated"
    return "unexplained", "", ""


def _decimals(printed: str) -> int | None:
    """Return how many decimals a number was printed with; None if it is not a number."""
    try:
        exponent = Decimal(printed).as_tuple().exponent
    except InvalidOperation:
        return None
    return max(0, -exponent) if isinstance(exponent, int) else None
