"""`promptscope report`: an HTML page about runs."""

from pathlib import Path
from typing import Annotated

import typer

from promptscope.cli import completion
from promptscope.cli.options import Json
from promptscope.cli.output import only_results_on_stdout, print_json

EXAMPLE = "Example: promptscope report runs/capital runs/continent --out report.html"


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders that `promptscope train` made.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.html", dir_okay=False, help="The page to write; it can be read without a network."),
    ],
    split: Annotated[
        str,
        typer.Option(
            help="Split on which the prompt and the frozen model are scored.", autocompletion=completion.splits
        ),
    ] = "test",
    scores: Annotated[
        bool, typer.Option("--scores/--no-scores", help="Evaluate each run (loads its model and task).")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of first records to score.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Runs",
    json: Json = False,
) -> None:
    """Write settings, learning curves, scores and prompt norms of runs to one HTML file."""
    with only_results_on_stdout():
        from promptscope.report import run_report

        run_report(runs, title=title, split=split if scores else None, limit=limit).write(out)
    if json:
        print_json({"out": str(out.resolve()), "runs": [str(run) for run in runs]})
    else:
        typer.echo(f"report: {out}")
