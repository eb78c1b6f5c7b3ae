"""The paper's seven main observations, each a function of results: does it hold here, by which number?

Every function returns findings (`recipes.common.findings`): one for each task, with the interval over its inputs, then
one over tasks. What a claim says of *trained* prompts has to be beyond what random prompts of the same norms give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from promptscope import ProbeResult
from promptscope.statistics import jackknife_interval
from recipes.attention_and_neurons import over_inputs
from recipes.attention_and_neurons.over_inputs import Compared
from recipes.common import Finding, Number, absent, judge, over_tasks
from recipes.common.findings import worse
from recipes.common.verdicts import LEVEL, mean_with_interval

NULL = "null: random prompts of the same norms"
ALL = "all tasks"


def clusters_by_task(pca: Mapping[str, ProbeResult]) -> list[Finding]:
    """Deep prompts of one kind of task form a cluster, in both languages; input-level prompts do not.

    *pca* has the components of `v1`, `v2` and random prompts of their norms. A task's number is the silhouette of its
    v2 vectors under the labels of kinds, mean over layers, minus that of its v1 vectors. Over tasks, v2
    prompts of one kind have to be closer than under shuffled labels (p of the median layer), v1 prompts must not.
    """
    claim, section = "v2 prompts cluster by kind of task, v1 prompts do not", "4.2, Figures 1, 2, 9-11"
    meaning = f"silhouette by kind of task: v2, mean over layers, less v1; {NULL}"
    if len(pca) < 4:
        return [absent(claim, section, ALL, meaning)]
    own = {name: result.data["silhouette_task_of_prompt"].mean("layer").values for name, result in pca.items()}
    trained, random = own["v2"] - own["v1"], own["random v2"] - own["random v1"]
    if np.isnan(trained).all():
        return [absent(claim, section, ALL, f"{meaning}; one kind of task, or each prompt a kind of its own")]
    names = pca["v2"].data["prompt"].values.tolist()
    found = [
        judge(claim, section, name, Number(float(a)), meaning, float(b), Number(float(a - b)))
        for name, a, b in zip(names, trained, random, strict=True)
    ]
    p, p_flat = (float(np.median(pca[name].data["silhouette_task_p"].values)) for name in ("v2", "v1"))
    total = over_tasks(found)
    of_v2, of_v1 = "holds" if p < LEVEL else "undecided", "does not hold" if p_flat < LEVEL else "holds"
    verdict = worse(total.verdict, of_v2, of_v1)
    about = f"{total.meaning}, which share their neighbours; labels shuffled: v1 has p = {p_flat:.2g}, v2 the p-value"
    return [*found, replace(total, verdict=verdict, p_value=p, meaning=about)]


def low_layers_depend_less_on_content(variability: Mapping[str, ProbeResult]) -> list[Finding]:
    """The plain model's lowest quarter of layers has lower attention variability than the others."""
    claim, section = "attention in low layers depends less on content", "4.3, Figures 3 and 12"
    found = []
    for task, result in variability.items():
        number = over_inputs.variability_above_the_lowest(result)
        mean = float(result.values.mean())
        meaning = f"attention variability of the plain model: all other layers less the lowest quarter; mean {mean:.3g}"
        found.append(judge(claim, section, task, number, meaning))
    return _with_total(claim, section, found)


def v2_changes_the_middle(kl: Mapping[str, ProbeResult]) -> list[Finding]:
    """The middle half of the layers has a larger share of v2's change of attention than of v1's."""
    return _compared(
        "v2 changes attention mid-depth, v1 far less",
        "4.3, Figures 4, 5, 13, 14",
        {task: over_inputs.share_of_the_middle(result) for task, result in kl.items()},
        "share of the summed KL that lies in the two middle quarters: v2 less v1",
    )


def v2_changes_content_heads(kl: Mapping[str, ProbeResult], variability: Mapping[str, ProbeResult]) -> list[Finding]:
    """v2 changes heads of high variability in the second quarter of layers, and heads of low variability in the last.

    These are two claims, each with a number and a verdict of its own.
    """
    section, meaning = "4.3, Figure 6", "Pearson's r of variability and KL over the heads of the"
    second = {task: over_inputs.correlation_over_heads(kl[task], variability[task], 1) for task in kl}
    last = {task: over_inputs.correlation_over_heads(kl[task], variability[task], -1, sign=-1) for task in kl}
    return [
        *_compared(
            "v2 changes content heads in the second quarter", section, second, f"{meaning} second quarter of the layers"
        ),
        *_compared(
            "v2 changes other heads in the last quarter",
            section,
            last,
            f"{meaning} last quarter of the layers, times -1",
        ),
    ]


