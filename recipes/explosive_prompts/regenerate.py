"""From settings to the results folder: train what is missing, compute everything, write the report."""

from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common import Results, compare, cost, finding_table, load_tasks, read_published
from recipes.common.baselines import baseline_table
from recipes.common.curves import curve_figure
from recipes.common.findings import claim_summary, tally
from recipes.common.grids import Planned, at_own_best_rate, best_prompt, score_table, summary, train_planned
from recipes.explosive_prompts import figures
from recipes.explosive_prompts.control import started_at_the_norm, swap_table
from recipes.explosive_prompts.findings import findings
from recipes.explosive_prompts.measures import (
    cosines,
    norm_table,
    of_main,
    redundancy_table,
    repetition_table,
    transfer_correlation,
    transfer_table,
    vectors_of,
)
from recipes.explosive_prompts.page import CAPTIONS, LEAD, TITLE
from recipes.explosive_prompts.parameters import parameter_table
from recipes.explosive_prompts.plan import plan, train_config
from recipes.explosive_prompts.settings import Settings
from recipes.explosive_prompts.splits import paper_splits, split_cells
from recipes.explosive_prompts.steps import step_table
from recipes.explosive_prompts.tables import cells, means

PUBLISHED = Path(__file__).parent / "published.csv"


def regenerate(settings: Settings, out: Path, data: Path | None, rows: int, jobs: int) -> int:
    """Train or read all runs and write the results; return 0, or 1 if runs failed."""
    tasks = paper_splits(load_tasks(settings.tasks, data))
    groups = plan(settings, tasks)
    model = ps.load_model(settings.model)
    planned: list[Planned] = []
    runs: dict[str, ps.Run] = {}
    failed = []

    def train(name: str, group: list[Planned]) -> None:
        print(f"{name}: {len(group)} runs")
        found, lost = train_planned(model, group, out / "runs", rows, jobs)
        planned.extend(group)
        runs.update(found)
        failed.append(lost)

    for name, group in groups.items():  # one after the other: an interrupted call has some complete comparisons
        train(name, group)
        if name == "main":
            train("control", started_at_the_norm(settings, planned, runs))
    results = Results(out, "explosive_prompts", settings)
    configs = {seed: train_config(settings, settings.baseline_rate, seed) for seed in settings.seeds}
    limit = settings.scored or None
    baselines, lost = baseline_table(model, tasks, settings.baselines, configs, out / "baselines", limit)
    results.table("baselines", baselines)
    failures = pd.concat([*failed, lost], ignore_index=True)
    results.table("failed", failures)
    scores = score_table(model, planned, runs, out / "scores", limit)
    swaps = swap_table(model, tasks, planned, runs, out / "swaps", limit)
    steps = step_table(model, tasks, planned, runs)
    _tables(results, scores, settings, tasks, baselines)
    _measures(results, model, tasks, planned, runs, settings, out)
    results.table("swaps", swaps)
    results.table("steps", steps)
    results.figure("step_length", figures.step_figure(steps))
    found_claims = findings(scores, swaps, steps)
    results.table("findings", finding_table(found_claims))
    results.table("claims", claim_summary(found_claims))
    page = results.report(TITLE, LEAD, CAPTIONS)
    for verdict, n in tally(found_claims).items():
        if n or verdict not in ("not measured", "matched"):
            page.number(verdict, str(n), "claims by task and over tasks")
    page.write(out / "report.html")
    results.finish(
        {"model": {"name": model.name, "embedding_hash": model.embedding_hash}, "runs": len(runs)} | cost(out)
    )
    print(results.tables["claims"].drop(columns="meaning").to_string(index=False))
    print(f"Report: {(out / 'report.html').resolve()}")
    return 1 if len(failures) else 0


