"""`train`: prompts for one and for several models, everything that is measured of them, and the report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.inference import ModelSet, ModelSource
from recipes.common import Results, compare, cost, identity_of, read_published
from recipes.token_splitting import train_tables
from recipes.token_splitting.analyses import alignment_table, importance_table
from recipes.token_splitting.findings import findings
from recipes.token_splitting.measuring import Measured, frozen_scores, measure
from recipes.token_splitting.mixing import mixing_table
from recipes.token_splitting.page import write_page
from recipes.token_splitting.paper_tables import TABLES, compute
from recipes.token_splitting.per_run import run_table
from recipes.token_splitting.pictures import all_figures
from recipes.token_splitting.plans import make_plans
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.tasks import load_tasks
from recipes.token_splitting.trained import Trained
from recipes.token_splitting.training import fresh_prompt, train, train_config

PUBLISHED = Path(__file__).parent / "published.csv"
DECIMALS = 3


def train_and_report(settings: Settings, out: Path, data: Path | None, in_turn: bool) -> int:
    """Run the recipe; return 0."""
    plans = [plan for task in settings.tasks for plan in make_plans(settings, task)]
    for plan in plans:
        train_config(settings, plan)  # raises an error for missing settings before anything is loaded
    tasks = load_tasks(settings, data)
    models, identities = load_models(settings, tasks, in_turn)
    kept = out / "measured"
    runs = train(settings, models, tasks, plans, out / "runs")
    measured = {
        plan.name: measure(settings, models, identities, tasks[plan.task], plan, runs[plan.name], kept / plan.name)
        for plan in plans
    }
    frozen = {name: frozen_scores(settings, models, identities, name, task, kept) for name, task in tasks.items()}
    mixed = [
        mixing_table(settings, models, name, task, measured, runs, identities, kept) for name, task in tasks.items()
    ]
    prompts = _prompts(settings, models, runs, measured)
    results = Results(out, "token_splitting", settings)
    absent = _published_tables(results, Trained(settings, measured, prompts))
    tables = _tables(settings, measured, runs, frozen, prompts)
    tables |= {"mixing": pd.concat(mixed, ignore_index=True), "absent": absent}
    source = Trained(settings, measured, prompts)
    tables |= {"alignment": alignment_table(source), "splitting": importance_table(source)}
    for name, table in tables.items():
        results.table(name, table)
    for name, figure in all_figures(settings, models, measured, prompts, tables["runs"], tables["transfer"]).items():
        results.figure(name, figure)
    write_page(results, settings)
    results.finish(
        {
            "models": _models(models),
            "in_turn": in_turn,
            "seconds": {
                "training": round(sum(float(run.result["seconds"]) for run in runs.values()), 1),
                "measuring": round(sum(one.seconds for one in measured.values()), 1),
            },
        }
        | cost(out)
    )
    print(results.summary().to_string(index=False))
    print(tables["findings"][["claim", "where", "verdict", "number", "low", "high", "p_value"]].to_string(index=False))
    print(f"report: {out / 'report.html'}")
    return 0


def load_models(
    settings: Settings, tasks: Mapping[str, ps.Task], in_turn: bool
) -> tuple[dict[str, ModelSource], dict[str, str]]:
    """Return the models by name, and what `identity_of` says of each.

    They are loaded models, or, with *in_turn*, names of models that are loaded whenever they are needed.

    Each is loaded once in any case, to find out before hours of training whether it can share a prompt with the others
    and read the tasks.

    Raises:
        ModelError: a model that is not there, is no masked one, or has another width or tokenizer.
        TaskError: a label that is several word pieces, or no [MASK] token.
    """

    def check(model: ps.HookedModel) -> tuple[ps.HookedModel | None, str]:
        if model.family.kind != "masked":
            raise ps.ModelError(
                f"the recipe needs masked models, and {model.name!r} is a {model.family.kind} "
                "model: name others (--models)"
            )
        for task in tasks.values():
            task.encode(model.tokenizer, "masked", "test", limit=1)
        return None if in_turn else model, identity_of(model)

    found = ModelSet(list(settings.models)).map(check)
    models: dict[str, ModelSource] = {name: model or name for name, (model, _) in found.items()}
    return models, {name: identity for name, (_, identity) in found.items()}


def _published_tables(results: Results, source: Trained) -> pd.DataFrame:
    """Write the paper's tables with what was trained with the printed numbers; return what is absent, and why."""
    published, absent = read_published(PUBLISHED), []
    for table, cells in TABLES.items():
        try:
            computed, lacking = compute(cells(source))
        except ps.PromptscopeError as error:  # the table's runs are not among those of the preset
            computed, lacking = {}, {("", ""): str(error)}
        results.comparison(table, compare(published[published["table"] == table], computed, DECIMALS))
        absent += [(table, row, column, reason) for (row, column), reason in lacking.items()]
    return pd.DataFrame(absent, columns=["table", "row", "column", "reason"])


def _tables(
    settings: Settings,
    measured: Mapping[str, Measured],
    runs: Mapping[str, ps.Run],
    frozen: Mapping[str, pd.DataFrame],
    prompts: train_tables.Prompts,
) -> dict[str, pd.DataFrame]:
    by_run = run_table(measured, settings.permutations)
    return {
        "findings": findings(measured, by_run, settings.permutations),
        "runs": by_run,
        "accuracy": train_tables.accuracy_table(measured, frozen),
        "importance": train_tables.importance_rows(measured),
        "interventions": train_tables.intervention_table(measured, settings.permutations),
        "tokens": train_tables.token_table(measured),
        "compression": train_tables.compression_table(measured),
        "transfer": train_tables.transfer_rows(measured),
        "back_translation": train_tables.word_table(measured),
        "similarities": train_tables.similarity_table(measured, prompts),
        "shapley": train_tables.shapley_table(measured),
        "training": train_tables.training_table(measured, runs),
    }


def _prompts(
    settings: Settings, models: Mapping[str, ModelSource], runs: Mapping[str, ps.Run], measured: Mapping[str, Measured]
) -> train_tables.Prompts:
    """Return every run's vectors after and before training."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(model: ps.HookedModel) -> None:
        for name, one in measured.items():
            trained, fresh = runs[name].prompt, fresh_prompt(settings, one.plan).bind(model)
            assert isinstance(trained, ps.SoftPrompt)
            numbers = [prompt.vectors().detach().float().cpu().numpy() for prompt in (trained, fresh)]
            found[name] = (numbers[0], numbers[1])

    first = next(iter(models))
    ModelSet({first: models[first]}).map(read)
    return found


def _models(models: Mapping[str, ModelSource]) -> list[dict[str, str]]:
    return [
        {"name": name, "embedding_hash": model.embedding_hash} if isinstance(model, ps.HookedModel) else {"name": name}
        for name, model in models.items()
    ]
