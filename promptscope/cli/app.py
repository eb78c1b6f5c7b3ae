"""The `promptscope` command: its subcommands, and how errors are shown."""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptscope.cli import compare_prompts, doctor, evaluate, explain, inspect, new_probe, probe, report, train
from promptscope.cli.log_level import LogLevel, logging_at
from promptscope.errors import PromptscopeError

ABOUT = """Train soft prompts on frozen transformers, and show what they do inside.

[bold]train[/bold] makes a run, a folder with one trained prompt. [bold]eval[/bold],
[bold]probe[/bold], [bold]inspect[/bold] and [bold]report[/bold] read runs. [bold]explain[/bold] measures what a
prompt changes inside the model. [bold]compare-prompts[/bold] compares prompts from files, without a model.
[bold]new-probe[/bold] writes template files for a probe of your own. [bold]doctor[/bold] tests the installation.

Exit codes: 0: done. 1: a self-test failed. 2: an error, explained in one line. 130: interrupted; the same command
continues a training run.
"""
EXITS = "Exit codes: 0: done. 2: an error, explained in one line. 130: interrupted."


class Commands(TyperGroup):
    """Subcommands whose errors are printed as one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; an error of promptscope ends with exit code 2, an interruption with 130."""
        try:
            with logging_at(ctx.params["log_level"]):
                return super().invoke(ctx)
        except PromptscopeError as error:
            _complain(str(error))
            sys.exit(2)
        except BrokenPipeError:  # `promptscope ... | head`: the reader has seen enough, and click ends quietly
            raise
        except OSError as error:
            where = f" {str(error.filename)!r}" if error.filename else ""
            what = f"cannot read or write{where}: {error.strerror or error}"
            _complain(f"{what}. Check the path and its permissions, or give another folder")
            sys.exit(2)
        except KeyboardInterrupt:
            typer.echo("interrupted. Repeat the command to continue a training run", err=True)
            sys.exit(130)


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph, so that rich wraps them to the width of the terminal.

    >>> _unwrapped("One line\\n    and more.\\n\\n    Another.")
    'One line and more.\\n\\nAnother.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


app = typer.Typer(
    name="promptscope",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in (
    ("train", train),
    ("eval", evaluate),
    ("probe", probe),
    ("inspect", inspect),
    ("report", report),
    ("explain", explain),
    ("compare-prompts", compare_prompts),
    ("new-probe", new_probe),
    ("doctor", doctor),
):
    function = {"eval": "evaluate"}.get(name, name.replace("-", "_"))
    command = getattr(module, function)
    one = {"doctor": "1: a test failed. ", "compare-prompts": "1: a prompt was left out. "}.get(name, "")
    about_it = f"{_unwrapped(command.__doc__)}\n\n{EXITS.replace('2:', f'{one}2:')}"
    app.command(name, help=about_it, epilog=module.EXAMPLE)(command)


def _complain(what: str) -> None:
    """Print one line to stderr, also if it holds characters that are not valid text."""
    typer.echo("error: " + " ".join(what.split()).encode(errors="backslashreplace").decode(), err=True)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(version("promptscope"))
        raise typer.Exit
    return wanted


@app.callback(help=_unwrapped(ABOUT))
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            help="What goes to stderr while a command works. error: neither progress bars nor warnings; info, debug: "
            "also what the libraries log. Write it before the command: `promptscope --log-level error train ...`"
        ),
    ] = "warning",
) -> None:
    """Declare the options of all commands; `Commands.invoke` acts on them, and ABOUT is their help."""


def main() -> None:
    """Run the command line."""
    app()
