"""Link code in a sentence to the reference: `ps.train`, `SoftPrompt.bind`, `prompt.bind(model)`.

Signatures show the name that a user writes, `ps.SoftPrompt` and not the module that it is described in.
"""

import re
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from _ext.api_pages import MODULES, home, prefix, public_names

# What variables are called in examples and sentences.
VARIABLES = {
    "account": "Account",
    "model": "HookedModel",
    "prompt": "Prompt",
    "result": "ProbeResult",
    "run": "Run",
    "task": "Task",
}
NAME = re.compile(r"(@?)((?:[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*)(\(.*\))?$", re.DOTALL)


@cache
def names() -> dict[str, str]:
    """Return what a person may write for a name -> the name of its entry in the reference."""
    found: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for module in MODULES:
        for name in public_names(module):
            entry = f"{home(module, name)}.{name}"
            found[f"{prefix(home(module, name), name)}{name}"] = found[f"{module}.{name}"] = entry
            bare.setdefault(name, set()).add(entry)
        if module.removeprefix("promptscope.") in import_module("promptscope").__all__:
            found |= {
                f"ps.{module.removeprefix('promptscope.')}.{name}": found[f"{module}.{name}"]
                for name in public_names(module)
            }
    # A bare word is a name only if it looks like one: `patch` and `shift` are words of other sentences too.
    plain = {name: entries.pop() for name, entries in bare.items() if len(entries) == 1}
    return found | {name: entry for name, entry in plain.items() if "_" in name or re.match("[A-Z][a-z]+[A-Z]", name)}


def entry_of(text: str, known: Any) -> str | None:
    """Return the entry that code in a sentence means; *known* are the entries that there are."""
    match = NAME.match(text)
    if match is None:
        return None
    written = match[2]
    if written in names():
        return names()[written]
    owner, _, attribute = written.rpartition(".")
    owner = f"ps.{VARIABLES[owner]}" if owner in VARIABLES else owner
    if owner not in names() and f"ps.{owner}" in names():
        owner = f"ps.{owner}"
    path = f"{names()[owner]}.{attribute}" if owner in names() else ""
    if path in known:
        return path
    if path:  # inherited
        module, _, name = names()[owner].rpartition(".")
        for base in getattr(getattr(import_module(module), name), "__mro__", ())[1:]:
            entry = names().get(f"ps.{base.__name__}") or names().get(base.__name__)
            if entry and f"{entry}.{attribute}" in known:
                return f"{entry}.{attribute}"
    return None


class Links(SphinxPostTransform):
    """Put the links, and the shown names of signatures."""

    default_priority = 850  # before table_breaks, which cuts texts
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        objects = self.env.get_domain("py").objects
        here = self.env.docname
        for node in list(self.document.findall(nodes.literal)):
            if any(isinstance(one, nodes.reference | nodes.title | addnodes.desc_signature) for one in _parents(node)):
                continue
            entry = entry_of(node.astext(), objects)
            if entry not in objects or entry in _described(node):
                continue
            page = objects[entry].docname
            address = "" if page == here else self.app.builder.get_relative_uri(here, page)
            link = nodes.reference("", "", internal=True, refuri=f"{address}#{objects[entry].node_id}")
            node.replace_self(link)
            link += node
        for signature in self.document.findall(addnodes.desc_signature):
            module, _, name = (signature.get("ids") or [""])[0].rpartition(".")
            if module in MODULES and name in public_names(module):
                for before in signature.findall(addnodes.desc_addname):
                    before.children = [nodes.Text(prefix(module, name))]


def _parents(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def _described(node: nodes.Node) -> set[str]:
    """Return the entries whose documentation the node is in: they need no link to themselves."""
    return {
        name
        for one in _parents(node)
        if isinstance(one, addnodes.desc)
        for signature in one.findall(addnodes.desc_signature)
        for name in signature.get("ids", [])[:1]
        if signature.parent is one
    }


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_post_transform(Links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
