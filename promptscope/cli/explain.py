"""`promptscope explain`: a causal account of prompts, on one page."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from promptscope.cli import completion
from promptscope.cli.options import BatchSize, Device, Dtype, Json, Split, TaskPath
from promptscope.cli.output import only_results_on_stdout, print_json

EXAMPLE = 'Example: promptscope explain runs/capital --instruction "Name the capital:" --out capital.html'


def explain(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_PROMPT", help="Runs, saved prompts or PEFT folders; several are compared."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.html", dir_okay=False, help="The page; tables are written to a folder with its name."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model, if the run or prompt does not name it, or it was moved.",
            autocompletion=completion.models,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="The task (name, file or folder); needed for prompts that are not runs.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    task_path: TaskPath = None,
    prompt: Annotated[
        str, typer.Option(metavar="last|best", help="Which prompt of a run.", autocompletion=completion.trained_prompts)
    ] = "last",
    parts: Annotated[
        str | None,
        typer.Option(
            help="Some of: answers, tokens, layers, routes, direction, words, readings, neurons; separated by commas.",
            autocompletion=completion.parts,
        ),
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="The task in words, an instruction to compare the prompt with.")
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN_OR_PROMPT", help="Prompt of another task, used as a null for the direction."),
    ] = None,
    split: Split = "test",
    limit: Annotated[int, typer.Option(min=1, help="Number of first inputs to use.")] = 64,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact/--no-exact",
            help="Patch every head exactly, or estimate effects from gradients on fewer inputs (faster).",
        ),
    ] = True,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Measure what prompts change, by token, layer, head, direction and word, and compare it with random prompts."""
    with only_results_on_stdout():
        import promptscope as ps
        from promptscope.account.page import account_page

        whole = ps.account.Settings() if exact else ps.account.QUICK
        settings = replace(whole, split=split, limit=limit, batch_size=batch_size)
        accounts = []
        known = None
        for folder, name in zip(runs, _names(runs), strict=True):
            loaded = ps.account.load_subject(folder, model, task, task_path, prompt, device, dtype, known)
            known = loaded.model
            accounts.append(
                ps.explain(
                    known,
                    loaded.prompt,
                    loaded.task,
                    name=name,
                    parts=None if parts is None else [key.strip() for key in parts.split(",")],
                    instruction=instruction,
                    others={_name(path): _prompt(path) for path in other or ()},
                    untrained=loaded.untrained,
                    training=loaded.training,
                    settings=settings,
                    progress=True,
                )
            )
        page = account_page(accounts)
        page.write(out)
        folder = out.with_suffix("")
        for account, name in zip(accounts, _names(runs), strict=True):
            account.save(folder if len(accounts) == 1 else folder / name.replace("/", "-"))
    if json:
        found = {
            account.name: {
                key: {"sentences": list(p.sentences), "omitted": list(p.omitted)} for key, p in account.parts.items()
            }
            for account in accounts
        }
        print_json({"out": str(out.resolve()), "tables": str(folder.resolve()), "accounts": found})
        return
    for account in accounts:
        typer.echo(repr(account))
    typer.echo(f"page: {out}\ntables: {folder}")


def _names(paths: list[Path]) -> list[str]:
    """Return names of folders, each with as many parent folders as are needed to distinguish them."""
    depth = 1
    whole = [path.resolve() for path in paths]
    while len({path.parts[-depth:] for path in whole}) < len(set(whole)):
        depth += 1
    names = ["/".join(path.parts[-depth:]) for path in whole]
    return [name if names.index(name) == i else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _name(path: Path) -> str:
    return f"{path.resolve().name} (another task)"


def _prompt(path: Path):
    import promptscope as ps

    return ps.load_run(path).prompt if (path / "prompts").is_dir() else ps.load_prompt(path)
