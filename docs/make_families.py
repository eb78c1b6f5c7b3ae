"""Write docs/families.md: what works on which architecture, measured on the tiny random models of the tests.

Run from the root of the repository: `python docs/make_families.py`. A test compares the page with what models say.
"""

import sys
import warnings
from pathlib import Path

import promptscope as ps
from promptscope.engine.choice import why_not_packed
from promptscope.models import HookedModel
from promptscope.models.samples import why_no_keys
from tests.models.zoo import NAMES, architecture_of, make

PAGE = Path(__file__).parent / "families.md"
COLUMNS = (
    "architecture",
    "config",
    "kind",
    "v1",
    "v2",
    "v2 in some layers",
    "packed",
    "patterns",
    "neurons",
    "why not",
)
HEAD = """# Which models

`ps.load_model` takes every text transformer that TransformerLens' bridge knows, and seven masked ones that promptscope
adds a bridge for. Hook points of a model are *found* on its bridge, what it does to keys, positions and embeddings is
*measured* when it is loaded, and a self-test compares the hooked model with the plain one. A model that does not pass
is refused with what went wrong. `ps.supported_architectures()` lists the classes that are tried.

The table was made by `docs/make_families.py` on tiny random models, one row for each config. It says what loading
found:

- **v1**, **v2**: input-level prompts, and keys and values in every layer. **v2 in some layers**: `hooks` where that
  runs the hooked model only, because attention cannot be replaced from outside; the same numbers, slower.
- **packed**: the flat pass without padding. Others run with a prefix cache (causal models) or under hooks.
- **patterns**: attention scores and patterns can be read and written. **neurons**: so can FFN neurons (not where they
  are experts, whose inputs and outputs are all that the bridge shows).
"""


def row(name: str, model: HookedModel) -> tuple[str, ...]:
    """Return a line of the table."""
    family, reasons = model.family, []
    no_keys = why_no_keys(model, family.attentions)
    if no_keys is not None:
        reasons.append(f"no v2: {no_keys}")
    packed = why_not_packed(model)
    if packed is not None:
        reasons.append(f"unpacked: {packed}")
    inlined = family.kind == "causal" and model.facts.why_inlined is not None
    patterns, neurons = (
        any(point.name.endswith(end) for point in family.points) for end in ("hook_pattern", "mlp.hook_post")
    )
    for site, why in family.missing.items():
        if site.endswith(("hook_pattern", "hook_post")) and site.startswith(("blocks", "encoder_blocks")):
            reasons.append(f"{site.rpartition('.')[2]} {why}")
    if model.facts.why_no_cache is not None:
        reasons.append(f"no prefix cache: {model.facts.why_no_cache}")
    some = "-" if no_keys is not None else "hooks" if inlined else "yes"
    found = ("yes" if x else "-" for x in (packed is None, patterns, neurons))
    flags = ("yes", "yes" if no_keys is None else "-", some, *found)
    return (family.architecture, name, family.kind, *flags, "; ".join(reasons).replace("|", "/"))


def refused(name: str, error: ps.ModelError) -> tuple[str, ...]:
    """Return the line of a config that does not load."""
    return (architecture_of(name), name, "refused", *"-" * 6, str(error).split(":")[0].split(" (expected")[0])


def rows(names: tuple[str, ...] = NAMES) -> list[tuple[str, ...]]:
    """Load the models *names* of the zoo, and say what they can."""
    found = []
    for name in names:
        try:
            found.append(row(name, ps.load_model(make(name))))
        except ps.ModelError as error:
            found.append(refused(name, error))
    return found


def line(cells: tuple[str, ...]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Return the text of the page."""
    table = [line(COLUMNS), line(("---",) * len(COLUMNS)), *map(line, rows())]
    return HEAD + "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(NAMES)} configs", file=sys.stderr)
