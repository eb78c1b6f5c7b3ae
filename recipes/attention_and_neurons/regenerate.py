"""From settings to the results folder: train what is missing, probe once, compute everything, write the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.attention_and_neurons import observations
from recipes.attention_and_neurons.ablation import (
    GROUPS,
    NoTurnError,
    ablation_table,
    check_layers,
    choose_groups,
    describe,
)
from recipes.attention_and_neurons.figures import paper_figures
from recipes.attention_and_neurons.over_inputs import Compared, difference_of_scores
from recipes.attention_and_neurons.page import write_page
from recipes.attention_and_neurons.paper_tables import table_2, table_7, text_cells
from recipes.attention_and_neurons.probing import VARIANTS, Measured, check_inputs, measure
from recipes.attention_and_neurons.results_of import Summary, summarise
from recipes.attention_and_neurons.scores import Scored, first_metric, main_metric, score_runs, scored_by
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.tables import figure_tables, task_table
from recipes.attention_and_neurons.tasks import choose_records, load_tasks
from recipes.attention_and_neurons.training import Key, train
from recipes.common import Finding, Results, compare, cost, finding_table, read_published

PUBLISHED = Path(__file__).parent / "published.csv"


@dataclass(frozen=True)
class Work:
    """The results of all that takes time: prompts trained, probed and scored."""

    model: ps.HookedModel
    tasks: dict[str, ps.Task]
    runs: dict[Key, ps.Run]
    measured: Measured
    groups: dict[str, tuple[int, ...]]
    scored: Scored
    left_out: list[str]


def regenerate(settings: Settings, out: Path, data: Path | None, rows: int) -> int:
    """Run the recipe; return 0."""
    write(settings, out, do(settings, out, data, rows))
    return 0


def do(settings: Settings, out: Path, data: Path | None, rows: int) -> Work:
    """Train, probe and score whatever is not there yet."""
    tasks = load_tasks(settings, data)
    model = ps.load_model(settings.model, dtype=settings.dtype or None)
    check_layers(settings, model.shape.n_layers)
    tasks, too_long = choose_records(settings, tasks, model)
    check_inputs(settings, model, tasks)
    runs = train(settings, model, tasks, VARIANTS, out / "runs", rows)
    measured = measure(settings, model, tasks, runs, out / "store")
    groups, notes = _groups(settings, measured)
    if groups:
        runs |= train(settings, model, tasks, GROUPS, out / "runs" / "ablation", rows, groups)
    scored = score_runs(settings, model, tasks, runs, out / "scores")
    return Work(model, tasks, runs, measured, groups, scored, [*too_long, *measured.left_out, *notes])


def write(settings: Settings, out: Path, work: Work) -> None:
    """Compute, draw and write everything."""
    model, tasks, measured, groups = work.model, work.tasks, work.measured, work.groups
    scores = work.scored.table
    languages = {name: task.language or "unknown" for name, task in tasks.items()}
    summary = summarise(settings, measured, languages)
    results = Results(out, "attention_and_neurons", settings)
    by_likelihood, by_text = (scored_by(scores, by) for by in ("likelihood", "generated"))
    means = first_metric(by_likelihood, tasks)
    found = finding_table(observe(measured, summary, _peaks_and_troughs(tasks, work.scored)))
    published = read_published(PUBLISHED)
    cells = {"2": table_2(by_text, tasks), "7": table_7(by_text, tasks)}
    cells["text"] = text_cells(summary.on, next(iter(measured.prompts.values())))
    for table, computed in cells.items():
        decimals = 0 if table == "text" else 2
        results.comparison(table, compare(published[published["table"] == table], computed, decimals=decimals))
    results.table("mean_scores_generated", first_metric(by_text, tasks).reset_index())
    _write_tables(results, scores, means, summary, languages, found)
    for name, figure in paper_figures(summary, languages).items():
        results.figure(name, figure)
    write_page(results, model.name, found, means, describe(groups) if groups else "none", work.left_out)
    results.finish(
        {
            "model": {"name": model.name, "embedding_hash": model.embedding_hash},
            "groups": {name: list(layers) for name, layers in groups.items()},
            "left_out": work.left_out,
            "training_seconds": training_seconds(work.runs),
        }
        | cost(out)
    )
    print(results.summary().to_string(index=False))
    print(found[["claim", "where", "verdict", "number", "low", "high", "null", "beyond"]].to_string(index=False))
    print(f"report: {out / 'report.html'}")


def observe(measured: Measured, summary: Summary, peaks_and_troughs: Mapping[str, Compared]) -> list[Finding]:
    """Return the findings for the paper's seven observations, in its order: by task, then over tasks."""
    kl, variability = measured.of("attention_kl"), measured.of("attention_variability")
    return [
        *observations.clusters_by_task(summary.pca),
        *observations.low_layers_depend_less_on_content({task: variability[task] for task in summary.long_tasks}),
        *observations.v2_changes_the_middle(kl),
        *observations.v2_changes_content_heads(kl, variability),
        *observations.neurons_common_before_the_last(summary.on),
        *observations.leans_to_the_gold_label(summary.cosines),
        *observations.peaks_beat_troughs(peaks_and_troughs),
    ]


def _peaks_and_troughs(tasks: Mapping[str, ps.Task], scored: Scored) -> dict[str, Compared]:
    """Return each task's score with prompts in the peak layers minus that with prompts in the trough layers."""
    found = {}
    for name, task in tasks.items():
        answers = {
            f"{null}{group}": [
                of_seed
                for (of, variant, _), of_seed in scored.predictions.items()
                if (of, variant) == (name, f"{null}{group}")
            ]
            for null in ("", "random ")
            for group in GROUPS
        }
        if all(answers.values()):
            found[name] = difference_of_scores(task, main_metric(task), answers)
    return found


def _groups(settings: Settings, measured: Measured) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Return the groups of layers, and notes on why there are none (if so)."""
    if not settings.ablation:
        return {}, ["ablation: switched off by the preset"]
    try:
        return choose_groups(settings, measured), []
    except NoTurnError as error:
        return {}, [f"ablation: {error}"]


def _write_tables(
    results: Results,
    scores: pd.DataFrame,
    means: pd.DataFrame,
    summary: Summary,
    languages: dict[str, str],
    found: pd.DataFrame,
) -> None:
    results.table("observations", found)
    results.table("scores", scores)
    results.table("mean_scores", means.reset_index())
    results.table("ablation", ablation_table(means))
    results.table("tasks", task_table(summary, languages))
    for name, table in figure_tables(summary, languages).items():
        results.table(name, table)


def training_seconds(runs: Mapping[Key, ps.Run]) -> dict[str, float]:
    """Return the seconds of training by variant; runs trained in the same passes each count their whole time."""
    seconds: dict[str, float] = {}
    for (_, variant, _), run in runs.items():
        seconds[variant] = seconds.get(variant, 0.0) + float(run.result.get("seconds", 0.0))
    return {variant: round(total, 1) for variant, total in seconds.items()}
