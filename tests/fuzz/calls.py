"""For every public name: how to call it well, made from its signature; then one argument at a time is spoilt."""

import inspect
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pandas as pd
import torch
from jaxtyping import AbstractArray

import promptscope as ps
from promptscope.checks import signature_of

MODULES = ("account", "causal", "interventions", "plots", "probes", "prompts", "readings", "report", "statistics")

NOT_CALLED = {
    "errors": "raised, not called",
    "results": "made by the functions that return them",
    "values": "constants and types",
}
"""Why a public name has no calls here."""

RESULTS = [
    "Account",
    "Answers",
    "Carriers",
    "Comparison",
    "Component",
    "CutPrompt",
    "EditedPrompt",
    "Placement",
    "FunctionProbe",
    "PromptComparison",
    "TargetLoss",
    "Transplant",
    "Write",
    "WritingProbe",
    "CheckReport",
    "Effect",
    "Importance",
    "Inputs",
    "Loaded",
    "LogitLens",
    "ManyRuns",
    "NearestTokens",
    "Part",
    "Patchscope",
    "ProbeResult",
    "PromptEffect",
    "Shifts",
    "SkillNeurons",
    "Subject",
    "WordsComparison",
    "Alignment",
    "Concentration",
    "GroupedMean",
    "MantelTest",
    "Projection",
    "PromptSimilarities",
    "ShapleyValues",
    "SilhouetteTest",
    "Transfer",
    "HookedModel",
    "Prompt",
    "Probe",
    "Capture",
    "JointCapture",
    "PairedCapture",
    "SummedCapture",
    "View",
    "Entries",
    "LayerGroups",
    "AttentionBlock",
    "HeadOutputParts",
    "PerQueryKL",
    "PromptMass",
    "ReceivedAttention",
    "ResidualAt",
    "UnembeddingCosines",
]

METHODS = {
    "HookedModel.logits": lambda: model().logits,
    "HookedModel.hooks": lambda: under_hooks,
    "HookedModel.site": lambda: model().site,
    "Task.from_records": lambda: ps.Task.from_records,
    "Task.with_splits": lambda: task().with_splits,
    "Task.encode": lambda: task().encode,
    "Task.split": lambda: task().split,
    "Task.score": lambda: task().score,
    "Task.show": lambda: task().show,
    "Prompt.bind": lambda: ps.SoftPrompt(2).bind,
    "Prompt.save": lambda: prompt().save,
    "Report.section": lambda: ps.Report("a").section,
    "ProbeResult.save": lambda: result().save,
}


def public_calls() -> dict[str, Callable[..., Any]]:
    """Return every public function, and class that users make, by its dotted name."""
    found: dict[str, Callable[..., Any]] = {}
    for where, names in [("", ps.__all__), *((module, getattr(ps, module).__all__) for module in MODULES)]:
        for name in names:
            thing = getattr(getattr(ps, where) if where else ps, name)
            if why_not(name, thing) is None:
                found[f"{where}.{name}".strip(".")] = thing
    found |= {name: make() for name, make in METHODS.items()}
    return found


def why_not(name: str, thing: Any) -> str | None:
    """Return why a public name is not called, a key of `NOT_CALLED`, or None."""
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return "errors"
    if name in RESULTS:
        return "results"
    if inspect.ismodule(thing) or not callable(thing) or get_origin(thing) is not None:
        return "values"
    return None


@cache
def model() -> ps.HookedModel:
    return ps.load_model("embedded-causal")


@cache
def task() -> ps.Task:
    return ps.load_task("continent_en")


@cache
def prompt() -> ps.SoftPrompt:
    return ps.SoftPrompt(3).bind(model())


@cache
def result() -> ps.ProbeResult:
    return ps.probe(model(), prompt(), task(), "attention_kl", limit=2, progress=False)["attention_kl"]


@cache
def importance() -> ps.Importance:
    return ps.importance(prompt(), model(), task(), limit=2, progress=False)


@cache
def folder() -> Path:
    where = Path(tempfile.mkdtemp())
    prompt().save(where)
    return where


def under_hooks(fwd_hooks: Iterable[ps.models.Hook]) -> None:
    """Enter the block: the call alone does nothing yet."""
    with model().hooks(fwd_hooks):
        pass


MADE: dict[str, Callable[[], Any]] = {
    "HookedModel": model,
    "Prompt": prompt,
    "SoftPrompt": prompt,
    "P": prompt,
    "Task": task,
    "ProbeResult": result,
    "Importance": importance,
    "LogitLens": lambda: ps.readings.read_logit_lens(model(), prompt()),
    "TrainConfig": lambda: ps.TrainConfig(steps=1, batch_size=2),
    "PathLike": folder,
    "DataFrame": lambda: pd.DataFrame({"a": [1.0]}),
    "Nulls": lambda: ps.readings.Nulls(),
    "Metric": lambda: "accuracy",
}


def good_arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """Return an argument for each parameter that has no default, of the type that is written there."""
    parameters = signature_of(function).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p for p in parameters if p.default is p.empty and p.kind in plain and p.name != "self"]
    return {p.name: good(p.annotation, p.name) for p in needed}


def good(kind: Any, name: str = "") -> Any:
    """Return a value of an annotation."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return good(inside[0], name)
    if origin is Literal:
        return inside[0]
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return _array(kind)
    plain = {int: 4, float: 0.5, str: "text", bool: True}
    if kind in plain:
        return plain[kind]
    known = getattr(kind, "__name__", "")
    if known in MADE:
        return MADE[known]()
    if origin is tuple:
        return tuple(good(one) for one in inside if one is not Ellipsis)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"a": good(inside[1])}
    if isinstance(origin, type) and issubclass(origin, Iterator | Iterable):
        return [good(inside[0])] if inside else ["a"]
    if origin is Callable or kind is Callable:
        return lambda *arguments: np.zeros(4)
    return "a"


def _array(kind: Any) -> Any:
    sizes = {"k": 3, "B": 2, "M": 2, "R": 5, "G": 6, "P": 2}
    names = [name for name in kind.dim_str.split() if not name.startswith("*") and name != "..."]
    shape = [int(name) if name.isdigit() else sizes.get(name, 4) for name in names]
    number = kind.__name__.split("[")[0]
    if kind.array_type is torch.Tensor:
        return torch.ones(shape, dtype={"Int": torch.long, "Bool": torch.bool}.get(number, torch.float32))
    return np.ones(shape, dtype={"Int": np.int64, "Bool": np.bool_}.get(number, np.float64))
