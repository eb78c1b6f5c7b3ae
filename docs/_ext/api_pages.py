"""Write one reference page for each public module, from the names that it exports."""

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

MODULES = {
    "promptscope": "What `import promptscope as ps` gives.",
    "promptscope.prompts": "Soft prompts: make, change, save and load them, and convert them from and to PEFT.",
    "promptscope.prompts.initialisation": "What the vectors of a prompt are before training: `SoftPrompt(init=...)`.",
    "promptscope.prompts.reparameterisation": "Networks that compute a prompt's vectors from its trained parameters: "
    "`SoftPrompt(reparameterisation=...)`.",
    "promptscope.tasks": "Records, templates, verbalizers (label words), metrics.",
    "promptscope.training": "Train one prompt, many prompts at once, or a baseline without a prompt.",
    "promptscope.inference": "Scores, predictions and generated text.",
    "promptscope.models": "Load a frozen model; its hook points and what is known of its architecture.",
    "promptscope.engine": "How forward passes without hooks are computed; for code of your own that has to be fast.",
    "promptscope.store": "Captured activations on disk.",
    "promptscope.probes": "Measure attention, neurons and residual stream with a prompt; write probes of your own.",
    "promptscope.probes.checking": "Test a probe of your own against what all probes have to keep.",
    "promptscope.interventions": "How much each prompt token matters: ablation and Shapley values.",
    "promptscope.readings": "Translate a prompt into words: nearest tokens, logit lens, Patchscopes, descriptions.",
    "promptscope.causal": "Which layers, heads and tokens carry a prompt's effect: patching, cuts, steering vectors.",
    "promptscope.account": "`ps.explain`: the causal measurements of one prompt on one page.",
    "promptscope.statistics": "Distances, intervals, permutation tests and the like, on arrays; no model is needed.",
    "promptscope.plots": "Plotly figures of results.",
    "promptscope.report": "HTML pages of figures and tables.",
    "promptscope.comparison": "Compare prompts from any source by their vectors.",
    "promptscope.files": "Write files completely or not at all, and hash what is in them. For recipes and extensions.",
    "promptscope.errors": "Errors and warnings.",
}

ALIASES = {
    "promptscope.prompts.initialisation": "ps.init",
    "promptscope.prompts.reparameterisation": "ps.reparameterise",
}


@cache
def public_names(module_name: str) -> list[str]:
    """Return what a module exports; one without a list exports what it defines."""
    module = import_module(module_name)
    if hasattr(module, "__all__"):
        return sorted(name for name in module.__all__ if not inspect.ismodule(getattr(module, name)))
    return sorted(
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module_name and not name.startswith("_")
    )


@cache
def home(module_name: str, name: str) -> str:
    """Return the module of MODULES on whose page a name is described: the innermost that exports the same object."""
    value = getattr(import_module(module_name), name)
    others = [other for other in reversed(MODULES) if other != "promptscope" and name in public_names(other)]
    same = [other for other in others if getattr(import_module(other), name) is value]
    defined = getattr(value, "__module__", None) or ""
    return next((other for other in same if defined.startswith(other)), same[0] if same else module_name)


def prefix(module_name: str, name: str) -> str:
    """Return what a user writes before a name: `ps.` where that is enough.

    >>> prefix("promptscope.prompts", "SoftPrompt"), prefix("promptscope.probes", "AttentionMass")
    ('ps.', 'ps.probes.')
    >>> prefix("promptscope.tasks", "METRICS")
    'promptscope.tasks.'
    """
    root = import_module("promptscope")
    value = getattr(import_module(module_name), name)
    if name in root.__all__ and getattr(root, name) is value:
        return "ps."
    short = module_name.removeprefix("promptscope.")
    return f"{ALIASES.get(module_name) or (f'ps.{short}' if short in root.__all__ else module_name)}."


