"""`promptscope inspect`: settings, provenance, norms and nearest tokens of a prompt."""

from pathlib import Path
from typing import Annotated, Any

import typer

from promptscope.cli import completion
from promptscope.cli.options import Json
from promptscope.cli.output import only_results_on_stdout, print_json, print_pairs, show
from promptscope.errors import ModelError, PromptError

EXAMPLE = "Example: promptscope inspect runs/capital; or of one prompt: promptscope inspect runs/capital/prompts/last"


def inspect(
    what: Annotated[Path, typer.Argument(metavar="RUN_OR_PROMPT", help="A run, or a prompt folder (also PEFT's).")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model, if it was moved since the training.", autocompletion=completion.models
        ),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens/--no-tokens", help="List the nearest vocabulary tokens (needs the model).")
    ] = True,
    nearest: Annotated[int, typer.Option(min=1, help="Number of nearest tokens per position.")] = 3,
    json: Json = False,
) -> None:
    """Show a prompt's settings, provenance, norms and nearest tokens."""
    with only_results_on_stdout():
        found = _inspect(what, model, tokens, nearest)
    if json:
        print_json(found)
        return
    print_pairs({"type": found["type"], "parameters": found["n_parameters"], **found["settings"]}, str(what))
    print_pairs(found["provenance"], "provenance")
    if "result" in found:
        print_pairs({name: value for name, value in found["result"].items() if name != "versions"}, "run")
    print_pairs({row["vectors"]: f"mean {show(row['mean'])}, {show(row['min'])} to {show(row['max'])}"
                 for row in found["norms"]}, "norms of its vectors")  # fmt: skip
    if isinstance(found["nearest_tokens"], str):
        typer.echo(f"nearest tokens: {found['nearest_tokens']}")
    else:
        lines = {
            str(row["position"]): "  ".join(f"{t['token']!r} {t['cosine']:.2f}" for t in row["tokens"])
            for row in found["nearest_tokens"]
        }
        print_pairs(lines, "nearest tokens (cosine) of each position")


def _inspect(what: Path, model: str | None, tokens: bool, n: int) -> dict[str, Any]:
    import promptscope as ps

    is_run = (what / "config.json").is_file() and (what / "prompts").is_dir()
    run = ps.load_run(what) if is_run else None
    prompt = run.prompt if run is not None else ps.load_prompt(what)
    found: dict[str, Any] = {
        "type": type(prompt).__name__,
        "settings": prompt.settings(),
        "n_parameters": prompt.n_parameters,
        "content_hash": prompt.content_hash(),
        "provenance": prompt.provenance,
        "norms": _norms(prompt),
        "nearest_tokens": _nearest(prompt, run, model, n) if tokens else "not asked for",
    }
    if run is not None:
        found |= {"run": run.description, "result": run.result}
    return found


def _norms(prompt: Any) -> list[dict[str, Any]]:
    from promptscope.prompts.norms import prompt_norms

    table = prompt_norms(prompt)
    grouped = table.groupby(["part", "role", "layer"], sort=False)["norm"].agg(["mean", "min", "max"]).reset_index()
    return [
        {
            "vectors": f"{row.part} {row.role}" + (f", layer {row.layer}" if row.layer >= 0 else ""),
            "mean": float(row.mean),
            "min": float(row.min),
            "max": float(row.max),
        }
        for row in grouped.rename(columns=str).itertuples(name="Row")
    ]


def _nearest(prompt: Any, run: Any, model: str | None, n: int) -> list[dict[str, Any]] | str:
    """Return the nearest tokens of each position, or the reason why there are none."""
    import promptscope as ps
    from promptscope.training.reload import reload_model

    if not isinstance(prompt, ps.SoftPrompt):
        return "a deep prompt holds keys and values, which cannot be compared with token embeddings"
    name = model or prompt.provenance.get("model")
    if run is None and name is None:
        return "the prompt does not name its model: pass --model"
    try:
        loaded = reload_model(run, model) if run is not None else ps.load_model(str(name))
        nulls = ps.readings.Nulls(random=0)
        table = ps.readings.read_nearest_tokens(loaded, prompt, n, nulls=nulls, n_reference=1).table
    except (ModelError, PromptError) as error:
        if model is not None:
            raise
        return f"the model cannot be loaded ({error})"
    near = table[table["kind"] == "prompt"].assign(cosine=1 - table["distance"])
    return [
        {"position": position, "tokens": rows[["token", "cosine"]].to_dict("records")}
        for position, rows in near.groupby("position")
    ]
