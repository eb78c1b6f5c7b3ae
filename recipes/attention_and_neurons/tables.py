"""The numbers of the figures, as tables: one line per cell, with its interval where there is one."""

import pandas as pd

from promptscope import ProbeResult
from promptscope.probes import stack_tasks
from promptscope.statistics import peaks_and_troughs
from recipes.attention_and_neurons.results_of import Summary, mean_gap
from recipes.attention_and_neurons.tasks import kind_of


def figure_tables(summary: Summary, languages: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Return name -> table; `figure_5` holds what Figure 5 shows, and random prompts of the same norms."""
    found = {
        "figure_1_and_2": pd.concat([_clusters(variant, pca) for variant, pca in summary.pca.items()]),
        "figure_5": summary.kl_by_language.to_dataframe(),
        "figure_5_turns": turn_table(summary.kl_by_language),
        "figure_6": stack_tasks(summary.correlations).to_dataframe(),
        "figure_7": summary.on.layer_curve().to_dataframe(),
        "figure_7_pairs": summary.on.to_dataframe(),
        "figure_12": summary.variability.to_dataframe(),
        "figure_13_and_14": summary.kl.to_dataframe(),
        "figure_15": summary.kl_by_input.to_dataframe(),
        "on_score_binary": summary.on_binary.layer_curve().to_dataframe(),
    }
    found |= {name: curves.to_dataframe() for name, curves in summary.further.items()}
    apart = [
        result.data["silhouette"].to_dataframe().reset_index().assign(task=task)
        for task, result in summary.residual.items()
    ]
    found["residual_pca"] = pd.concat(apart)[["task", "prompt", "layer", "silhouette"]]
    if summary.cosines:
        found["figure_8"] = stack_tasks(summary.cosines).to_dataframe()
        gap = mean_gap(summary.cosines, languages)
        if gap is not None:
            found["figure_8_gap"] = gap.to_dataframe(name="gap").reset_index()
    if summary.short_variability is not None:
        found["figure_12_concepts"] = summary.short_variability.to_dataframe()
    return found


PAPER_TURNS = {
    ("v1", "en", "peaks"): (6, 8, 10, 13, 15),
    ("v1", "ko", "peaks"): (6, 8, 10, 12, 16),
    ("v2", "en", "peaks"): (1, 7, 9, 11, 13, 15, 17, 21),
    ("v2", "ko", "peaks"): (1, 7, 9, 11, 13, 15, 17, 21),
    ("v2", "en", "troughs"): (2, 8, 10, 12, 14, 16, 18, 20, 22),
    ("v2", "ko", "troughs"): (2, 8, 10, 12, 14, 16, 18, 20, 22),
}
"""What the paper reads off its Figure 5 (sections 4.3 and 5), of a model with 24 layers."""


def turn_table(kl_by_language: ProbeResult) -> pd.DataFrame:
    """Return the peaks and troughs of each curve of Figure 5, compared with those that the paper names."""
    rows = []
    curves = kl_by_language.values
    for variant in curves["prompt"].values.tolist():
        for language in curves["group"].values.tolist():
            curve = curves.sel(prompt=variant, group=language).values
            for turns, layers in zip(("peaks", "troughs"), peaks_and_troughs(curve), strict=True):
                published = PAPER_TURNS.get((variant, language, turns), ())
                rows.append((variant, language, turns, *(" ".join(map(str, of)) for of in (published, layers))))
    return pd.DataFrame(rows, columns=["prompt", "language", "turns", "published", "computed"])


def task_table(summary: Summary, languages: dict[str, str]) -> pd.DataFrame:
    """Return one line for each task: kind, language, inputs that were probed, and mean numbers of v1 and v2."""
    rows = []
    for task, language in languages.items():
        kl = summary.kl.values.sel(task=task)
        rows.append((task, kind_of(task), language, *(float(kl.sel(prompt=v).mean()) for v in ("v1", "v2"))))
    return pd.DataFrame(rows, columns=["task", "kind", "language", "mean_kl_v1", "mean_kl_v2"])


def _clusters(variant: str, pca: ProbeResult) -> pd.DataFrame:
    names = [name for name in pca.data.data_vars if str(name).startswith("silhouette") and pca.data[name].ndim == 1]
    table = pca.data[names].to_dataframe().reset_index()
    table.insert(0, "variant", variant)
    return table
