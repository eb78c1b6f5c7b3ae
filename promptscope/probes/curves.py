"""Layer curves of several tasks in one result, by task, language or type of input."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import xarray as xr

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.agreement import check_alike
from promptscope.probes.result import ProbeResult

By = Literal["task", "language", "input_type"]
_BOUNDS = ("low", "high")


@checked()
def layer_curves(results: Mapping[str, ProbeResult], by: By | Mapping[str, str] = "task") -> ProbeResult:
    """Return the layer curves of several tasks, averaged within groups: dimension `group` before `layer`.

    Args:
        results: task -> result of the same probe.
        by: `"task"` gives one curve for each task. `"language"` and `"input_type"` (`single` or `pair`, by the number
            of fields in the template) give the mean over the tasks that share it. A dict task -> group gives any other
            grouping.

    The interval of a mean over T tasks treats the tasks as fixed and the inputs as random: with d_t the distance from
    the mean to the end of task t's interval, it is `sqrt(sum_t d_t^2) / T`.

    Raises:
        ProbeError: results of different models, probes, prompts or layers, prompts of different lengths, or a task
            whose group is not known.

    Reference: *Toward the explainable soft prompts*, Figures 5 and 15.

    >>> tasks = {task: ProbeResult.from_examples({"v2": np.full((5, 3, 2), i)}) for i, task in enumerate("ab")}
    >>> layer_curves(tasks, by={"a": "both", "b": "both"}).values.sel(prompt="v2", group="both").values.tolist()
    [0.5, 0.5, 0.5]
    """
    check_alike(results)
    groups: dict[str, list[str]] = {}
    for task in results:
        groups.setdefault(_group(task, results[task], by), []).append(task)
    curves = {task: result.layer_curve() for task, result in results.items()}
    means = [_mean([curves[task].data for task in tasks]) for tasks in groups.values()]
    data = xr.concat(means, dim="group", join="exact").assign_coords(group=list(groups))
    reference = next(iter(curves.values()))
    what = by if isinstance(by, str) else "group"
    return replace(
        reference,
        data=data.transpose(..., "group", "layer"),
        title=f"{reference.title}, by {what.replace('_', ' ')}",
        n_examples=sum(result.n_examples for result in results.values()),
        n_skipped=sum(result.n_skipped for result in results.values()),
        provenance=reference.provenance | {"inputs": {task: r.provenance.get("inputs") for task, r in results.items()}},
    )


@checked()
def stack_tasks(results: Mapping[str, ProbeResult]) -> ProbeResult:
    """Return the results of several tasks as one, with `task` as the first dimension.

    Numbers of single inputs (`per_example`) and jackknife values (`without`) are dropped.

    Raises:
        ProbeError: results of different models, probes, prompts or layers, or prompts of different lengths.

    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> of_task = {task: ProbeResult.from_examples({"v1": numbers}, name="mine") for task in ("capital", "continent")}
    >>> stack_tasks(of_task).dims
    ('task', 'prompt', 'layer', 'head')
    """
    check_alike(results)
    reference = next(iter(results.values()))
    parts = [result.data.drop_dims(["example", "left_out"], errors="ignore") for result in results.values()]
    return replace(
        reference,
        data=xr.concat(parts, dim="task", join="exact").assign_coords(task=list(results)),
        n_examples=sum(result.n_examples for result in results.values()),
        n_skipped=sum(result.n_skipped for result in results.values()),
        provenance=reference.provenance | {"inputs": {task: r.provenance.get("inputs") for task, r in results.items()}},
    )


def _group(task: str, result: ProbeResult, by: By | Mapping[str, str]) -> str:
    inputs = result.provenance.get("inputs", {})
    if not isinstance(by, str):
        found = by.get(task)
    elif by == "task":
        found = task
    elif by == "language":
        found = inputs.get("language")
    else:
        fields = inputs.get("fields")
        found = None if fields is None else "pair" if len(fields) > 1 else "single"
    if found is None:
        named = "the dict" if not isinstance(by, str) else f"the result (its {by.replace('_', ' ')})"
        raise ProbeError(f"{named} does not say which group {task!r} is in: pass by={{{task!r}: 'its group', ...}}")
    return found


def _mean(curves: list[xr.Dataset]) -> xr.Dataset:
    values = np.mean([curve["values"].values for curve in curves], axis=0)
    dims = curves[0]["values"].dims
    variables = {"values": (dims, values)}
    for name, sign in zip(_BOUNDS, (-1, 1), strict=True):
        if all(name in curve for curve in curves):
            distances = np.array([curve[name].values - curve["values"].values for curve in curves])
            variables[name] = (dims, values + sign * np.sqrt(np.square(distances).sum(axis=0)) / len(curves))
    return xr.Dataset(variables, coords={dim: curves[0][dim] for dim in dims})
