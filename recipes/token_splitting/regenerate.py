"""`tables`: everything that can be computed from the published folder, into a results folder."""

import sys
from pathlib import Path

import pandas as pd

from recipes.common import Results, compare, explain, read_published
from recipes.token_splitting.analyses import alignment_table, importance_table, prompt_table, transfer_table
from recipes.token_splitting.artifacts import Artifacts
from recipes.token_splitting.explanations import explanations
from recipes.token_splitting.figures import alignment_figure, masking_figure
from recipes.token_splitting.paper_tables import TABLES, compute
from recipes.token_splitting.source import AbsentError

PUBLISHED = Path(__file__).parent / "published.csv"
FIGURES = ("5_model_0", "5_model_init_1", "5_model_train_1")  # Tables 10, 11 and 12
DECIMALS = 3  # "We round all reported values to 3 decimal points" (section 4.1)

TITLE = "Token splitting: one soft prompt for several models"
LEAD = (
    "The tables of Explainable Soft Prompts (Reimann and Sadrieh 2024), computed from the prompts and result files "
    "that its authors published, with the printed numbers; and what the same files say about alignment, importance "
    "and transfer. The analyses were chosen after the tables had been seen, on three to five runs of each kind."
)
CAPTIONS = {
    "explanations": "Every cell that differs. Proof: the reason's own number is the printed one (recomputed) or not.",
    "alignment": "Alignment (share of tokens whose neighbours vote for the model that needs them) with its exact "
    "permutation null, for three importances; gained, lost and change_p compare with the masked loss (McNemar).",
    "importance": "Matter: ratio above 1.1 for some model. Concentration: share of all importance (difference) that "
    "falls to each token's main model; null: each model's importances shuffled among the tokens.",
    "transfer": "Table 8 in one line: 5_model_0 on its own five models and on the other twenty.",
    "masking_5_model_0": "Table 10.",
    "masking_5_model_init_1": "Table 11: another initialisation.",
    "masking_5_model_train_1": "Table 12: another training seed.",
}


def regenerate(folder: Path, out: Path) -> int:
    """Write all tables to *out* and say what they show; return 0, or 1 if files of *folder* were refused."""
    artifacts = Artifacts(folder)
    results = Results(out, "token_splitting", {"artifacts": folder.name})
    published = read_published(PUBLISHED)
    absent = []
    for table, cells in TABLES.items():
        computed, lacking = compute(cells(artifacts))
        results.comparison(table, compare(published[published["table"] == table], computed, DECIMALS))
        absent += [(table, row, column, reason) for (row, column), reason in lacking.items()]
    results.table("explanations", explain(results.comparisons, explanations(artifacts)))
    results.table("absent", pd.DataFrame(absent, columns=["table", "row", "column", "reason"]))
    _beyond_the_paper(artifacts, results)
    page = results.report(TITLE, LEAD, CAPTIONS)
    page.write(out / "report.html")
    results.finish()
    _say(results, absent, artifacts)
    return 1 if artifacts.refused else 0


def _beyond_the_paper(artifacts: Artifacts, results: Results) -> None:
    tables = {"alignment": alignment_table, "importance": importance_table}
    tables |= {"prompts": prompt_table, "transfer": transfer_table}
    for name, make in tables.items():
        table = make(artifacts)
        if not len(table):
            continue
        results.table(name, table)
        if name == "alignment":
            results.figure(name, alignment_figure(table))
    for run in FIGURES:
        try:
            results.figure(f"masking_{run}", masking_figure(run, artifacts.masked_losses(run)))
        except AbsentError:
            continue


def _say(results: Results, absent: list[tuple[str, str, str, str]], artifacts: Artifacts) -> None:
    summary = results.summary()
    print(summary.to_string(index=False))
    for table in summary[summary["absent"] == summary["cells"]]["table"]:
        reasons = dict.fromkeys(reason for where, _, _, reason in absent if where == table)
        print(f"table {table} is absent: {'; '.join(reasons)}")
    print(f"Why cells differ: {results.folder / 'explanations.csv'}; what is absent: {results.folder / 'absent.csv'}")
    for reason in artifacts.refused.values():
        print(f"refused: {reason}", file=sys.stderr)
