"""`promptscope doctor`: installed versions, devices and settings of this machine, and a test of small models."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from promptscope.cli.options import Json
from promptscope.cli.output import only_results_on_stdout, print_json, print_pairs

EXAMPLE = "Example: promptscope doctor; add its output to a bug report"

_PACKAGES = (
    "promptscope",
    "torch",
    "transformers",
    "transformer-lens",
    "nnsight",
    "peft",
    "numpy",
    "plotly",
    "kaleido",
)
_MODELS = ("embedded-causal", "embedded-seq2seq", "embedded-masked-0")


def doctor(
    test: Annotated[bool, typer.Option("--test/--no-test", help="Load a small model of each kind and run it.")] = True,
    json: Json = False,
) -> None:
    """Show versions, devices and threads, and test a model of each kind."""
    with only_results_on_stdout():
        found = {"versions": _versions(), "machine": _machine(), "self-test": _self_tests() if test else {}}
    if json:
        print_json(found)
    else:
        for title, pairs in found.items():
            if pairs:
                print_pairs(pairs, title)
    if any(result != "passed" for result in found["self-test"].values()):
        raise typer.Exit(1)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> dict[str, Any]:
    import torch

    import promptscope as ps
    from promptscope.engine import uses_prepacked
    from promptscope.engine.linears import prepacking_pays

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    model = ps.load_model("embedded-causal", device="cpu")
    large = torch.nn.Linear(1024, 1024)
    return {
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "CPU kernels": torch.backends.cpu.get_cpu_capability(),
        "GPUs": gpus or "none",
        "weights packed once": f"large models {_yes(prepacking_pays(large))}, small ones {_yes(uses_prepacked(model))}",
        "bf16 products": _yes(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _self_tests() -> dict[str, str]:
    """Load a model of each kind, which runs its self-test, and run it with a prompt."""
    import torch

    import promptscope as ps

    results = {}
    for name in _MODELS:
        try:
            model = ps.load_model(name)
            ids = torch.tensor([[5, 6, 7]], device=model.device)
            decoder = {"decoder_input_ids": ids} if model.family.kind == "seq2seq" else {}
            prompt = ps.SoftPrompt(2).bind(model)
            hooked, plain = (model.logits(ids, prompt=prompt, via=via, **decoder) for via in ("hooks", "auto"))
            torch.testing.assert_close(hooked, plain, rtol=1e-3, atol=1e-3)
            results[name] = "passed"
        except Exception as error:  # whatever is wrong here is what was asked for
            results[name] = f"{type(error).__name__}: {error}"
    return results
