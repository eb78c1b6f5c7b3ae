"""`promptscope new-probe`: a file to start a probe from, and its test."""

import keyword
from pathlib import Path
from string import Template
from typing import Annotated

import typer

EXAMPLE = "Example: promptscope new-probe norm_growth; then pytest test_norm_growth.py"

_PROBE = Template('''\
"""$title: what it measures, in one line."""

from dataclasses import dataclass

import numpy as np

import promptscope as ps
from promptscope.probes import Capture, Probe


@dataclass(frozen=True)
class ${kind}Capture(Capture):
    """What is kept of each input: here, the mean norm of the residual stream over its tokens."""

    site: str = "hook_resid_post"  # model.hook_points() lists the others; without a layer it means every layer

    def reduce(self, x, layer, view):
        """Reduce x (B, k + n, d_model) to one row for each input, (B,)."""
        norms = view.without_prompt(x).norm(dim=-1)  # (B, n)
        return (norms * view.tokens).sum(dim=1) / view.lengths  # padding does not count


@ps.register_probe
class $kind(Probe):
    """$title: the formula, its units and which way is more."""

    name = "$name"
    title = "$title"
    conditions = "prompted"  # or "plain" (without a prompt), "both"

    def captures(self):
        """Name what is kept."""
        return {"norm": ${kind}Capture()}

    def compute(self, entries):
        """Make the result: one number for each prompt, input and layer."""
        numbers = {
            prompt: np.concatenate([part["values"] for part in entries.prompted("norm", prompt)])
            for prompt in entries.prompts
        }
        return entries.result(numbers, dims=("layer",), units="norm", direction="higher = longer vectors")
''')
_TEST = Template('''\
"""The probe $name conforms, and gives the right number."""

import promptscope as ps
import torch
from $name import $kind


def test_it_conforms():
    ps.check_probe($kind())


def test_its_number_is_right():
    model, task = ps.load_model("embedded-causal"), ps.load_task("capital_en")
    prompt = ps.SoftPrompt(4).bind(model)
    result = ps.probe(model, $kind(), prompts={"mine": prompt}, task=task, limit=1)["$name"]
    (record,) = task.encode(model.tokenizer, model.family.kind, "test", with_label=False, limit=1)
    found = []
    model.logits(
        torch.tensor([record.input_ids]),
        prompt=prompt,
        hooks=[("blocks.0.hook_resid_post", lambda x, hook: found.append(x[0, 4:].norm(dim=-1).mean().item()))],
    )
    assert abs(float(result.values.sel(prompt="mine", layer=0)) - found[0]) < 1e-4 * found[0]
''')


def new_probe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the probe, such as norm_growth.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Where to write the two files.")
    ] = Path(),
) -> None:
    """Write NAME.py, a probe that runs as it is, and test_NAME.py."""
    from promptscope.errors import ProbeError

    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ProbeError(
            f"a probe's name must be small letters, digits and underscores, such as norm_growth, got {name!r}"
        )
    from promptscope.files import write_text
    from promptscope.probes import PROBES

    if name in PROBES:
        raise ProbeError(f"a probe called {name!r} exists already, from {PROBES.origin(name)}: choose another name")
    files = {folder / f"{name}.py": _PROBE, folder / f"test_{name}.py": _TEST}
    there = [path for path in files if path.exists()]
    if there:
        raise ProbeError(f"{there[0]} exists already: choose another name, or another folder with --folder")
    words = {
        "name": name,
        "kind": "".join(map(str.capitalize, name.split("_"))),
        "title": name.replace("_", " ").capitalize(),
    }
    for path, template in files.items():
        write_text(path, template.substitute(words))
        typer.echo(str(path))
