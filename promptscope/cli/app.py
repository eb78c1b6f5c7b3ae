"""The `promptscope` command: its subcommands, and what a user sees of an error."""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptscope.cli import compare_prompts, doctor, evaluate, explain, inspect, new_probe, probe, report, train
from promptscope.errors import PromptscopeError


class Commands(TyperGroup):
    """Subcommands whose errors are one line for people, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; what promptscope refuses ends with exit code 2, an interruption with 130."""
        try:
            return super().invoke(ctx)
        except PromptscopeError as error:
            _complain(str(error))
            sys.exit(2)
        except OSError as error:
            where = f" {str(error.filename)!r}" if error.filename else ""
            what = f"cannot read or write{where}: {error.strerror or error}"
            _complain(f"{what}. Check the path and your rights, or name another folder")
            sys.exit(2)
        except KeyboardInterrupt:
            typer.echo("interrupted. A training run goes on where it stopped: repeat the command", err=True)
            sys.exit(130)


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
    app.command(name, epilog=module.EXAMPLE)(getattr(module, function))


def _complain(what: str) -> None:
    """Print one line, whatever is in it: what a shell hands over need not be text."""
    typer.echo("error: " + " ".join(what.split()).encode(errors="backslashreplace").decode(), err=True)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(version("promptscope"))
        raise typer.Exit
    return wanted


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Train soft prompts on frozen transformers, and show what they do inside.

    First [bold]train[/bold] makes a run: a folder with one trained prompt. [bold]eval[/bold], [bold]probe[/bold],
    [bold]inspect[/bold] and [bold]report[/bold] look at runs; [bold]explain[/bold] says what a prompt does, and
    through what; [bold]compare-prompts[/bold] takes prompts from anywhere, with no model at hand;
    [bold]new-probe[/bold] writes a file to start a probe of your own from;
    [bold]doctor[/bold] says what is installed and whether it works.

    Exit codes: 0, done; 1, a self-test failed; 2, refused, with one line that says why; 130, interrupted (a training
    run goes on where it stopped).
    """


def main() -> None:
    """Run the command line."""
    app()
