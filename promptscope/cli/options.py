"""Options that several commands have in common."""

from pathlib import Path
from typing import Annotated

import typer

from promptscope.cli import completion

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `promptscope train --out` made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout; everything else to stderr.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... Default: a GPU if there is one.")]
Dtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16, float16 or float64.", autocompletion=completion.dtypes)
]
Split = Annotated[
    str, typer.Option(help="Records to use: train, validation, test ...", autocompletion=completion.splits)
]
Limit = Annotated[int | None, typer.Option(min=1, help="Number of first records of the split to use.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Records per forward pass.")]
WhichPrompt = Annotated[
    str,
    typer.Option(
        "--prompt",
        metavar="last|best|none",
        help="Which prompt of the run; none: the frozen model.",
        autocompletion=completion.prompts,
    ),
]
MovedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Name or folder of the model, if it was moved since the training.",
        autocompletion=completion.models,
    ),
]
OtherTask = Annotated[
    str | None,
    typer.Option(
        "--task", help="Name, file or folder of another task than the run's own.", autocompletion=completion.tasks
    ),
]
TaskPath = Annotated[
    Path | None, typer.Option(help="Folder with {train,validation,test}.jsonl of a data set known by name.")
]
