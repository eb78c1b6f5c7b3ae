"""Checks that results to be compared were measured in the same way."""

from collections.abc import Mapping
from typing import Any

from promptscope.errors import ProbeError
from promptscope.probes.result import ProbeResult


def check_alike(results: Mapping[str, ProbeResult]) -> None:
    """Raise ProbeError unless *results* come from one model and one probe, with the same prompts, layers and lengths.

    Only prompts of the same name are compared with each other across results.
    """
    if not results:
        raise ProbeError(
            "expected a dict task -> result with at least one entry, and it is empty: "
            "give {'sst2': ps.probe(...)['attention_kl'], ...}"
        )
    (first, reference), *others = results.items()
    for name, result in others:
        for what, advice in _DIFFERENCES:
            mine, theirs = _read(reference, what), _read(result, what)
            if mine != theirs:
                raise ProbeError(
                    f"results of {first!r} and {name!r} have different {what}: {mine} and {theirs}. {advice}"
                )


def check_lengths(result: ProbeResult, prompts: list[str]) -> None:
    """Raise ProbeError if the named prompts of *result* have different lengths, as far as these are known."""
    lengths = {name: _lengths(result)[name] for name in prompts if name in _lengths(result)}
    if len(set(lengths.values())) > 1:
        raise ProbeError(f"prompts of different lengths cannot be compared: {lengths}. {_SAME_LENGTH}")


_SAME_LENGTH = "Compare prompts of one length: a result depends on the number of prompt positions"
_DIFFERENCES = (
    ("probes", "Compare results of one probe with the same settings"),
    ("dimensions", "Compare results of one probe with the same settings"),
    ("models", ("Compare results of one model: the activations of different models have different spaces")),
    ("prompts", "Give prompts the same names for every task, such as 'v1' and 'v2'"),
    ("lengths of prompts", _SAME_LENGTH),
    ("layers", "Probe the same layers"),
    (
        "sizes of label sets",
        "Cosines centred about the mean of the label words depend on how many words there are: use centred=False",
    ),
)


def _read(result: ProbeResult, what: str) -> Any:
    about = result.provenance.get("probe", {})
    if what == "probes":
        return result.name, about
    if what == "dimensions":
        return result.dims
    if what == "models":
        model = result.provenance.get("model", {})
        return {name: model[name] for name in ("name", "weights_hash") if name in model}
    if what == "lengths of prompts":
        return _lengths(result)
    if what == "sizes of label sets":
        centred = about.get("centred") and about.get("reference") == "residual"
        return len(result.provenance.get("labels", ())) if centred else None
    dim = {"prompts": "prompt", "layers": "layer"}[what]
    return result.data[dim].values.tolist() if dim in result.data.coords else None


def _lengths(result: ProbeResult) -> dict[str, int]:
    prompts = result.provenance.get("prompts", {})
    return {name: about["length"] for name, about in prompts.items() if "length" in about}
