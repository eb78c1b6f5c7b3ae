"""Long names in tables may break after a sign or before a capital, never within a word, so that tables fit."""

import re
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

LONG = 12  # a word of at most so many signs stays whole
BREAK = re.compile(r"(?<![0-9][.,](?=[0-9]))(?<=[._/(,=:\[])(?=[^\s._/(,=:\[])|(?<=[a-z0-9])(?=[A-Z])")


def pieces(text: str) -> list[str]:
    """Return *text* cut where it may break.

    >>> pieces("the class T5ForConditionalGeneration")
    ['the class T5', 'For', 'Conditional', 'Generation']
    >>> pieces("x10.04[10.04-10.05]")  # a number stays whole
    ['x10.04[', '10.04-10.05]']
    """
    cuts = [
        word.start() + found.start()
        for word in re.finditer(r"\S+", text)
        if len(word[0]) > LONG
        for found in BREAK.finditer(word[0])
    ]
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


class Breaks(SphinxPostTransform):
    """Put `<wbr>` between the pieces of long words in tables."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        for entry in self.document.findall(nodes.entry):
            for node in list(entry.findall(nodes.Text)):
                parts = pieces(node.astext())
                if len(parts) > 1 and not isinstance(node.parent, nodes.math | nodes.raw):
                    new: list[nodes.Node] = [nodes.Text(parts[0])]
                    for part in parts[1:]:
                        new += [nodes.raw("", "<wbr>", format="html"), nodes.Text(part)]
                    node.parent.replace(node, new)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_post_transform(Breaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
