"""`promptscope compare-prompts`: a page that compares prompts of any source."""

import re
from pathlib import Path
from typing import Annotated

import typer

from promptscope.cli import completion
from promptscope.cli.options import Device, Dtype, Json
from promptscope.cli.output import only_results_on_stdout, print_json
from promptscope.errors import PromptError

EXAMPLE = "Example: promptscope compare-prompts prompts --group-by '(.*)-seed' --out prompts.html"


def compare_prompts(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with prompts: .npy, .npz, .pt and .safetensors files, folders of PEFT or promptscope, runs."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.html", dir_okay=False, help="The page; tables are written to a folder with its name."
        ),
    ],
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression whose first group, matched in a prompt's name, is the prompt's group.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model with which to list the nearest tokens of each vector.", autocompletion=completion.models
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task on which to score each prompt; may be repeated. Needs --model.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    nearest: Annotated[int, typer.Option(min=1, help="Number of nearest tokens per vector.")] = 5,
    limit: Annotated[int, typer.Option(min=1, help="Number of first records of a task to score.")] = 200,
    permutations: Annotated[int, typer.Option(min=1, help="Number of permutations in the tests of clusters.")] = 199,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations and of t-SNE.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Compare prompts: similarities, norms, ranks, PCA, t-SNE, clusters with permutation tests. Needs no model.

    What cannot be read or compared is named, and the others are compared.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise PromptError(
            f"--out must end in .html, got {str(out)!r}: it is the page, and tables are written to a folder with its "
            "name"
        )
    with only_results_on_stdout():
        import promptscope as ps
        from promptscope.comparison import read_vectors
        from promptscope.files import write_text  # imports torch

        groups = None
        if group_by is not None:
            groups = _groups([one.name for one in read_vectors(folder)[0]], group_by)
        found = ps.compare_prompts(
            folder,
            groups,
            None if model is None else ps.load_model(model, device=device, dtype=dtype),
            {name: ps.load_task(name) for name in task} if task else None,
            nearest=nearest,
            limit=limit,
            n_permutations=permutations,
            seed=seed,
        )
        found.page().write(out)
        tables = out.with_suffix("")
        for name, table in found.tables.items():
            write_text(tables / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    if json:
        print_json({"page": str(out), **{name: table.to_dict("records") for name, table in found.tables.items()}})
    else:
        typer.echo(found.tables["prompts"].to_string(index=False))
        typer.echo(found.tables["clusters"].to_string(index=False))
        typer.echo(f"page: {out}; tables: {tables}")
    if "left_out" in found.tables:
        for row in found.tables["left_out"].itertuples():
            typer.echo(f"left out: {row.prompt}: {row.reason}", err=True)
        raise typer.Exit(1)


def _groups(names: list[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise PromptError(f"--group-by must be a regular expression, got {pattern!r} ({error})") from error
    if not expression.groups:
        raise PromptError(
            f"--group-by {pattern!r} has no group in brackets: put brackets around the name of the prompt's group, "
            "'(.*)-1'"
        )
    matches = {name: expression.search(name) for name in names}
    missing = [name for name, match in matches.items() if match is None]
    if missing:
        raise PromptError(f"--group-by {pattern!r} does not match the names {missing}; all names are {names}")
    return {name: match[1] or name for name, match in matches.items() if match is not None}
