"""Write one reference page for each public module, from the names that it exports."""

import inspect
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = {
    "promptscope": "The names of `import promptscope as ps`.",
    "promptscope.prompts": "Prompts and what they start from.",
    "promptscope.tasks": "Data, templates, verbalizers, metrics.",
    "promptscope.training": "Runs, one or many.",
    "promptscope.inference": "Tasks run through models: scores and text.",
    "promptscope.models": "Models, hook points, families.",
    "promptscope.engine": "How models run when nothing is looked at.",
    "promptscope.store": "Captures on disk.",
    "promptscope.probes": "Probes and their results.",
    "promptscope.interventions": "A prompt with some of its tokens changed.",
    "promptscope.readings": "A prompt decoded into words.",
    "promptscope.causal": "Through which parts of the model a prompt acts.",
    "promptscope.account": "All of it about one prompt, on one page.",
    "promptscope.statistics": "Functions on arrays; no model is needed.",
    "promptscope.plots": "Figures from results.",
    "promptscope.report": "Pages from figures and tables.",
    "promptscope.comparison": "Comparison of prompts from any source.",
    "promptscope.files": "Files that are whole or absent.",
    "promptscope.errors": "What is raised.",
}


def public_names(module_name: str) -> list[str]:
    """Return what a module exports; one without a list exports what it defines."""
    module = import_module(module_name)
    if hasattr(module, "__all__"):
        return sorted(name for name in module.__all__ if not inspect.ismodule(getattr(module, name)))
    return sorted(name for name, value in vars(module).items() if getattr(value, "__module__", None) == module_name)


def home(module_name: str, name: str) -> str:
    """Return the module of MODULES on whose page a name is described: the innermost that exports the same object."""
    value = getattr(import_module(module_name), name)
    others = [other for other in reversed(MODULES) if other != "promptscope" and name in public_names(other)]
    same = [other for other in others if getattr(import_module(other), name) is value]
    defined = getattr(value, "__module__", None) or ""
    return next((other for other in same if defined.startswith(other)), same[0] if same else module_name)


def describe(module_name: str, name: str) -> list[str]:
    """Return the lines of one name: its documentation, or a link to the page that has it."""
    page = home(module_name, name)
    value = getattr(import_module(module_name), name)
    if page != module_name:
        return [f"- :py:obj:`{page}.{name}`"]
    path = f"{module_name}.{name}"
    if inspect.isclass(value):
        return ["", f".. autoclass:: {path}", "   :members:", *inherited(value), ""]
    if inspect.isroutine(value):
        return ["", f".. autofunction:: {path}", ""]
    kind = f"{type(value).__name__}, {len(value)} entries" if isinstance(value, Collection) else type(value).__name__
    return ["", f".. py:data:: {path}", "", f"   ``{kind}``", ""]


def inherited(kind: type) -> list[str]:
    """Return the option for members of bases of ours that are on no page: else nobody would describe them."""
    pages = [getattr(import_module(module), name) for module in MODULES for name in public_names(module)]
    others = [base for base in kind.__mro__[1:] if base in pages or not base.__module__.startswith("promptscope.")]
    if len(others) == len(kind.__mro__) - 1:
        return []
    return [f"   :inherited-members: {', '.join(base.__name__ for base in others)}"]


def page(module_name: str) -> str:
    """Return the reference page of one module, as reStructuredText."""
    head = [module_name, "=" * len(module_name), "", MODULES[module_name], "", f".. py:module:: {module_name}", ""]
    lines = [describe(module_name, name) for name in public_names(module_name)]
    links = [line for entry in lines if len(entry) == 1 for line in entry]
    return "\n".join([*head, *links, *(line for entry in lines if len(entry) > 1 for line in entry)]) + "\n"


def write_pages(app: Any) -> None:
    """Write docs/api/ (not kept in git); a page that did not change is left alone, so that it is not built again."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    names = "\n".join(f"   {name}" for name in MODULES)
    texts = {name: page(name) for name in MODULES} | {
        "index": f"API reference\n=============\n\n.. toctree::\n\n{names}\n"
    }
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def fences(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn Markdown's fenced code in a docstring into reStructuredText's."""
    inside = False
    for i, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            inside = not inside
            margin = line[: len(line) - len(line.lstrip())]
            lines[i] = f"{margin}.. code-block:: python\n" if inside else ""
        elif inside and line:
            lines[i] = f"   {line}"
    lines[:] = "\n".join(lines).split("\n")


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", fences, priority=100)  # before napoleon looks for sections
    return {"parallel_read_safe": True}
