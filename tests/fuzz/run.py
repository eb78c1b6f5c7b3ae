"""Spoil one argument at a time and print what came of it, as JSON: without the type checks that tests switch on."""

import contextlib
import io
import json
import sys
import warnings
from typing import Any

import promptscope as ps
from promptscope.checks import signature_of
from tests.fuzz.calls import METHODS, good_arguments, public_calls
from tests.fuzz.rows import ROWS
from tests.fuzz.values import wrong_for


def outcome(call: Any, arguments: dict[str, Any]) -> str:
    """Return "refused", "accepted", or the raw exception."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            call(**arguments)
    except ps.PromptscopeError as error:
        return "refused" if len(str(error)) > 20 else f"says only {error}"
    except Exception as error:  # what the test is looking for
        return f"{type(error).__name__}: {str(error)[:160]}"
    return "accepted"


def main(only: str = "") -> None:
    """Print a list of (call, argument, value, outcome)."""
    warnings.simplefilter("ignore")
    found = []
    for name, function in public_calls().items():
        if only not in name:
            continue
        base = good_arguments(function)
        for parameter in signature_of(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            for value in wrong_for(parameter.annotation):
                came = outcome(function, {**base, parameter.name: value})
                found.append((name, parameter.name, repr(value)[:60], came))
        if name not in METHODS:  # there Python's own TypeError names it
            found.append((name, "no_such_argument", "1", outcome(function, {**base, "no_such_argument": 1})))
    for name, (function, arguments) in ROWS.items():
        if only in name:
            found.append((name, "", "", outcome(function, arguments)))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