def first_line(module_name: str, name: str) -> str:
    """Return the first sentence of a name's documentation, on one line."""
    value = getattr(import_module(module_name), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        text = (inspect.getdoc(value) or "").split("\n\n")[0]
    else:
        text = " ".join(attribute_lines(module_name, name)).strip()
    sentence = re.sub(r"(?<=[a-z)`])\. [A-Z*`].*", ".", " ".join(text.split()))
    parts = re.split(r"(`[^`]*`)", sentence)  # outside code, |x| would be a substitution
    return "".join(part if i % 2 else part.replace("|", "\\|") for i, part in enumerate(parts)) or "\\ "


def attribute_lines(module_name: str, name: str) -> list[str]:
    """Return the documentation of a constant: the string after its assignment, wherever that is in the module."""
    folder = Path(str(import_module(module_name).__file__))
    paths = sorted(folder.parent.rglob("*.py")) if folder.name == "__init__.py" else [folder]
    for path in paths:
        if re.search(rf"^{name}\b[^=\n]*= ", path.read_text(encoding="utf-8"), re.MULTILINE):
            inner = path.relative_to(folder.parent).with_suffix("").parts
            inner = inner[:-1] if inner[-1] == "__init__" else inner
            defined = ".".join([module_name, *inner]) if folder.name == "__init__.py" else module_name
            found = ModuleAnalyzer.for_module(defined).find_attr_docs().get(("", name))
            if found:
                return found
    return []


def shown_value(value: Any) -> str:
    """Return a constant in one line: the keys of a table, the text of a type, or the value.

    >>> shown_value({"zero": 1, "mean": 2}), shown_value(str | int)
    ("keys ``'zero'``, ``'mean'``", '``str | int``')
    """
    if isinstance(value, Mapping):
        return "keys " + ", ".join(f"``{key!r}``" for key in value)
    if isinstance(value, int | float | str | tuple):
        return f"``{value!r}``"
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(value).replace("...", "\u2026")).replace("\u2026", "...")
    return (
        f"``{text}``"
        if typing.get_origin(value) or isinstance(value, type(str | int))
        else f"``{type(value).__name__}``"
    )


def describe(module_name: str, name: str) -> list[str]:
    """Return the lines of one name: its documentation."""
    value = getattr(import_module(module_name), name)
    path = f"{module_name}.{name}"
    if inspect.isclass(value):
        bases = [_public()[base] for base in value.__mro__[1:] if base in _public()]
        links = ", ".join(f":py:obj:`{base.rpartition('.')[2]} <{base}>`" for base in bases)
        also = links and not issubclass(value, Exception)
        return [
            "",
            f".. autoclass:: {path}",
            "   :members:",
            *inherited(value),
            "",
            f"   Also has the methods of {links}." if also else "",
            "",
        ]
    if inspect.isroutine(value):
        return ["", f".. autofunction:: {path}", ""]
    lines = [f"   {line}" for line in attribute_lines(module_name, name)]
    return ["", f".. py:data:: {name}", "", *lines, "", f"   {shown_value(value)}", ""]


@cache
def _public() -> dict[Any, str]:
    """Return where each public class is described."""
    return {
        value: f"{home(module_name, name)}.{name}"
        for module_name in MODULES
        for name in public_names(module_name)
        if inspect.isclass(value := getattr(import_module(module_name), name))
    }


