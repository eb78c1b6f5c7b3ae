"""Tables of the report: means over runs of what the CSV files hold line by line."""

import numpy as np
import pandas as pd

from recipes.common import Results

_BY = ["task", "models"]


def beside_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as the paper prints it, `mean ± std`: first the trained numbers, then the published ones.

    Cells of other tasks than the paper's follow the paper's own in the same row.
    """
    cells: dict[str, dict[str, str]] = {}
    for kind, suffix in (("computed", ""), ("published", ", published")):
        for row, column, value in frame[["row", "column", kind]].itertuples(index=False):
            name, _, part = column.rpartition(" ") if column.endswith((" mean", " std")) else (column, "", "")
            if value != "":
                place = cells.setdefault(f"{name}{suffix}", {})
                place[row] = f"{place[row]} ± {value}" if part == "std" and row in place else value
    rows = list(dict.fromkeys(frame["row"]))
    if all(row.isdigit() for row in rows):
        rows.sort(key=int)
    wide = pd.DataFrame({name: [column.get(row, "") for row in rows] for name, column in cells.items()})
    wide.insert(0, "row", rows)
    return wide


def page_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Return name -> the table that the report shows under it."""
    tables = results.tables
    findings = tables["findings"]
    accuracy = tables["accuracy"]
    compression = tables["compression"]
    whole = [name for name in compression.columns if name.endswith(("_loss", "_accuracy")) and "_by_" not in name]
    found = {
        "findings": findings[
            ["claim", "where", "verdict", "number", "low", "high", "p_value", "beyond", "beyond_low", "beyond_high"]
        ],
        "accuracy": _means(
            accuracy[accuracy["kind"].str.isdigit()],
            _BY,
            [c for c in accuracy if "_" in c or c in ("accuracy", "loss")],
        ),
        "runs": tables["runs"].drop(columns=["kind", "seed", "loss", "accuracy", "excess"]),
        "interventions": interventions_of_first_runs(tables["interventions"]),
        "compression": _means(compression[_main(compression)], _BY, ["own_tokens", *whole]),
        "mixing": _means(tables["mixing"], ["task", "prompt"], ["loss", "accuracy"]),
        "shapley": shapley_summary(tables["shapley"]),
        "back_translation": words_of_one_run(tables["back_translation"], results.settings["varied"]),
    }
    found["training"] = tables["training"].drop(columns=["models", "length"])
    return {name: tables[name] for name in ("splitting", "alignment", "similarities")} | found


def interventions_of_first_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per run and intervention, for the runs that went through all: difference and KL side by side."""
    hows = table.groupby("run")["how"].nunique()
    mine = table[table["run"].isin(hows.index[hows == hows.max()])]
    columns = ["observed", "null_mean", "p_value", "assigned_as_by_zero"]
    wide = mine.pivot_table(index=["task", "models", "how"], columns="measure", values=columns, sort=False)
    wide.columns = [f"{column}_{measure}" for column, measure in wide.columns]
    by_measure = [f"{column}_{measure}" for measure in ("difference", "kl") for column in columns]
    return wide[by_measure].reset_index()


def shapley_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each run the efficiency residual, and how well Shapley values agree with zeroing single tokens."""
    rows = []
    for (task, run), part in table.groupby(["task", "run"], sort=False) if len(table) else ():
        ranks = part[["values", "difference"]].rank().to_numpy()
        by_token = part.pivot_table(index="model", columns="token", values=["values", "difference"], sort=False)
        same = by_token["values"].to_numpy().argmax(axis=0) == by_token["difference"].to_numpy().argmax(axis=0)
        rows.append(
            {
                "task": task,
                "run": run,
                "largest residual": part["efficiency_residual"].abs().max(),
                "largest standard error": part["standard_error"].max(),
                "rank correlation with difference": float(np.corrcoef(ranks.T)[0, 1]),
                "tokens with the same main model": float(same.mean()),
            }
        )
    return pd.DataFrame(rows)


def words_of_one_run(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the nearest words (cosine) of the first run of *count* (or most) models: rows are tokens, columns models.

    The paper's Table 9 is of `5_model_0`, whose count is the one that the settings vary.
    """
    sizes = table.groupby("run", sort=False)["model"].nunique()
    run = sizes.index[sizes == (count if (sizes == count).any() else sizes.max())][0]
    mine = table[(table["run"] == run) & (table["metric"] == "cosine")]
    cells = mine.assign(
        shown=[
            f"{word!r} {d:.2f} ({r:.2f})"
            for word, d, r in zip(mine["word"], mine["distance"], mine["random_distance"], strict=True)
        ]
    )
    return cells.pivot_table(index="token", columns="model", values="shown", aggfunc="first", sort=False).reset_index()


def _means(table: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    return table.groupby(by, sort=False)[columns].mean().reset_index()


def _main(table: pd.DataFrame) -> pd.Series:
    """Leave out runs with other seeds or durations, by their names."""
    return ~table["run"].str.contains(r"_(?:init|train)_\d+$|_e[\d.]+$")
