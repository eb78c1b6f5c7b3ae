"""The report of `train`: findings first, the paper's tables, everything else in the paper's order."""

import pandas as pd

import promptscope as ps
from recipes.common import Results
from recipes.token_splitting.page_tables import beside_published, page_tables
from recipes.token_splitting.pictures import caption_of
from recipes.token_splitting.settings import Settings

TITLE = "Token splitting: one soft prompt for several models"
_SHOWN = 60
"""Rows of a long table on the page; its CSV has all."""

SECTIONS = {
    "accuracy": (
        "Means over runs and models. single: a prompt trained for this model alone; initial: "
        "the prompt before training; random: a random prompt of the same norms; frozen: no "
        "prompt."
    ),
    "runs": (
        "One line per run. concentration: share of all importance (difference) that belongs to "
        "each token's most dependent model, compared with its permutation null; matter: tokens "
        "without which some model's loss rises by more than a tenth; to_one: of these, to one "
        "model; one_only: to one model, of all tokens, and by chance; kept: tokens with the same "
        "model by loss and by ratio; agree, kappa: alignment by cosine."
    ),
    "splitting": "By number of models, all runs together.",
    "alignment": "Table 13 with its exact permutation null, for three importances; gained, lost and change_p "
    "compare with the masked loss (McNemar).",
    "interventions": "The first run of each count by four interventions: concentration compared with its null, by "
    "difference and by KL of the output, and the share of tokens that are assigned as by zeroing.",
    "compression": "Tables 4 and 14: only a model's own tokens are left, the others zero (masked) or removed "
    "(shortened), compared with random choices of as many. Means over runs and models.",
    "mixing": (
        "Prompt mixing (section 6.2): half of the tokens of a prompt for one model and half of "
        "those of a prompt for another, each time those most important to the model. Compared "
        "with: random halves, the two whole prompts, and a prompt trained on both models. "
        "Means over pairs and over both models of each."
    ),
    "similarities": "Table 2's six similarities, mean over pairs of prompts.",
    "shapley": "Shapley values, exact up to 12 tokens. residual: their sum minus what it must be (0 up to rounding).",
    "back_translation": (
        "Table 9, of one run: the nearest word to each token in each of its models "
        "with the cosine distance, and in brackets the distance from a random vector "
        "to its own nearest word."
    ),
    "training": "Seconds of training and of measuring, for every run.",
}

ORDER = (
    *(
        "accuracy",
        "importance",
        "concentration",
        "runs",
        "splitting",
        "important_token_loss",
        "interventions",
        "shapley",
    ),
    *("alignment", "figure_1", "figure_2", "compression", "mixing", "transfer", "back_translation", "similarities"),
    "training",
)


def write_page(results: Results, settings: Settings) -> None:
    """Write `report.html` from what *results* holds."""
    found = results.tables["findings"]
    page = ps.Report(TITLE, _lead(settings))
    for verdict in ("holds", "undecided", "does not hold", "not measured"):
        page.number(verdict, str(int((found["verdict"] == verdict).sum())), f"of {len(found)} claims and tasks")
    page.section("Findings").text(
        "Every claim is a number that is above zero if the claim is right: for each task with an "
        "interval over runs, and over tasks with Student's t interval. holds: the whole interval is "
        "above zero, and p < .05 where there is a test; undecided: the interval includes zero, which "
        "is usual with few runs; not measured: the prompts learned nothing that could be lost or split. "
        "beyond: what the number is without the part that chance, or the whole prompt's loss, gives as well; "
        "it has to be above zero too."
    )
    shown = page_tables(results)
    page.table(shown["findings"]).section("What the numbers are").bullets(
        *(f"{row.claim} ({row.where}; section {row.section}). {row.meaning}." for row in found.itertuples())
    )
    page.section("The paper's tables").text(
        "Published numbers are of MultiBERTs on 5,000 test records; what differs here are models, data and training, "
        "not the definitions, which give the published numbers from the authors' own files (the tables command). "
        "Tasks that the paper does not have are listed with those that it has; table_N.csv has every cell."
    )
    page.table(
        results.summary(), "The cells for which this preset has a number; absent.csv says why the others have none."
    )
    for table, frame in results.comparisons.items():
        _comparison(page, table, frame)
    for name in ORDER:
        page.section(name.replace("_", " ").capitalize())
        if name in SECTIONS:
            page.text(SECTIONS[name])
        _figures(page, results, name)
        if name in shown:
            _table(page, name, shown[name])
    page.provenance({"recipe": {"name": results.recipe}, "settings": results.settings})
    page.write(results.folder / "report.html")


def _lead(settings: Settings) -> str:
    reading = (
        "visible like any other token"
        if settings.mask_attended
        else "not attended to by any position, as in the authors' code"
    )
    return (
        f"One prompt of {settings.length} tokens for {', '.join(map(str, settings.counts))} of {len(settings.models)} "
        f"masked language models, on {', '.join(settings.tasks)}, {len(settings.seeds)} seeds; [MASK] is {reading}. "
        "After Explainable Soft Prompts (Reimann and Sadrieh 2024)."
    )


def _comparison(page: ps.Report, table: str, frame: pd.DataFrame) -> None:
    if (frame["computed"] != "").any():
        page.section(f"Table {table}").table(beside_published(frame))


def _table(page: ps.Report, name: str, table: pd.DataFrame) -> None:
    more = f"The first {_SHOWN} of {len(table)} lines; {name}.csv has all." if len(table) > _SHOWN else ""
    page.table(table.head(_SHOWN), more)


def _figures(page: ps.Report, results: Results, name: str) -> None:
    """Add the figures of a section: those whose names are, or begin with, the section's name."""
    for figure, drawn in results.figures.items():
        if figure == name or (figure.startswith(f"{name}_") and figure != "important_token_loss"):
            page.figure(drawn, caption_of(figure))
