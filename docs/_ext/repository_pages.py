"""Show the repository's READMEs on the site, and send links that leave docs/ to them.

On a code host `[the engine](../promptscope/engine/README.md)` opens that file; on the site it opens the page made of
it. A link to any other file of the repository becomes a download.
"""

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)]*)?\)")


def sources() -> dict[Path, str]:
    """Return the files that become pages, with the pages' names."""
    readmes = [*ROOT.glob("recipes/*/README.md"), *ROOT.glob("promptscope/*/README.md"), ROOT / "benchmarks/README.md"]
    named = {path: f"source/{path.parent.relative_to(ROOT).as_posix()}" for path in readmes}
    named[ROOT / "promptscope/embedded/MODEL_CARD.md"] = "source/promptscope/model_card"
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        named[ROOT / name] = f"source/{name.split('.')[0].lower()}"
    return {path: page for path, page in named.items() if path.exists()}


def rewrite(text: str, here: Path, there: Path, docs: Path) -> str:
    """Return Markdown of the file *here* with its relative links made right for a page written at *there*."""
    pages = {path: docs / f"{page}.md" for path, page in sources().items()}

    def changed(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        found = (here.parent / target).resolve()
        if found.is_dir():
            found = found / "README.md" if (found / "README.md").exists() else found
        if found.is_dir() or not found.exists():
            return label.strip("[]") if found.is_dir() else match[0]
        goal = pages.get(found, found)
        return f"{label}({os.path.relpath(goal, there.parent)}{anchor})"

    return LINK.sub(changed, text)


def write_pages(app: Any) -> None:
    """Write docs/source/ (not kept in git)."""
    docs = Path(app.srcdir)
    for path, name in sources().items():
        page = docs / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        text = rewrite(path.read_text(encoding="utf-8"), path, page, docs)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def on_read(app: Any, docname: str, source: list[str]) -> None:
    """Send links of the pages in docs/ that leave it to where the site has them."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md" and not docname.startswith("source/"):
        source[0] = rewrite(source[0], path, path, Path(app.srcdir))


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", on_read)
    return {"parallel_read_safe": True}
