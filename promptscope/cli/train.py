"""`promptscope train`: one soft prompt on one task."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from promptscope.cli.options import Device, Dtype, Json, TaskPath
from promptscope.cli.output import only_results_on_stdout, print_json, print_pairs

EXAMPLE = (
    "Example: promptscope train --model embedded-causal --task capital_en --prompt v2 --length 20 --steps 300 "
    "--seed 0 --out runs/capital"
)
_TASK, _PROMPT, _TRAINING = "What to train on", "The prompt", "The training"


def train(
    model: Annotated[
        str, typer.Option(metavar="DIR", help="A folder, a Hub name, or a model of the package: embedded-causal ...")
    ],
    task: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A known name (capital_en, sst2 ...), file or folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run. An interrupted run in it goes on.")],
    task_path: TaskPath = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="single, pair, input_label ... or your own, source and target apart with =>: "
            "'Input: {text}\\nLabel:=> {label}{eos}'.",
            rich_help_panel=_TASK,
        ),
    ] = None,
    verbalizer: Annotated[
        str | None,
        typer.Option(
            help="Words for labels: 'labels' (each its own) or '0=negative,1=positive'.", rich_help_panel=_TASK
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Names with commas: accuracy,macro_f1 ...", rich_help_panel=_TASK)
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Cut text so that a record has at most so many tokens.", rich_help_panel=_TASK)
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(help="Keep this share of the records as split test, of data without one.", rich_help_panel=_TASK),
    ] = 0.0,
    validation_share: Annotated[
        float, typer.Option(help="The same for split validation.", rich_help_panel=_TASK)
    ] = 0.0,
    prompt: Annotated[
        Literal["v1", "v2"],
        typer.Option(
            help="v1: embeddings in front of the text; v2: keys and values in every layer.", rich_help_panel=_PROMPT
        ),
    ] = "v1",
    length: Annotated[int, typer.Option(min=1, help="Number of prompt positions.", rich_help_panel=_PROMPT)] = 20,
    init: Annotated[
        str,
        typer.Option(
            help="uniform, vocab[:N], text:WORDS, labels[:A,B] or prompt:FOLDER.",
            rich_help_panel=_PROMPT,
        ),
    ] = "uniform",
    tied: Annotated[
        bool, typer.Option("--tied/--untied", help="v2: one vector as key and value.", rich_help_panel=_PROMPT)
    ] = False,
    layers: Annotated[
        str | None, typer.Option(help="v2: only these layers, as 0,1,5 or 0-3.", rich_help_panel=_PROMPT)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps; this or --epochs.", rich_help_panel=_TRAINING)
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the records.", rich_help_panel=_TRAINING)] = None,
    seed: Annotated[
        int, typer.Option(help="Of the prompt's start and the order of records.", rich_help_panel=_TRAINING)
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Records per forward pass.", rich_help_panel=_TRAINING)] = 16,
    accumulation: Annotated[int, typer.Option(help="Forward passes per step.", rich_help_panel=_TRAINING)] = 1,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.", rich_help_panel=_TRAINING)] = 1e-2,
    optimizer: Annotated[Literal["adamw", "adam"], typer.Option(rich_help_panel=_TRAINING)] = "adamw",
    weight_decay: Annotated[float, typer.Option(rich_help_panel=_TRAINING)] = 0.0,
    schedule: Annotated[
        Literal["constant", "linear", "cosine"],
        typer.Option(help="Of the learning rate, after the warm-up.", rich_help_panel=_TRAINING),
    ] = "constant",
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear growth.", rich_help_panel=_TRAINING)] = 0,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Clip the gradient to this norm.", rich_help_panel=_TRAINING)
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(help="Steps between evaluations on validation; keeps the best prompt.", rich_help_panel=_TRAINING),
    ] = None,
    evaluate_limit: Annotated[
        int | None, typer.Option(help="Use only so many validation records.", rich_help_panel=_TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many evaluations without a better one.", rich_help_panel=_TRAINING),
    ] = None,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Less memory, a third more time, same numbers.", rich_help_panel=_TRAINING
        ),
    ] = False,
    snapshot_every: Annotated[
        int | None, typer.Option(help="Steps between copies of the prompt.", rich_help_panel=_TRAINING)
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between points to resume from.", rich_help_panel=_TRAINING)
    ] = 100,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Train one soft prompt on a frozen model, and keep it as a run.

    Give --steps or --epochs. The same command goes on with an interrupted run, to the same result as if it had never
    stopped, and returns a finished one at once.
    """
    settings = dict(locals())
    with only_results_on_stdout():
        run = _train(settings)
        result = run.result
    if json:
        print_json({"run": str(run.folder), **run.description, "result": result})
        return
    pairs = {
        name: result[name] for name in ("steps", "final_loss", "best_validation", "n_parameters", "n_train", "seconds")
    }
    print_pairs(pairs | {"truncated records": result["n_truncated"] or None}, f"trained {run.folder}")
    typer.echo(f"next: promptscope eval {run.folder} --split test")


def _train(settings: dict[str, Any]) -> Any:
    import dataclasses

    import promptscope as ps
    from promptscope.cli.parse import parse_layers, parse_template, parse_verbalizer

    # Everything that a typo can spoil comes before the model, which takes seconds.
    names = [field.name for field in dataclasses.fields(ps.TrainConfig)]
    config = ps.TrainConfig(**{name: settings[name] for name in names if name in settings})
    prompt = _prompt(settings, parse_layers(settings["layers"]))
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
        raise ps.PromptError("--tied and --layers belong to --prompt v2; v1 has one vector per position")
    return ps.SoftPrompt(**common)
