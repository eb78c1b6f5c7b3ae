"""The paper's tables and figures as tables, from one line for each run; scores in per cent, as printed."""

from collections.abc import Mapping

import pandas as pd

from recipes.explosive_prompts.settings import Settings

NAMES = {
    "cola": "CoLA", "mrpc": "MRPC", "rte": "RTE", "superglue/rte": "RTE", "stsb_score": "STS-B", "mnli": "MNLI",
    "qnli": "QNLI", "qqp": "QQP", "sst2": "SST-2", "superglue/boolq": "Boolq", "superglue/cb": "CB",
    "superglue/wic": "WiC", "superglue/wsc": "WSC", "superglue/multirc": "Multi", "mrqa/nq": "NQ",
    "mrqa/hotpotqa": "HP", "mrqa/searchqa": "SQA", "mrqa/newsqa": "News", "winogrande": "WG", "yelp_polarity": "Yelp",
    "scitail": "SciTail", "paws_wiki": "PAWS",
}  # fmt: skip
"""Task -> the name of its column in the paper; other tasks keep their own."""

SUITES = {
    "GLUE": ("CoLA", "MRPC", "RTE", "STS-B", "MNLI", "QNLI", "QQP", "SST-2"),
    "SuperGLUE": ("Boolq", "CB", "WiC", "WSC", "Multi"),
    "MRQA": ("NQ", "HP", "SQA", "News"),
    "Others": ("WG", "Yelp", "SciTail", "PAWS"),
}
_MODELS = {"google-t5/t5-small": "T5-small", "google-t5/t5-base": "T5-base", "google-t5/t5-large": "T5-Large"}

Cells = dict[tuple[str, str], float]


def means(scores: pd.DataFrame, rows: str = "variant") -> pd.DataFrame:
    """Return mean scores in per cent over seeds: a line for each variant, a column for each task, and their mean."""
    table = scores.pivot_table(index=rows, columns="task", values="score", aggfunc="mean", sort=False) * 100
    table.columns = [NAMES.get(name, name) for name in table.columns]
    return table.assign(Avg=table.mean(axis=1))


def cells(scores: pd.DataFrame, settings: Settings, baselines: pd.DataFrame) -> dict[str, Cells]:
    """Return what can be compared with Tables 1, 2, 3, 4 and 6; averages only where a suite is complete.

    Rows of Tables 1 and 2 name the model: runs of another model than the paper's have rows of their own.
    """
    model = _MODELS.get(settings.model, settings.model)
    fine = baselines.replace({"variant": {"fine-tuning": "FT"}})
    main = means(pd.concat([scores[scores["group"] == "main"], fine[fine["variant"] == "FT"]]))
    found: dict[str, Cells] = {"1": {}, "2": {}, "3": {}, "4": {}, "6": {}}
    for method, line in main.drop(columns="Avg").iterrows():
        for suite, members in SUITES.items():
            table = "1" if "GLUE" in suite else "2"
            present = [name for name in members if name in line.index]
            found[table] |= {(f"{model} / {method}", name): float(line[name]) for name in present}
            if len(present) == len(members):
                found[table][f"{model} / {method}", f"{suite} Avg"] = float(line[present].mean())
        others = [name for name in line.index if not any(name in members for members in SUITES.values())]
        found["1"] |= {(f"{model} / {method}", name): float(line[name]) for name in others}
    for group in scores["group"].unique():
        if str(group).startswith("few"):
            table = means(scores[scores["group"] == group])
            for suite, members in _suites(table).items():
                row = f"{suite} / {str(group).removeprefix('few')} shots"
                found["3"] |= {
                    (row, str(method)): float(table.loc[method, list(members)].mean()) for method in table.index
                }
    starts = means(scores[scores["group"] == "starts"]) if (scores["group"] == "starts").any() else pd.DataFrame()
    found["6"] = {(str(row), str(name)): float(value) for row, line in starts.iterrows() for name, value in line.items()
                  if name != "Avg"}  # fmt: skip
    found["4"] = _table_4(pd.concat([scores[scores["group"] == "main"], baselines]))
    return found


def _suites(table: pd.DataFrame) -> Mapping[str, tuple[str, ...]]:
    """Return the suites of which a table has all tasks; tasks of no suite form a suite of their own."""
    whole = {suite: members for suite, members in SUITES.items() if set(members) <= set(table.columns)}
    rest = tuple(n for n in table.columns if n != "Avg" and not any(n in members for members in SUITES.values()))
    return whole | ({"these tasks": rest} if rest else {})


def _table_4(scores: pd.DataFrame) -> Cells:
    printed = {"fine-tuning": "Fine-tuning", "bitfit": "BitFit", "Boolq": "Bool"}
    table = means(scores).drop(columns="Avg")
    return {
        (printed.get(str(row), str(row)), printed.get(str(name), str(name))): float(value)
        for row, line in table.iterrows()
        for name, value in line.items()
        if pd.notna(value)
    }
