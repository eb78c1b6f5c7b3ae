"""The main job: what two kinds of soft prompts do inside one small frozen model.

    python recipes/demo/run.py --out demo

For two tasks in two languages: train an input-level prompt (v1) and a deep one (v2), score them on held-out inputs
and compare with the frozen model and random prompts of the same norms, and measure where they move attention. Writes
report.html, scores.csv, heads.csv and results.json; at the end explain.html, a causal account of the first task's two
prompts. It can be stopped at any time, and continues where it stopped.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from findings import findings, headline
from page import make_page
from tables import head_table, join, score_table

import promptscope as ps
from promptscope.files import content_hash, write_json, write_text
from recipes.common import Computed, decided_by, identity_of


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers; the prompts' tuning follows the model card of the embedded model."""

    model: str = "embedded-causal"
    # Two questions about the same kind of sentence: a prompt has to select which of them the model answers.
    tasks: tuple[str, ...] = ("capital_en", "capital_ko", "currency_en", "currency_ko")
    length: int = 20
    steps: int = 300
    learning_rates: tuple[tuple[str, float], ...] = (("v1", 3e-2), ("v2", 2e-2))
    seed: int = 0
    scored: int | None = None  # held-out records that are scored; None: all
    probed: int = 100  # held-out inputs that are probed
    explained: int = 32  # held-out inputs of the causal account


QUICK = {"tasks": ("capital_en", "continent_ko"), "length": 4, "steps": 3, "scored": 12, "probed": 12, "explained": 4}
CONDITIONS = ("frozen model", "random v1", "v1", "random v2", "v2")


def seed_for(task: str, settings: Settings) -> int:
    """Return a seed that differs between tasks: prompts with the same start, or the same null, would look related."""
    return int(content_hash([task, settings.seed])[:6], 16)


