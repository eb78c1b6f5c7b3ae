"""From settings to the results folder: train what is missing, compute everything, write the report."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common import Results, compare, cost, read_published
from recipes.prompt_geometry.along import pairs_along
from recipes.prompt_geometry.claims import claim_table, factor_tests
from recipes.prompt_geometry.distances import (
    AVERAGE,
    cluster_table,
    correlation_summary,
    distance_table,
    kinds_of_pairs,
    norm_table,
    word_correlations,
)
from recipes.prompt_geometry.figures import (
    distance_figures,
    pairs_along_figure,
    projection_figures,
    projection_table,
    projections,
    scores_figure,
    task_counts_figure,
    trajectories_figure,
)
from recipes.prompt_geometry.grid import Key, check_words, load_tasks, train, wayward_prompts, word_prompts
from recipes.prompt_geometry.neighbourhoods import (
    closest_table,
    matched_epsilon,
    matched_prompt_epsilon,
    neighbour_tokens,
    neighbourhoods_at,
    saturation,
    task_counts,
)
from recipes.prompt_geometry.page import CAPTIONS, HEADINGS, LEAD, TITLE
from recipes.prompt_geometry.paper_tables import MATCHED, counted_once, data_cells, paper_cells, without_counts
from recipes.prompt_geometry.readings import read_prompts, reading_summary
from recipes.prompt_geometry.scores import frozen_scores, in_context_scores, score_runs
from recipes.prompt_geometry.settings import Settings
from recipes.prompt_geometry.trajectories import trajectory_table
from recipes.prompt_geometry.vectors import Geometry, geometry, steps
from recipes.prompt_geometry.wayward import wayward_table

Runs = dict[Key, ps.Run]

PUBLISHED = Path(__file__).parent / "published.csv"


def regenerate(settings: Settings, out: Path, data: Path | None, jobs: int, rows: int) -> int:
    """Train or read all runs and write the results; return 0, or 1 if runs failed."""
    tasks = load_tasks(settings, data)
    model = ps.load_model(settings.model)
    check_words(model, settings)
    runs, failed = train(settings, model, tasks, word_prompts(settings), out / "runs", jobs, rows)
    held, failed_too = train(settings, model, tasks, wayward_prompts(settings), out / "wayward", jobs, rows)
    failed = pd.concat([failed, failed_too], ignore_index=True)
    results = Results(out, "prompt_geometry", settings)
    results.table("failed", failed)
    if len(failed):
        print(f"{len(failed)} runs failed, the others are finished; call again to go on:\n{failed.to_string()}")
        return 1
    where = geometry(model, runs, settings)
    chosen = {name: not getattr(settings, name) for name in ("epsilon", "prompt_epsilon")}
    settings = replace(
        settings,
        epsilon=settings.epsilon or matched_epsilon(where),
        prompt_epsilon=settings.prompt_epsilon or matched_prompt_epsilon(where),
    )
    printed = read_published(PUBLISHED)
    published = printed if settings.self_pairs else counted_once(printed)
    keys = ["table", "row", "column"]
    both = printed.merge(published, on=keys, how="left", suffixes=("", "_compared"))
    results.table("published_as_compared", both)
    found = paper_cells(where, settings)
    if chosen["prompt_epsilon"] and saturation(where):
        found = without_counts(found)
    for table, cells in {**found, "data": data_cells(tasks)}.items():
        matched = MATCHED if table == "text" and chosen["epsilon"] else ()
        results.comparison(table, compare(published[published["table"] == table], cells, matched=matched))
    scores = _training(results, model, tasks, runs, settings, where, out)
    if held:
        held_scores = score_runs(model, tasks, held, settings, out / "scores")
        results.table("wayward", wayward_table(model, where, held, held_scores, scores))
    for name, table in _readings(model, tasks, runs, held, settings, out / "readings").items():
        results.table(name, table)
    _geometry(results, where, settings, chosen["prompt_epsilon"])
    _finished(results.report(TITLE, LEAD, CAPTIONS), results).write(out / "report.html")
    about = {"model": {"name": model.name, "embedding_hash": model.embedding_hash}, "runs": len(runs)}
    about |= {"saturated": saturation(where), "matched": chosen}
    epsilons = ("epsilon", "prompt_epsilon", "table3_epsilon")
    results.finish(about | {name: getattr(settings, name) for name in epsilons} | cost(out))
    _say(results, out)
    return 0


def _training(
    results: Results,
    model: ps.HookedModel,
    tasks: dict[str, ps.Task],
    runs: Runs,
    settings: Settings,
    where: Geometry,
    out: Path,
) -> pd.DataFrame:
    scores = score_runs(model, tasks, runs, settings, out / "scores")
    last = scores[scores["step"] == scores.groupby(["task", "word"])["step"].transform("max")]
    summary = last.groupby("task", sort=False).agg(
        accuracy=("accuracy", "mean"), lowest=("accuracy", "min"), highest=("accuracy", "max"), loss=("loss", "mean")
    )
    others = {
        "untrained": scores[scores["step"] == 0].groupby("task")[["accuracy", "loss"]].mean(),
        "frozen": frozen_scores(model, tasks, settings).set_index("task"),
    }
    if settings.shots:
        others["in_context"] = in_context_scores(model, tasks, settings).set_index("task")
    for name, table in others.items():
        summary = summary.join(table.set_axis([name, f"{name}_loss"], axis=1))
    results.table("scores", scores)
    results.table("accuracy", summary.reset_index())
    results.figure("figures_1_and_2", scores_figure(scores))
    trajectories = trajectory_table(where, runs)
    results.table("trajectories", trajectories)
    results.figure("where_prompts_move", trajectories_figure(trajectories))
    along = pairs_along(where, runs, settings.snapshots)
    results.table("pairs_along", along)
    results.figure("word_or_task", pairs_along_figure(along))
    return scores


def _geometry(results: Results, where: Geometry, settings: Settings, matched_prompts: bool) -> None:
    n, seed, pairs = settings.permutations, settings.seed, settings.self_pairs
    both = {"vectors": where, "steps": steps(where)}
    made = projections(where, seed)
    correlations = word_correlations(where, n, seed)
    tables = {
        "claims": claim_table(where, settings, matched_prompts),
        "kinds_of_pairs": _stacked({name: kinds_of_pairs(of) for name, of in both.items()}),
        "factors": _stacked({name: factor_tests(of, n, seed) for name, of in both.items()}),
        "clusters": cluster_table(where, n, seed),
        "distances": distance_table(where),
        "correlations": correlations,
        "correlation_summary": correlation_summary(correlations),
        "neighbourhoods": neighbourhoods_at(where, settings),
        "closest": closest_table(where, settings.epsilon),
        "neighbour_tokens": neighbour_tokens(where, settings.epsilon),
        "norms": norm_table(where),
        "projections": projection_table(made),
    }
    for name, table in tables.items():
        results.table(name, table)
    counts = task_counts(where, settings.table3_epsilon, pairs)
    figures = {**distance_figures(where, pairs), **projection_figures(where, made)}
    figures["task_neighbours"] = task_counts_figure(counts, settings.table3_epsilon)
    for name, figure in figures.items():
        results.figure(name, figure)


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, names=["of"]).reset_index("of").reset_index(drop=True)


def _readings(
    model: ps.HookedModel, tasks: dict[str, ps.Task], runs: Runs, held: Runs, settings: Settings, folder: Path
) -> dict[str, pd.DataFrame]:
    if not settings.readings:
        return {}
    tables = read_prompts(model, tasks, runs, held, settings, folder)
    return {"reading_summary": reading_summary(tables["readings"]), **tables}


def _finished(page: ps.Report, results: Results) -> ps.Report:
    """Add the main numbers (verdicts, distances of pairs, readings) to the top of the page, and set section titles."""
    for section in page.sections:
        section.title = HEADINGS.get(section.title, section.title)
    pairs = results.tables["kinds_of_pairs"].query("of == 'vectors'").set_index("pairs")[AVERAGE]
    verdicts = results.tables["claims"].query("reading == 'fixed'")["verdict"].value_counts()
    for verdict in ("holds", "undecided", "does not hold", "not measured"):
        page.number(verdict, str(int(verdicts.get(verdict, 0))), "claims by task and over tasks (fixed)")
    for kind in ("same word, other task", "same task, other word", "other task, other word"):
        page.number(kind, f"{pairs[kind]:.2f}", "mean cosine distance")
    if "reading_summary" in results.tables:
        summary = results.tables["reading_summary"]
        n = int(summary["n"].sum())
        page.number("readings with p ≤ .05", f"{summary['n_beat'].sum()} of {n}", f"{0.05 * n:.0f} expected by chance")
    return page


def _say(results: Results, out: Path) -> None:
    print(results.tables["accuracy"].to_string(index=False))
    claims = results.tables["claims"]
    shown = claims[claims["where"].str.startswith(("over", "all")) | claims["where"].str.contains("pairs|tokens")]
    print(shown[["claim", "reading", "where", "verdict", "number", "low", "high"]].to_string(index=False))
    print(f"Report: {(out / 'report.html').resolve()}")