def table(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return names with what they are, as a table."""
    lines = [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for module_name, name in pairs:
        path = f"{home(module_name, name)}.{name}"
        shown = f"{prefix(home(module_name, name), name)}{name}"
        lines += [f"   * - :py:obj:`{shown} <{path}>`", f"     - {first_line(module_name, name)}"]
    return [*lines, ""]


def inherited(kind: type) -> list[str]:
    """Return the option for members of bases of ours that are on no page: else nobody would describe them."""
    pages = [getattr(import_module(module), name) for module in MODULES for name in public_names(module)]
    others = [base for base in kind.__mro__[1:] if base in pages or not base.__module__.startswith("promptscope.")]
    if len(others) == len(kind.__mro__) - 1:
        return []
    return [f"   :inherited-members: {', '.join(base.__name__ for base in others)}"]


def page(module_name: str) -> str:
    """Return the reference page of one module, as reStructuredText."""
    names = public_names(module_name)
    title = ALIASES.get(module_name, module_name)
    head = [title, "=" * len(title), "", MODULES[module_name], "", f".. py:module:: {module_name}", ""]
    if module_name == "promptscope":
        lines = []
        for one, meaning in MODULES.items():
            here = [(module_name, name) for name in names if home(module_name, name) == one]
            if here:
                short = one.rpartition(".")[2].capitalize()
                lines += [short, "~" * len(short), "", meaning, "", *table(_functions_first(here)), ""]
        return "\n".join([*head, *lines]) + "\n"
    entries = [describe(module_name, name) for name in names if home(module_name, name) == module_name]
    pairs = _functions_first([(module_name, name) for name in names])
    return "\n".join([*head, *table(pairs), *(line for entry in entries for line in entry)]) + "\n"


def _functions_first(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    def rank(pair: tuple[str, str]) -> tuple[int, str]:
        value = getattr(import_module(pair[0]), pair[1])
        return (0 if inspect.isroutine(value) else 1 if inspect.isclass(value) else 2, pair[1])

    return sorted(pairs, key=rank)


def index() -> str:
    """Return the first page of the reference: what each module is for."""
    lines = ["API reference", "=============", ""]
    lines += ["`ps` is what `import promptscope as ps` gives. Names without a module are in it directly.", ""]
    lines += [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for name, meaning in MODULES.items():
        lines += [f"   * - :doc:`{ALIASES.get(name, name)} <{name}>`", f"     - {meaning}"]
    return "\n".join([*lines, "", ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in MODULES), ""])


def write_pages(app: Any) -> None:
    """Write docs/api/ (not kept in git); a page that did not change is left alone, so that it is not built again."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    texts = {name: page(name) for name in MODULES} | {"index": index()}
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


def plain_attributes(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking "Number of rows: one for each position." for a type and its description."""
    if what in ("property", "attribute", "data") and lines and ": " in lines[0]:
        head, _, rest = lines[0].partition(": ")
        lines[:1] = [f"{head}:", rest]


@cache
def aliases() -> dict[str, str]:
    """Return the text of each type alias in signatures -> the name to write for it, the longest first."""
    models, inference = import_module("promptscope.models"), import_module("promptscope.inference")
    return {
        stringify_annotation(inference.Models, "smart"): "~promptscope.inference.Models",
        stringify_annotation(models.Hook, "smart"): "~promptscope.models.Hook",
    }


def readable(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Write type aliases, type variables and default factories in a signature as a person would."""
    if signature is None:
        return None
    if is_dataclass(value) and any(one.init and one.name.startswith("_") for one in fields(value)):
        signature = ""  # an argument that is not public: a function of ours makes such objects
    elif is_dataclass(value):
        factories = [one.default_factory for one in fields(value) if one.init and one.default_factory is not MISSING]
        for factory in factories:
            default = repr(factory()) if factory in (dict, list, tuple, set) else "..."
            signature = signature.replace("<factory>", default, 1)
    if signature == "(*args, **kwargs)" and getattr(value, "_is_protocol", False):
        signature = ""
    texts = []
    for text in (signature, returned):
        text = text or ""
        for written, alias in aliases().items():
            text = text.replace(written, alias)
        texts.append(
            re.sub(r"~promptscope(?:\.[a-z_]+)+\.([A-Z])\b", lambda found: BOUNDS.get(found[0], found[1]), text)
        )
    return texts[0], texts[1] or None


# Type variables of the package, as what they stand for.
BOUNDS = {
    "~promptscope.prompts.prompt.P": "~typing.Self",
    "~promptscope.prompts.random_like.P": "~promptscope.prompts.prompt.Prompt",
    "~promptscope.prompts.saving.K": "type[~promptscope.prompts.prompt.Prompt]",
    "~promptscope.probes.registry.P": "~promptscope.probes.base.Probe | type[~promptscope.probes.base.Probe]",
}


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", fences, priority=100)  # before napoleon looks for sections
    app.connect("autodoc-process-docstring", plain_attributes, priority=101)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True}
