"""Presets: named settings that decide all of a recipe's numbers; the command line can change single values."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from promptscope.errors import nearest
from recipes.common.ranges import as_floats, check_value

Settings = TypeVar("Settings")


def add_preset_options(parser: argparse.ArgumentParser, presets: Mapping[str, Any], default: str) -> None:
    """Give *parser* the options `--preset NAME` and `--set NAME=VALUE ...`.

    *presets* maps names (`smoke`, `small`, `paper`, `fixed`) to instances of the recipe's frozen dataclass.
    """
    parser.add_argument("--preset", choices=list(presets), default=default, help=f"default: {default}")
    values = ", ".join(f"{field.name}={getattr(presets[default], field.name)!r}" for field in fields(presets[default]))
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        # argparse formats help texts with %.
        help="change single values of the preset, written as JSON; texts also without quotes. "
        f"The values of {default}: {values}".replace("%", "%%"),
    )


def chosen_settings(arguments: argparse.Namespace, presets: Mapping[str, Settings]) -> Settings:
    """Return the preset that was asked for, with the changes of `--set`.

    A value is read as JSON, or as text if it is not JSON; it has to be of the type that the preset has there. A tuple
    is written as a JSON list. `recipes.common.ranges` describes the rules that a dataclass may give for its values.

    Raises:
        SystemExit: no such name, a value of another type, or a number that is out of range.
    """
    settings: Any = presets[arguments.preset]
    present = {field.name: getattr(settings, field.name) for field in fields(settings)}
    changes = {}
    for item in arguments.set:
        name, equals, text = item.partition("=")
        if not equals or name not in present:
            options = f"{', '.join(present)}.{nearest(name, present)}"
            raise SystemExit(f"--set {item}: expected NAME=VALUE, where NAME is one of {options}")
        changes[name] = _read(item, text, present[name])
        check_value(item, name, changes[name], settings)
    return replace(settings, **changes)


def _read(item: str, text: str, present: Any) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(present, str):
        return value if isinstance(value, str) else text  # "a\nb" in JSON's quotes; a name of digits stays a name
    if isinstance(value, list):
        value = as_floats(_tuple(value), present)
    if isinstance(present, float) and type(value) is int:
        value = float(value)
    # A setting that is None says nothing about the type it takes.
    if present is not None and type(value) is not type(present):
        raise SystemExit(f"--set {item}: expected a {type(present).__name__} like {present!r}, got {text}")
    return value


def _tuple(value: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(item) if isinstance(item, list) else item for item in value)