def _tables(
    results: Results, scores: pd.DataFrame, settings: Settings, tasks: dict[str, ps.Task], baselines: pd.DataFrame
) -> None:
    published = read_published(PUBLISHED)
    for table, found in cells(scores, settings, baselines).items():
        results.comparison(table, compare(published[published["table"] == table], found, decimals=1))
    of_splits = published[published["table"] == "5"]
    results.comparison("5", compare(of_splits, split_cells(tasks), decimals=0))
    results.table("scores", scores)
    results.table("summary_of_runs", summary(scores))
    results.table("parameters", parameter_table())
    main = scores[scores["group"] == "main"]
    results.table("means", means(main).reset_index())
    rates = scores[scores["group"].isin(["main", "rates"])]
    best = at_own_best_rate(rates)
    chosen = best.groupby(["variant", "task"], sort=False)["rate"].first().unstack()
    own = means(best)
    results.table("own_rates", own.join(chosen.add_prefix("rate ")).reset_index())
    results.table("few_shot", _stacked(scores, [g for g in scores["group"].unique() if str(g).startswith("few")]))
    results.table("starts", means(scores[scores["group"] == "starts"]).reset_index())
    results.table("control", summary(scores[scores["group"] == "control"]))
    figures_of = {
        "figure_5": ("widths", "hidden units", "EPT by hidden width (Figures 5, 12)", True),
        "figure_7": ("lengths", "positions", "EPT* by length (Figure 7)", False),
    }
    for name, (group, x, title, log) in figures_of.items():
        part = scores[scores["group"] == group].assign(method="EPT")
        if part.empty:  # an empty list of settings: this comparison was not asked for
            continue
        part[x] = part["variant"].astype(int)
        results.figure(
            name, curve_figure(part, x, "score", "method", title, "test score · bars: range over seeds", log)
        )
    results.figure(
        "figure_8",
        curve_figure(
            rates.rename(columns={"rate": "learning rate"}), "learning rate", "score", "variant",
            "Learning rates (Figure 8)", "test score · bars: range over seeds", True,
        ),
    )  # fmt: skip
    if settings.structures:
        results.figure("figure_9", figures.accuracy_and_norm(scores[scores["group"] == "structures"]))


def _stacked(scores: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    parts = {group.removeprefix("few"): means(scores[scores["group"] == group]) for group in groups}
    return pd.concat(parts, names=["shots"]).reset_index() if parts else pd.DataFrame()


def _measures(
    results: Results,
    model: ps.HookedModel,
    tasks: dict[str, ps.Task],
    planned: list[Planned],
    runs: dict[str, ps.Run],
    settings: Settings,
    out: Path,
) -> None:
    limit = settings.scored or None
    norms = norm_table(planned, runs)
    results.table("norms", norms)
    title = "Norm along training (Figures 2, 11)"
    results.figure(
        "figure_2",
        curve_figure(norms, "step", "norm", "method", title, "L2 norm, mean over seeds", False, True),
    )
    results.figure(
        "figure_2_score",
        curve_figure(norms, "step", "validation", "method", "Validation score (Figures 2, 11)", "mean over seeds"),
    )
    task = next(iter(tasks))
    first = {
        one.variant: cosines(vectors_of(best_prompt(runs[one.name])))
        for one in of_main(planned, runs, "PT", "P-Tuning", "ResPrompt")
        if one.task == task and one.seed == settings.seeds[0]
    }
    for name, figure in figures.heat_maps(first, task).items():
        results.figure(name, figure)
    results.table("redundancy", redundancy_table(model, planned, runs))
    repetitions = repetition_table(model, tasks, planned, runs, settings.repeats, out / "repetitions", limit)
    results.table("repetitions", repetitions)
    results.figure(
        "figure_4",
        curve_figure(
            repetitions,
            "times",
            "score",
            "method",
            "One vector repeated (Figure 4)",
            "test score · 0: the whole prompt",
        ),
    )
    transfers = transfer_table(model, tasks, planned, runs, out / "transfers", limit)
    results.table("transfers", transfers)
    results.table("transfer_correlation", transfer_correlation(transfers, settings.permutations))
    results.figure(
        "figure_10_cosine",
        figures.matrix_figure(transfers, "cosine", "Cosine of tasks' vectors (Figure 10)", "1 = same direction"),
    )
    results.figure(
        "figure_10_transfer",
        figures.matrix_figure(
            transfers, "transfer", "Zero-shot transfer (Figure 10)", "share of the target's own score · higher = more"
        ),
    )
