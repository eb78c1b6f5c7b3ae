"""The command line: one file per command; torch is imported when a command runs, not for `--help`."""

from promptscope.cli.app import app, main

__all__ = ["app", "main"]