def neurons_common_before_the_last(on: ProbeResult | None) -> list[Finding]:
    """ON scores fall with depth, and rise again in the layer before the last.

    The number is the second-to-last layer's score minus the lowest score of the upper half before it, for v2, over the
    pairs of tasks of a language. Choosing the lowest score raises the difference for any prompt, so random prompts are
    treated in the same way. Intervals are jackknife intervals over tasks, for five tasks or more.
    """
    claim, section = "deep neurons are task-specific, not before the last", "4.4, Figure 7"
    meaning = f"v2's ON score: second-to-last layer less the lowest of the upper half before it; {NULL}"
    if on is None or on.data.sizes["layer"] < 5:
        return [absent(claim, section, ALL, meaning)]
    languages = on.provenance["languages"] or dict.fromkeys(on.data["task"].values.tolist(), "unknown")
    groups = {language: [task for task in languages if languages[task] == language] for language in languages.values()}
    groups = {f"pairs of {language}": tasks for language, tasks in groups.items() if len(tasks) > 1}
    if not groups:  # no two tasks of one language: use all pairs
        groups = {"pairs of all languages": list(languages)}
        languages = dict.fromkeys(languages, "")
    found = [_rise(on, languages, tasks, claim, section, name, meaning) for name, tasks in groups.items()]
    every = [task for tasks in groups.values() for task in tasks]
    total = _rise(on, languages, every, claim, section, f"over {len(every)} tasks", f"{meaning}; mean over all pairs")
    return [*found, total]


def within_languages(on: ProbeResult) -> xr.Dataset:
    """Return the numbers for pairs of tasks within a language, as in the paper; all pairs where there are none."""
    names = on.data["pairs"].values.tolist()
    return on.data.sel(pairs=[name for name in names if name != "across"] or names)


def leans_to_the_gold_label(cosines: Mapping[str, ProbeResult]) -> list[Finding]:
    """In the last quarter of layers the decoding position is nearer to the gold label word than to another."""
    gaps = [result.data["gap"].sel(prompt="v2").values for result in cosines.values()]
    dip = mean_with_interval([(gap[-1] + gap[-3]) / 2 - gap[-2] for gap in gaps if len(gap) > 2])
    found = _compared(
        "deep layers lean to the gold label word",
        "4.4, Figure 8",
        {task: over_inputs.gap_of_the_last_quarter(result) for task, result in cosines.items()},
        "cosine with the gold word less that with another, v2, last quarter of layers",
    )
    dips = f"the gap's dip in the second-to-last layer: {dip[0]:.3f} [{dip[1]:.3f}, {dip[2]:.3f}] over tasks"
    return [*found[:-1], replace(found[-1], meaning=f"{found[-1].meaning}; {dips}")]


def peaks_beat_troughs(differences: Mapping[str, Compared]) -> list[Finding]:
    """Deep prompts in the layers of peaks score higher than those in the layers of troughs.

    *differences* holds an `over_inputs.difference_of_scores` for each task.
    """
    return _compared(
        "deep prompts work better in peaks than in troughs",
        "5, Table 2",
        differences,
        "score of the peak group less that of the trough group, percentage points",
    )


def _rise(
    on: ProbeResult,
    languages: Mapping[str, str],
    tasks: Sequence[str],
    claim: str,
    section: str,
    where: str,
    meaning: str,
) -> Finding:
    def numbers(chosen: Sequence[str]) -> np.ndarray:
        pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[:i] if languages[a] == languages[b]]
        if not pairs:
            return np.full(2, np.nan)
        values = on.values.transpose("prompt", "task", "other", "layer")
        curves = np.mean(
            [values.sel(prompt=["v2", "random v2"], task=a, other=b).values for a, b in pairs], axis=0
        )  # (2, layer)
        trained, random = curves[:, -2] - curves[:, curves.shape[1] // 2 : -2].min(axis=1)
        return np.array([trained, random])

    trained, random = numbers(tasks)
    observed = np.array([trained, trained - random])
    without = np.array([numbers([task for task in tasks if task != left_out]) for left_out in tasks])
    low = high = np.full(2, np.nan)
    if np.isfinite(without).all():  # else leaving out some task leaves no pair, and the spread is unknown
        low, high = jackknife_interval(observed, np.stack([without[:, 0], without[:, 0] - without[:, 1]], axis=1))
    first, beyond = (Number(float(observed[i]), float(low[i]), float(high[i])) for i in range(2))
    return judge(claim, section, where, first, meaning, float(random), beyond)


def _compared(claim: str, section: str, by_task: Mapping[str, Compared], meaning: str) -> list[Finding]:
    found = [
        judge(claim, section, task, one.number, f"{meaning}; {NULL}", one.null, one.beyond)
        for task, one in by_task.items()
    ]
    return _with_total(claim, section, found)


def _with_total(claim: str, section: str, found: Sequence[Finding]) -> list[Finding]:
    known = [one for one in found if np.isfinite(one.number)]
    if not known:
        return [*found, absent(claim, section, ALL, "no task has it")]
    return [*found, over_tasks(known)]
