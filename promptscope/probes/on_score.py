"""ON scores: how much the prompts of different tasks activate the same FFN neurons."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.agreement import check_alike, check_lengths
from promptscope.probes.result import ProbeResult
from promptscope.statistics import jackknife_interval, neuron_overlap_matrix

ACROSS = "across"


@checked()
def on_scores(
    states: Mapping[str, ProbeResult] | ProbeResult, languages: Mapping[str, str] | None = None
) -> ProbeResult:
    """Return the ON score of every pair of tasks in each layer, and their means within and across languages.

    `ON(t, u) = 1/P sum_p cos(AS_p(t), AS_p(u))`, where AS_p(t) is the vector of FFN activations at position p with the
    prompt of task t, and P the number of positions (1, except for `at="prompt"`). It is in [-1, 1], for binary states
    in [0, 1]; the diagonal is 1; higher = more neurons in common.

    Args:
        states: task -> result of `NeuronStates`; or one result whose prompts belong to one task each, which takes one
            short pass for each prompt with `at="separator"` or `at="prompt"`.
        languages: task -> language, where the results do not know it.

    Returns:
        Dimensions prompt, task, other, layer (no `prompt` if *states* is one result). `layer_curve()` has the dimension
        `pairs`: the mean over pairs of tasks within each language, and `across` languages (`all` where no language is
        known), with delete-one-task jackknife intervals from 5 tasks on. NaN where a prompt activates no neuron of a
        layer (`state="binary"`).

    Raises:
        ProbeError: fewer than two tasks, results of different models, probes or prompts, or prompts of different
            lengths.

    Reference: *Toward the explainable soft prompts*, eq. 7 and Figure 7.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("sentiment_en")
    >>> prompts = {name: ps.SoftPrompt(length=4, seed=seed) for seed, name in enumerate(("sentiment", "topic"))}
    >>> states = ps.probe(model, prompts, task, "neuron_states", limit=2)["neuron_states"]
    >>> on_scores(states).values.sizes["layer"], float(on_scores(states).values[0, 0, 0].round(6))
    (6, 1.0)
    """
    if isinstance(states, ProbeResult):
        stack, reference = _one(states), states
    else:
        check_alike(states)
        stack, reference = _several(states), next(iter(states.values()))
    tasks = [str(task) for task in stack["task"].values]
    if len(tasks) < 2:
        raise ProbeError(f"ON scores compare at least two tasks, got {tasks}: probe the prompts of two tasks or more")
    known = _languages(states, tasks, languages)
    groups = _pairs(tasks, known)
    settings = reference.provenance.get("probe", {})
    low = 0.0 if settings.get("state") == "binary" else -1.0
    matrix = np.clip(_matrix(stack), -1.0, 1.0)  # (prompt, layer, task, other); rounding alone can leave the range
    curves = np.stack(
        [_mean_over_pairs(matrix, pairs) for pairs in groups.values()], axis=2
    )  # (3, prompt, pairs, layer)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "values": (("prompt", "task", "other", "layer"), np.moveaxis(matrix, 1, -1))
    }
    for name, curve in zip(("curve", "curve_low", "curve_high"), curves, strict=True):
        variables[name] = (("prompt", "pairs", "layer"), curve)
    coords = {"task": tasks, "other": tasks, "layer": stack["layer"].values, "pairs": list(groups)}
    data = xr.Dataset(variables, coords=coords)
    several = not isinstance(states, ProbeResult)
    return ProbeResult(
        name="on_score",
        data=data.assign_coords(prompt=stack["prompt"].values) if several else data.isel(prompt=0),
        title="ON score",
        units="ON score",
        direction="higher = more neurons in common, lower = more task-specific",
        range=(low, 1.0),
        n_examples=reference.n_examples,
        provenance=reference.provenance | {"languages": known},
    )


def _one(states: ProbeResult) -> xr.DataArray:
    _check_states(states)
    check_lengths(states, [str(name) for name in states.data["prompt"].values])
    return states.values.rename(prompt="task").expand_dims("prompt")


def _several(states: Mapping[str, ProbeResult]) -> xr.DataArray:
    for state in states.values():
        _check_states(state)
    stack = xr.concat([state.values for state in states.values()], dim="task", join="exact")
    return stack.assign_coords(task=list(states)).transpose("prompt", "task", "layer", "position", "neuron")


def _check_states(result: ProbeResult) -> None:
    if result.dims != ("prompt", "layer", "position", "neuron"):
        raise ProbeError(
            f"ON scores need results of ps.probes.NeuronStates, got {result.name!r} with the "
            f"dimensions {', '.join(result.dims)}"
        )


def _languages(
    states: Mapping[str, ProbeResult] | ProbeResult, tasks: Sequence[str], languages: Mapping[str, str] | None
) -> dict[str, str]:
    if languages is not None:
        missing = [task for task in tasks if task not in languages]
        if missing:
            raise ProbeError(f"languages has no entry for the task {missing[0]!r}, only for {list(languages)}")
        return {task: languages[task] for task in tasks}
    if isinstance(states, ProbeResult):
        return {}
    found = {task: states[task].provenance.get("inputs", {}).get("language") for task in tasks}
    return {task: str(language) for task, language in found.items()} if all(found.values()) else {}


def _pairs(tasks: Sequence[str], languages: Mapping[str, str]) -> dict[str, list[tuple[int, int]]]:
    every = [(i, j) for i in range(len(tasks)) for j in range(i)]
    if not languages:
        return {"all": every}
    groups: dict[str, list[tuple[int, int]]] = {}
    for i, j in every:
        first, second = languages[tasks[i]], languages[tasks[j]]
        groups.setdefault(first if first == second else ACROSS, []).append((i, j))
    return {name: groups[name] for name in (*dict.fromkeys(languages.values()), ACROSS) if name in groups}


def _matrix(stack: xr.DataArray) -> np.ndarray:
    """From (prompt, task, layer, position, neuron) to (prompt, layer, task, other), one layer at a time."""
    values = stack.transpose("prompt", "layer", "task", "position", "neuron").values
    return np.array([[neuron_overlap_matrix(states) for states in layers] for layers in values])


def _mean_over_pairs(matrix: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """From (prompt, layer, task, other) to mean, low and high: (3, prompt, layer)."""
    tasks = sorted({task for pair in pairs for task in pair})
    mean = _mean(matrix, pairs)
    rests = [[pair for pair in pairs if task not in pair] for task in tasks]
    if not all(rests):  # a task without which there is no pair left: nothing to tell the spread from
        return np.stack([mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)])
    without = np.stack([_mean(matrix, rest) for rest in rests])
    known = np.isfinite(mean) & np.isfinite(without).all(axis=0)  # a layer without an active neuron has no cosine
    bounds = np.full((2, *mean.shape), np.nan)
    if known.any():
        bounds[:, known] = jackknife_interval(mean[known], without[:, known])
    return np.stack([mean, *np.clip(bounds, -1.0, 1.0)])


def _mean(matrix: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    first, second = zip(*pairs, strict=True)
    return np.asarray(matrix[..., list(first), list(second)].mean(axis=-1))
