"""`promptscope probe`: probes of a run's prompt."""

import runpy
from pathlib import Path
from typing import Annotated, Any

import typer

from promptscope.cli import completion
from promptscope.cli.loading import choose_prompt, load_run_parts
from promptscope.cli.options import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Limit,
    MovedModel,
    OtherTask,
    RunFolder,
    Split,
    TaskPath,
)
from promptscope.cli.output import only_results_on_stdout, print_json

EXAMPLE = (
    "Example: promptscope probe runs/capital --probes attention_kl,attention_variability --limit 200 "
    "--out probes/capital"
)


def probe(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Folder for results, figures and tables.")],
    probes: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated names: {', '.join(completion.PROBES)}, and probes of installed packages.",
            autocompletion=completion.probes,
        ),
    ] = "attention_kl,attention_variability",
    load: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FILE.py",
            exists=True,
            dir_okay=False,
            help="File to run first, which registers probes.",
        ),
    ] = None,
    split: Split = "test",
    prompt: Annotated[
        str,
        typer.Option(metavar="last|best", help="Which prompt of the run.", autocompletion=completion.trained_prompts),
    ] = "last",
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Also probe a random prompt of the same norms, as a null.")
    ] = True,
    limit: Limit = None,
    batch_size: BatchSize = 8,
    task: OtherTask = None,
    task_path: TaskPath = None,
    model: MovedModel = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Run probes on a run's prompt; write each result as numbers, CSV and an HTML page.

    Captures are kept in the subfolder store of `--out`: the same probe on the same inputs needs no new forward pass.
    """
    with only_results_on_stdout():
        import promptscope as ps

        if load is not None:
            runpy.run_path(str(load))
        trained, loaded, data = load_run_parts(run, model, task, task_path, device, dtype)
        chosen = choose_prompt(trained, prompt)
        if chosen is None:
            raise ps.ProbeError("--prompt must be last or best, got none: a probe needs a prompt")
        prompts = {prompt: chosen.bind(loaded)} | ({"random": ps.random_like(chosen)} if null else {})
        results = ps.probe(
            loaded,
            prompts,
            data,
            probes.split(","),
            store=out / "store",
            split=split,
            limit=limit,
            batch_size=batch_size,
        )
        _write(results, out, f"{data.name}: {trained.folder.name}")
    if json:
        print_json(
            {"run": str(run), "split": split, "out": str(out), "probes": {n: _summary(r) for n, r in results.items()}}
        )
        return
    for result in results.values():
        typer.echo(repr(result))
    typer.echo(f"figures: {out / 'probes.html'}")


def _write(results: dict[str, Any], out: Path, title: str) -> None:
    from promptscope.files import write_text
    from promptscope.report import Report

    page = Report(f"Probes of {title}")
    for name, result in results.items():
        result.save(out / name)
        write_text(out / f"{name}.csv", result.to_dataframe().to_csv(index=False))
        page.section(result.title or name)
        page.text(f"{result.units}; {result.direction}. Over {result.n_examples} inputs, {result.n_skipped} skipped.")
        page.figure(result.plot())
        page.provenance({name: result.provenance})
    page.write(out / "probes.html")


def _summary(result: Any) -> dict[str, Any]:
    """Return a short summary of a result for JSON output; the CSV holds every value."""
    per_prompt = result.values if "prompt" in result.dims else result.values.expand_dims(prompt=[""])
    means = {
        str(name): float(values.mean()) for name, values in zip(per_prompt["prompt"].values, per_prompt, strict=True)
    }
    return {
        "units": result.units,
        "direction": result.direction,
        "dims": dict(zip(result.dims, result.values.shape, strict=True)),
        "mean": means if "prompt" in result.dims else means[""],
        "n_examples": result.n_examples,
        "n_skipped": result.n_skipped,
    }
