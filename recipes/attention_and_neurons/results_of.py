"""Combines the tasks' probe results into those that figures and observations use; nothing here needs the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import xarray as xr

from promptscope import ProbeError, ProbeResult
from promptscope.probes import correlate, layer_curves, on_scores, prompt_pca, stack_tasks
from recipes.attention_and_neurons.probing import RANDOM, VARIANTS, Measured
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.tasks import kind_of, kinds

FURTHER = (
    "attention_mass",
    "attention_bias",
    "attention_kl_per_query",
    "label_cosine_centred",
    "label_cosine_residual",
)


@dataclass(frozen=True)
class Summary:
    """Results over all tasks; the dimension `task` or `group` comes first. None: not possible with these tasks."""

    variability: ProbeResult
    long_tasks: tuple[str, ...]
    """Tasks whose variability is over as many tokens, which `variability` stacks."""
    short_variability: ProbeResult | None
    kl: ProbeResult
    kl_shown: ProbeResult
    """Of two kinds of tasks, as in Figure 4."""
    kl_by_language: ProbeResult
    kl_by_input: ProbeResult
    correlations: dict[str, ProbeResult]
    on: ProbeResult
    on_binary: ProbeResult
    cosines: dict[str, ProbeResult]
    further: dict[str, ProbeResult]
    """Layer curves that the paper does not have, by name."""
    residual: dict[str, ProbeResult]
    pca: dict[str, ProbeResult]
    """Of the prompts of all tasks: v1, v2, and random ones of their norms."""


def summarise(settings: Settings, measured: Measured, languages: Mapping[str, str]) -> Summary:
    """Stack the tasks' results; random prompts of the same norms are kept with the trained ones."""
    kl, variability = measured.of("attention_kl"), measured.of("attention_variability")
    short = {task: result for task, result in variability.items() if _is_short(task, settings)}
    long = {task: result for task, result in variability.items() if task not in short}
    return Summary(
        variability=stack_tasks(long or short),
        long_tasks=tuple(long or short),
        short_variability=stack_tasks(short) if short and long else None,
        kl=stack_tasks(kl),
        kl_shown=stack_tasks({task: kl[task] for task in _shown_tasks(list(kl))}),
        kl_by_language=layer_curves(kl, by=dict(languages)),
        kl_by_input=layer_curves(kl, by="input_type"),
        correlations={task: correlate(kl[task], variability[task]) for task in kl},
        on=on_scores(measured.of("neuron_states"), dict(languages)),
        on_binary=on_scores(measured.of("neuron_states_binary"), dict(languages)),
        cosines=measured.of("label_cosine"),
        further={
            name: layer_curves(measured.of(name), by={task: languages[task] for task in measured.of(name)})
            for name in FURTHER
            if measured.of(name)
        },
        residual=measured.of("residual_pca"),
        pca={variant: _pca(settings, measured, variant, languages) for variant in (*VARIANTS, *RANDOM)},
    )


def mean_over_tasks(stacked: ProbeResult) -> ProbeResult:
    """Return the mean over the dimension `task`, without intervals: the tasks' inputs are different ones."""
    data = stacked.data[["values"]].mean("task")
    return replace(stacked, data=data, title=f"{stacked.title}, mean over {stacked.data.sizes['task']} tasks")


def some_prompts(result: ProbeResult, prompts: Sequence[str] = VARIANTS) -> ProbeResult:
    """Return the result of some of its prompts, by default without the random ones."""
    return replace(result, data=result.data.sel(prompt=list(prompts)))


def stack_correlations(correlations: Mapping[str, ProbeResult]) -> ProbeResult:
    """Return the correlations of all tasks as one result, for Figure 6."""
    return some_prompts(stack_tasks(correlations))


def mean_gap(cosines: Mapping[str, ProbeResult], by: Mapping[str, str]) -> xr.DataArray | None:
    """Return the gap between gold and other label words, mean over the tasks of a group: (group, prompt, layer)."""
    if not cosines:
        return None
    groups: dict[str, list[xr.DataArray]] = {}
    for task, result in cosines.items():
        groups.setdefault(by[task], []).append(result.data["gap"])
    means = [xr.concat(gaps, dim="task").mean("task") for gaps in groups.values()]
    return xr.concat(means, dim="group").assign_coords(group=list(groups))


def _shown_tasks(tasks: Sequence[str]) -> list[str]:
    """Return tasks of the kinds STS and TC as in the paper, or of the first two kinds."""
    found = kinds(tasks)
    chosen = [kind for kind in ("STS", "TC") if kind in found] or list(found)[:2]
    return [task for kind in chosen for task in found[kind]]


def _is_short(task: str, settings: Settings) -> bool:
    return kind_of(task) == "CG" and settings.first_n_concepts != settings.first_n


def _pca(settings: Settings, measured: Measured, variant: str, languages: Mapping[str, str]) -> ProbeResult:
    prompts = {task: of_task[variant] for task, of_task in measured.prompts.items()}
    if len({prompt.content_hash() for prompt in prompts.values()}) < len(prompts):
        raise ProbeError(
            f"two tasks have equal {variant} prompts, which trained prompts never are: "
            "delete their runs and train again"
        )
    found = prompt_pca(
        prompts,
        tasks={task: kind_of(task) for task in prompts},
        languages=dict(languages),
        n_permutations=settings.permutations,
    )
    return replace(found, title=f"{variant} prompts, principal components")
