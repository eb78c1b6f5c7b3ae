"""Write docs/families.md and docs/hook-points.md: what works on which architecture, and which hook points it has.

Measured on the tiny random models of the tests. Run from the root of the repository: `python docs/make_families.py`.
Tests compare the pages with what models say.
"""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import promptscope as ps
from promptscope.engine.choice import why_not_packed
from promptscope.models import HookedModel
from promptscope.models.nnsight_table import SPOTS
from promptscope.models.samples import why_no_keys
from tests.models.zoo import MORE, NAMES, architecture_of, make

PAGE = Path(__file__).parent / "families.md"
AND = """
## And these

Architectures that others in the table above stand for: near kin of them, on whose bridge they run, or models that were
tried once. One test runs each of them every way.

"""
WHY = """
## Why not

What a config lacks, and the configs that lack it.

"""
POINTS_PAGE = Path(__file__).parent / "hook-points.md"
POINTS_HEAD = """# Hook points by family

`model.hook_points()` lists the hook points of the model that you loaded, with shape, meaning, and whether a written
value acts. The tables below were made by `docs/make_families.py` from the models of the first table of [the page of
families](families.md); configs have the names of its second column.

`{i}` is the number of a layer. Dimensions: `batch`; `pos`, the k prompt positions and then the text; `dec_pos`, the
decoder's positions; `head`, query heads; `kv_head`, key and value heads (fewer with grouped queries); `d_head`,
`d_model`, `d_mlp`, `d_vocab`; `d_embed`, the width of embeddings, which a few models project to `d_model`.

*On*: which configs have the point on the default backend, TransformerLens' bridge; *on nnsight*: which have it with
`backend="nnsight"` too. *All*: every config of that kind has the point. *Not* lists the configs that do not have it.
Where a write has no full effect, the meaning says so. A name that a model does not have is refused, with the reason.
"""
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
)
HEAD = """# Which models

`ps.load_model` takes every text transformer that TransformerLens' bridge knows, fifteen masked ones that promptscope
adds a bridge for, and eleven that run on the bridge of a near kin. Hook points of a model are *found* on its bridge,
what it does to keys, positions and embeddings is *measured* when it is loaded, and a self-test compares the hooked
model with the plain one. A model that does not pass is refused with what went wrong. `ps.supported_architectures()`
lists the classes that are tried.

The table was made by `docs/make_families.py` on tiny random models, one row for each config. It says what loading
found:

- **v1**, **v2**: input-level prompts, and keys and values in every layer. **v2 in some layers**: `hooks` where
  such prompts run through the hooked model only, because its attention cannot be replaced: the same numbers, slower.
- **packed**: texts run without padding, in one row. Others run with a prefix cache (causal models) or through hooks.
- **patterns**: attention scores and patterns can be read and written. **neurons**: so can FFN neurons (not where they
  are experts, whose inputs and outputs are all that the bridge shows).
"""


def row(name: str, model: HookedModel) -> tuple[tuple[str, ...], list[str]]:
    """Return a line of the table, and the reasons of what is not in it."""
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
    return (family.architecture, name, family.kind, *flags), reasons


def refused(name: str, error: ps.ModelError) -> tuple[tuple[str, ...], list[str]]:
    """Return the line of a config that does not load, and why."""
    return (architecture_of(name), name, "refused", *"-" * 6), [str(error).split(":")[0].split(" (expected")[0]]


def loaded_models(names: tuple[str, ...] = NAMES) -> dict[str, HookedModel | ps.ModelError]:
    """Load the models *names* of the zoo; those that are refused as their error."""
    found: dict[str, HookedModel | ps.ModelError] = {}
    for name in names:
        try:
            found[name] = ps.load_model(make(name))
        except ps.ModelError as error:
            found[name] = error
    return found


def line(cells: tuple[str, ...]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join([line(columns), line(("---",) * len(columns)), *map(line, rows)]) + "\n"


def families_page(models: Mapping[str, HookedModel | ps.ModelError]) -> str:
    """Return the text of docs/families.md; *models*: those of `NAMES` and of `MORE`."""
    found = {n: refused(n, one) if isinstance(one, ps.ModelError) else row(n, one) for n, one in models.items()}
    why: dict[str, list[str]] = {}
    for name, (_, reasons) in found.items():
        for reason in reasons:
            why.setdefault(reason, []).append(name)
    listed = [f"- {reason}: {', '.join(f'`{name}`' for name in names)}\n" for reason, names in why.items()]
    first, others = ([cells for n, (cells, _) in found.items() if (n in MORE) == more] for more in (False, True))
    return HEAD + "\n" + table(COLUMNS, first) + AND + table(COLUMNS, others) + WHY + "".join(listed)


def point_cells(model: HookedModel) -> dict[str, tuple[str, str]]:
    """Return the hook points of a model: site -> shape and meaning, as the page writes them."""
    return {point.site: (point.shape, point.meaning) for point in model.family.points}


def points_page(models: Mapping[str, HookedModel | ps.ModelError]) -> str:
    """Return the text of docs/hook-points.md."""
    kinds: dict[str, dict[str, dict[str, tuple[str, str]]]] = {"causal": {}, "masked": {}, "seq2seq": {}}
    for name, model in models.items():
        if not isinstance(model, ps.ModelError):
            kinds[model.family.kind][name] = point_cells(model)
    text = POINTS_HEAD
    families = {name: model.family.name for name, model in models.items() if not isinstance(model, ps.ModelError)}
    for kind, of in kinds.items():
        sites = dict.fromkeys(site for points in of.values() for site in points)
        rows = [
            (f"`{site}`", shape, meaning, on(kind_of, set(of)), on_nnsight(site, kind_of, families))
            for site in sites
            for (shape, meaning), kind_of in grouped({name: of[name][site] for name in of if site in of[name]}).items()
        ]
        text += f"\n## {kind.capitalize()} models\n\n" + table(
            ("hook point", "shape", "meaning", "on", "on nnsight"), rows
        )
    return text


def grouped(cells: Mapping[str, tuple[str, str]]) -> dict[tuple[str, str], set[str]]:
    """Return the configs that have the same shape and meaning of a point, by these."""
    groups: dict[tuple[str, str], set[str]] = {}
    for name, cell in cells.items():
        groups.setdefault(cell, set()).add(name)
    return groups


def on(configs: set[str], all_of_kind: set[str]) -> str:
    """Say which of the configs of a kind these are."""
    others = all_of_kind - configs
    if not others:
        return "all"
    return f"not {', '.join(sorted(others))}" if len(others) < len(configs) else ", ".join(sorted(configs))


def on_nnsight(site: str, configs: set[str], families: Mapping[str, str]) -> str:
    """Say which of the configs have a point on the nnsight backend too."""
    return ", ".join(sorted(name for name in configs if site in SPOTS.get(families[name], {}))) or "-"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    loaded = loaded_models()
    PAGE.write_text(families_page(loaded | loaded_models(tuple(MORE))), encoding="utf-8")
    POINTS_PAGE.write_text(points_page(loaded), encoding="utf-8")
    print(f"{PAGE}, {POINTS_PAGE}: {len(NAMES)} configs", file=sys.stderr)