def train_prompts(model: ps.HookedModel, task: ps.Task, settings: Settings, out: Path) -> dict[str, ps.Run]:
    """Train v1 and v2; a finished run in *out* is read, an interrupted one is continued."""
    runs = {}
    for kind, learning_rate in settings.learning_rates:
        # Both start from the same tokens: v2 from the keys and values that these have inside the model.
        new = ps.SoftPrompt if kind == "v1" else ps.DeepPrompt
        prompt = new(settings.length, init="vocab", seed=seed_for(task.name, settings))
        config = ps.TrainConfig(
            steps=settings.steps,
            learning_rate=learning_rate,
            schedule="linear",
            warmup_steps=min(20, settings.steps // 2),
            max_grad_norm=1.0,
            seed=settings.seed,
        )
        runs[kind] = ps.train(model, prompt, task, config, out=out / "runs" / f"{task.name}-{kind}")
    return runs


def with_nulls(runs: Mapping[str, ps.Run], seed: int) -> dict[str, ps.Prompt]:
    """Return the trained prompts, each preceded by its null: a prompt of random directions and the same norms."""
    prompts: dict[str, ps.Prompt] = {}
    for kind, run in runs.items():
        trained = run.prompt
        prompts |= {f"random {kind}": ps.random_like(trained, seed), kind: trained}
    return prompts


def score(
    model: ps.HookedModel, task: ps.Task, prompts: Mapping[str, ps.Prompt], settings: Settings, out: Path
) -> dict[str, list[bool]]:
    """Say for every held-out input whether the answer is right, without a prompt and with each."""
    right, kept, identity = {}, Computed(out / "answers"), identity_of(model)
    for condition in CONDITIONS:
        prompt = prompts.get(condition)
        answers = kept.get(
            f"{task.name}-{condition}",
            decided_by(identity, prompt, task, scored=settings.scored),
            lambda prompt=prompt: ps.predict(model, prompt, task, batch_size=50, limit=settings.scored, progress=False),
        )
        records = task.split("test")[: len(answers)]
        right[condition] = [a.strip() in r.references for a, r in zip(answers, records, strict=True)]
    return right


def account_for(
    model: ps.HookedModel, runs: Mapping[str, Mapping[str, ps.Run]], settings: Settings, out: Path
) -> dict[str, list[str]]:
    """Explain the first task's prompts on a page of their own, side by side; return what it says of them."""
    name = settings.tasks[0]
    task, pair = ps.load_task(name), {kind: run.prompt for kind, run in runs[name].items()}
    page = out / "explain.html"

    def explained() -> dict[str, list[str]]:
        limits = replace(ps.account.QUICK, limit=settings.explained, few=min(16, settings.explained))
        other = {f"{of}, v1": others["v1"].prompt for of, others in runs.items() if of != name}
        accounts = [
            ps.explain(model, prompt, task, f"{name}, {kind}", others=other if kind == "v1" else None, settings=limits)
            for kind, prompt in pair.items()
        ]
        for account, kind in zip(accounts, pair, strict=True):
            account.save(out / "explain" / kind)
        ps.account.account_page(accounts).write(page)
        return {a.name: [s for part in a.parts.values() for s in part.sentences] for a in accounts}

    identity = identity_of(model)
    key = {f"{of}, {kind}": decided_by(identity, run.prompt, task, explained=settings.explained)
           for of, others in runs.items() for kind, run in others.items()}  # fmt: skip
    if not page.exists():
        (out / "explain" / "said.json").unlink(missing_ok=True)
    return Computed(out / "explain").get("said", key, explained)


def share_out(arguments: argparse.Namespace, settings: Settings) -> bool:
    """Run the tasks in parallel processes; `main` then finds their results in the folder.

    Returns whether this was done: with a single job, `main` runs the tasks itself.

    Small models gain little from several threads, and lose much where the cores are busy.
    """
    jobs = min(arguments.jobs or os.cpu_count() or 1, len(settings.tasks))
    if jobs < 2:
        return False
    command = [sys.executable, __file__, "--out", str(arguments.out), "--model", settings.model, "--only"]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    processes = [
        subprocess.Popen(
            [*command, *settings.tasks[i::jobs]],
            # Progress bars of several processes would overwrite each other; without, each prints a line per result.
            env=os.environ | {"OMP_NUM_THREADS": threads, "TQDM_DISABLE": "1"},
        )
        for i in range(jobs)
    ]
    try:
        failed = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()
    if any(failed):
        raise SystemExit("a task failed (see the messages above): the same command continues where it stopped")
    return True


def main() -> None:
    """Train, score, probe, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for runs, captures and results")
    parser.add_argument("--model", default=Settings.model, help="an embedded model or a folder")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a test run of seconds instead of minutes, in which the prompts learn nothing",
    )
    parser.add_argument(
        "--jobs", type=int, help="number of tasks that run at the same time (default: one for each core)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TASK", help="train, score and probe only these tasks, and write no report"
    )
    arguments = parser.parse_args()
    settings = replace(Settings(model=arguments.model), **(QUICK if arguments.quick else {}))
    if arguments.only:
        settings = replace(settings, tasks=tuple(arguments.only))
    out: Path = arguments.out
    begun = time.perf_counter()
    shared = not (arguments.only or arguments.quick) and share_out(arguments, settings)

    model = ps.load_model(settings.model)
    runs, right, probed = {}, {}, {}
    for name in settings.tasks:
        task = ps.load_task(name)
        runs[name] = train_prompts(model, task, settings, out)
        if not shared:
            losses = {kind: run.result["final_loss"] for kind, run in runs[name].items()}
            print(f"{name}: trained, loss " + ", ".join(f"{x:.3f} ({kind})" for kind, x in losses.items()), flush=True)
        prompts = with_nulls(runs[name], seed_for(name, settings))
        right[name] = score(model, task, prompts, settings, out)
        probed[name] = ps.probe(
            model,
            prompts,
            task,
            [ps.probes.AttentionKL(), ps.probes.AttentionVariability(first_n=10)],
            store=out / "store",
            limit=settings.probed,
            batch_size=20,
        )
        if not shared:
            print(f"{name}: scored and probed", flush=True)
    if arguments.only:
        return

    scores = score_table(right)
    kl = join({name: results["attention_kl"] for name, results in probed.items()})
    variability = join({name: results["attention_variability"] for name, results in probed.items()})
    heads = head_table(kl, variability)
    shown = findings(right, {name: results["attention_kl"] for name, results in probed.items()}, heads)
    numbers = headline(shown)

    write_text(out / "scores.csv", scores.to_csv(index=False))
    write_text(out / "heads.csv", heads.to_csv(index=False))
    write_json(
        out / "results.json",
        {"settings": asdict(settings), "findings": [asdict(finding) for finding in shown]}
        | {"scores": scores.to_dict("records"), "seconds": round(time.perf_counter() - begun, 1)},
    )

    histories = {f"{name}, {kind}": run.history for name, pair in runs.items() for kind, run in pair.items()}
    page = make_page(model, asdict(settings), shown, scores, probed, kl, variability, heads, histories)
    page.write(out / "report.html")
    account_for(model, runs, settings, out)

    for name, conditions in right.items():
        print(f"{name}: " + ", ".join(f"{c} {sum(hits) / len(hits):.0%}" for c, hits in conditions.items()))
    print("\nThe three most interesting numbers:")
    for finding in numbers:
        print(f"  {finding.value}  {finding.label} ({finding.detail})")
    print(f"What the first task's prompts act through: {(out / 'explain.html').resolve()}")
    print(f"The report: {(out / 'report.html').resolve()}  ({time.perf_counter() - begun:.0f} s)")


if __name__ == "__main__":
    main()
