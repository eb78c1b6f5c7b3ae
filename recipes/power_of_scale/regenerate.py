"""From settings to the results folder: train what is missing, compute everything, write the report."""

from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common import Results, compare, cost, finding_table, load_tasks, read_published, with_validation
from recipes.common.curves import curve_figure
from recipes.common.findings import claim_summary, tally
from recipes.common.grids import score_table, train_planned
from recipes.common.models import check_models
from recipes.power_of_scale.ensembling import ensemble_table
from recipes.power_of_scale.findings import findings
from recipes.power_of_scale.objectives import objective_table
from recipes.power_of_scale.page import CAPTIONS, LEAD, TITLE
from recipes.power_of_scale.parameters import adapter_share, parameter_table
from recipes.power_of_scale.plan import ensemble, plan, shifted
from recipes.power_of_scale.readings import neighbour_table, reading_table
from recipes.power_of_scale.settings import Settings
from recipes.power_of_scale.shift import shift_table

PUBLISHED = Path(__file__).parent / "published.csv"


def regenerate(settings: Settings, out: Path, data: Path | None, rows: int, jobs: int) -> int:
    """Train or read all runs and write the results; return 0, or 1 if runs failed."""
    check_models([*settings.models, *(name for _, name in settings.objectives)])
    moved = [name for pair in settings.shifts for name in pair]
    every = with_validation(load_tasks(list(dict.fromkeys([*settings.tasks, *moved])), data))
    tasks = {name: every[name] for name in settings.tasks}
    limit = settings.scored or None
    results = Results(out, "power_of_scale", settings)
    failed, by_model = [], []
    for name in settings.models:
        model = ps.load_model(name)
        groups = plan(settings, tasks)
        if name == settings.models[0]:
            groups |= {"members": ensemble(settings, tasks), "shift": shifted(settings, every)}
        planned, runs = [], {}
        where = out / "runs" / name.replace("/", "-")
        for group, members in groups.items():
            print(f"{name}, {group}: {len(members)} runs")
            found, lost = train_planned(model, members, where, rows, jobs)
            planned += members
            runs |= found
            failed.append(lost)
        scores = score_table(model, planned, runs, out / "scores" / name.replace("/", "-"), limit)
        by_model.append(scores.assign(model=name))
        if name == settings.models[0]:
            readings = reading_table(model, tasks, planned, runs, settings.neighbours, settings.null_draws)
            results.table("readings", readings)
            results.table("neighbours", neighbour_table(model, planned, runs, settings.neighbours))
            votes = ensemble_table(model, tasks, planned, runs, limit)
            results.table("ensembles", votes)
            shifts = shift_table(model, every, planned, runs, settings, out / "shifts")
            results.table("shifts", shifts)
            about = {"name": model.name, "embedding_hash": model.embedding_hash}
    objectives, lost_too = objective_table(settings, tasks, out / "objectives", rows)
    results.table("objectives", objectives)
    failures = pd.concat([*failed, *lost_too], ignore_index=True)
    results.table("failed", failures)
    scores = pd.concat(by_model, ignore_index=True)
    results.table("scores", scores)
    _tables(results, scores)
    claims = findings(scores[scores["model"] == settings.models[0]], readings, votes, shifts, objectives)
    results.table("findings", finding_table(claims))
    results.table("claims", claim_summary(claims))
    page = results.report(TITLE, LEAD, CAPTIONS)
    for verdict, n in tally(claims).items():
        if n or verdict not in ("not measured", "matched"):
            page.number(verdict, str(n), "claims by task and over tasks")
    page.write(out / "report.html")
    results.finish({"model": about, "runs": len(scores)} | cost(out))
    print(results.tables["claims"].drop(columns="meaning").to_string(index=False))
    print(f"Report: {(out / 'report.html').resolve()}")
    return 1 if len(failures) else 0


def _tables(results: Results, scores: pd.DataFrame) -> None:
    shares = [adapter_share(64), adapter_share(128)]
    columns = ("lowest % of parameters", "highest % of parameters")
    computed = {("adapters on BERT-large", column): share for column, share in zip(columns, shares, strict=True)}
    results.comparison("text", compare(read_published(PUBLISHED), computed))
    results.table("parameters", parameter_table())
    for group, name, x, title in (
        ("lengths", "figure_a", "tokens", "Prompt length"),
        ("starts", "figure_b", "initialisation", "Initialisation"),
    ):
        part = scores[scores["group"] == group]
        if part.empty:
            continue
        means = part.pivot_table(index=["model", "variant"], columns="task", values="score", sort=False)
        results.table(group, means.reset_index())
        part = part.assign(**{x: part["variant"].astype(int) if group == "lengths" else part["variant"]})
        figure = curve_figure(
            part, x, "score", "model", title, "test score · bars: range over seeds", group == "lengths"
        )
        results.figure(name, figure)
