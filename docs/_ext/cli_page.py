"""Write the page of the commands, from what `--help` says."""

import re
from pathlib import Path
from typing import Any

import typer.main

from promptscope.cli import app as cli


def option_rows(command: Any) -> list[str]:
    """Return the options and arguments of a command as lines of a Markdown table."""
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        default = parameter.default
        hidden = default is None or default is False or default == () or callable(default)
        shown = "" if hidden or parameter.required else f"`{default}`"
        said = " ".join((getattr(parameter, "help", None) or "").split())
        rows.append(f"| {names} | {'required' if parameter.required else shown} | {literal(said)} |")
    return rows


def literal(text: str) -> str:
    """Return a help text as Markdown: options are code, names of commands bold, other signs what they are."""
    text = re.sub(r"\[/?bold\]", "**", text)
    parts = re.split(r"(`[^`]*`|\*\*[^*]*\*\*)", text)
    return "".join(part if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    escaped = re.sub(r"([*_\[\]{}<>|\\])", r"\\\1", text)
    return re.sub(r"(?<!\S)(--?[a-z][a-z-]*)", r"`\1`", escaped)


def page() -> str:
    """Return the page."""
    group: Any = typer.main.get_command(cli)
    lines = ["# Commands", "", *paragraphs(group.help), ""]
    lines += ["| option | default | meaning |", "|---|---|---|", *option_rows(group), ""]
    for name, command in group.commands.items():
        lines += [f"## promptscope {name}", "", *paragraphs(command.help), ""]
        lines += ["| option | default | meaning |", "|---|---|---|", *option_rows(command), ""]
        line, _, more = (command.epilog or "").removeprefix("Example: ").partition("; ")
        more = re.sub(r"(?:promptscope [a-z]|pytest |--).+", r"`\g<0>`", more)
        lines += ["```bash", line, "```", "", *paragraphs(more and f"{more[0].upper()}{more[1:]}."), ""] if line else []
    return "\n".join(lines)


def paragraphs(text: str | None) -> list[str]:
    """Return a help text with its paragraphs, without what only a terminal reads."""
    return [line.replace("\b", "").strip() for line in literal(text or "").splitlines()]


def write_page(app: Any) -> None:
    """Write docs/api/commands.md (not kept in git)."""
    path = Path(app.srcdir) / "api" / "commands.md"
    path.parent.mkdir(exist_ok=True)
    text = page()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True}
