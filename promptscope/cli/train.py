"""`promptscope train`: one soft prompt on one task."""

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from promptscope.cli import completion
from promptscope.cli.from_settings import as_option, described
from promptscope.cli.options import Device, Dtype, Json, TaskPath
from promptscope.cli.output import only_results_on_stdout, print_json, print_pairs
from promptscope.training.config import TrainConfig

EXAMPLE = (
    "Example: promptscope train --model embedded-causal --task capital_en --prompt v2 --length 20 --steps 300 "
    "--seed 0 --out runs/capital"
)
HELP = {
    "steps": "Number of optimiser steps; give this or --epochs.",
    "seed": "Seed of the prompt's initialisation and of the order of the records.",
}
_TASK, _PROMPT, _TRAINING = "What to train on", "The prompt", "The training"


def train(
    model: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="A folder, a Hub name, or an embedded model: embedded-causal ...",
            autocompletion=completion.models,
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="A known name (capital_en, sst2 ...), file or folder.",
            autocompletion=completion.tasks,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for the run; an interrupted run in it is continued.")
    ],
    task_path: TaskPath = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="single, pair, input_label ... or one of your own, SOURCE=>TARGET: "
            "'Input: {text}\\nLabel:=> {label}{eos}'.",
            rich_help_panel=_TASK,
        ),
    ] = None,
    verbalizer: Annotated[
        str | None,
        typer.Option(
            help="Words of labels: 'labels' (each label is its own word) or '0=negative,1=positive'.",
            rich_help_panel=_TASK,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Names of metrics, separated by commas: accuracy,macro_f1 ...", rich_help_panel=_TASK),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(help="Share of the records to use as split test, if the data have none.", rich_help_panel=_TASK),
    ] = 0.0,
    validation_share: Annotated[
        float,
        typer.Option(
            help="Share of the records to use as split validation, if the data have none.", rich_help_panel=_TASK
        ),
    ] = 0.0,
    prompt: Annotated[
        Literal["v1", "v2"],
        typer.Option(
            help="v1: embeddings before the text; v2: keys and values in every layer.", rich_help_panel=_PROMPT
        ),
    ] = "v1",
    length: Annotated[int, typer.Option(min=1, help="Number of prompt positions.", rich_help_panel=_PROMPT)] = 20,
    init: Annotated[
        str,
        typer.Option(
            help="uniform, vocab[:N], text:WORDS, labels[:A,B] or prompt:FOLDER.",
            autocompletion=completion.inits,
            rich_help_panel=_PROMPT,
        ),
    ] = "uniform",
    tied: Annotated[
        bool, typer.Option("--tied/--untied", help="v2: one vector as key and value.", rich_help_panel=_PROMPT)
    ] = False,
    layers: Annotated[
        str | None, typer.Option(help="v2: only these layers, as 0,1,5 or 0-3.", rich_help_panel=_PROMPT)
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
    **training: Any,
) -> None:
    """Train one soft prompt on a frozen model, and save it as a run.

    Give --steps or --epochs. The same command again continues an interrupted run, with the result of an uninterrupted
    one, and returns a finished run without training.
    """
    settings = {name: value for name, value in locals().items() if name != "training"}
    with only_results_on_stdout():
        run = _train(settings, training)
        result = run.result
    if json:
        print_json({"run": str(run.folder), **run.description, "result": result})
        return
    pairs = {
        name: result[name] for name in ("steps", "final_loss", "best_validation", "n_parameters", "n_train", "seconds")
    }
    print_pairs(pairs | {"truncated records": result["n_truncated"] or None}, f"trained {run.folder}")
    typer.echo(f"next: promptscope eval {run.folder} --split test")


def _training_options() -> list[inspect.Parameter]:
    """Return an option for each field of `TrainConfig`, with its default, type and description."""
    about = described(TrainConfig)
    options = []
    for field in dataclasses.fields(TrainConfig):
        option = typer.Option(help=HELP.get(field.name, about[field.name]), rich_help_panel=_TRAINING)
        annotation = Annotated[as_option(field.type), option]
        options.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
        )
    return options


def _with_options(command: Any, options: list[inspect.Parameter]) -> None:
    """Replace the `**` argument in the command's signature by *options*, for typer."""
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    command.__signature__ = signature.replace(parameters=[*keywords, *options])
    del command.__annotations__["training"]


_with_options(train, _training_options())


def _train(settings: dict[str, Any], training: dict[str, Any]) -> Any:
    import promptscope as ps
    from promptscope.cli.parse import parse_layers, parse_template, parse_verbalizer

    # Everything that a typo can spoil comes before the model, which takes seconds.
    config = ps.TrainConfig(**training)
    prompt = _prompt(settings | {"seed": training["seed"]}, parse_layers(settings["layers"]))
    task = ps.load_task(
        settings["task"],
        path=settings["task_path"],
        template=parse_template(settings["template"]),
        verbalizer=parse_verbalizer(settings["verbalizer"]),
        metric=settings["metric"].split(",") if settings["metric"] else None,
    )
    if settings["test_share"] or settings["validation_share"]:
        task = task.with_splits(settings["validation_share"], settings["test_share"])
    model = ps.load_model(settings["model"], device=settings["device"], dtype=settings["dtype"])
    return ps.train(model, prompt, task, config, out=settings["out"])


def _prompt(settings: dict[str, Any], layers: list[int] | None) -> Any:
    import promptscope as ps

    kind, _, argument = settings["init"].partition(":")
    init = ps.prompts.init.FromPrompt(ps.load_prompt(argument)) if kind == "prompt" else settings["init"]
    common = {"length": settings["length"], "init": init, "seed": settings["seed"]}
    if settings["prompt"] == "v2":
        return ps.DeepPrompt(**common, tied=settings["tied"], layers=layers)
    if settings["tied"] or layers is not None:
        raise ps.PromptError(
            "--tied and --layers need --prompt v2 (keys and values in layers); v1 has one vector per position"
        )
    return ps.SoftPrompt(**common)
