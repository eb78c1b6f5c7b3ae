"""The output of commands: tables for people, or one JSON object for programs."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what libraries print to stderr within a `with` block, so that stdout holds the result alone."""
    with redirect_stdout(sys.stderr):
        yield


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(_plain(value), ensure_ascii=False, indent=2))


def print_pairs(pairs: Mapping[str, Any], title: str = "") -> None:
    """Print aligned lines of names and values; values that are None are left out."""
    shown = {name: show(value) for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    if title:
        typer.secho(title, bold=True)
    for name, value in shown.items():
        typer.echo(f"  {name:<{width}}  {value}")


def show(value: Any) -> str:
    """Return a value as text for people: four significant digits, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {show(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
