"""Runs all probes once, with one store for their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import promptscope as ps
from promptscope import probes
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.tasks import kind_of
from recipes.attention_and_neurons.training import Key

VARIANTS = ("v1", "v2")
RANDOM = tuple(f"random {variant}" for variant in VARIANTS)


@dataclass(frozen=True)
class Measured:
    """Probe results by task, and the prompts that were probed (first seed): task -> variant -> prompt."""

    prompts: dict[str, dict[str, ps.Prompt]]
    results: dict[str, dict[str, ps.ProbeResult]]
    left_out: list[str] = field(default_factory=list)
    """What a task's labels do not allow, and why."""

    def of(self, probe: str) -> dict[str, ps.ProbeResult]:
        """Return task -> result of one probe, for the tasks that have it."""
        return {task: results[probe] for task, results in self.results.items() if probe in results}


def check_inputs(settings: Settings, model: ps.HookedModel, tasks: Mapping[str, ps.Task]) -> None:
    """Make sure, before anything is trained, that every task has inputs enough, and long enough ones, for the probes.

    Raises:
        ProbeError: it has not, with the name of the task.
    """
    for name, task in tasks.items():
        inputs = task.encode(
            model.tokenizer,
            model.family.kind,
            "test",
            with_label=False,
            limit=settings.probed or None,
            decoder_start_id=model.decoder_start_id,
        )
        for probe in _probes(settings, name):
            try:
                probe.check(inputs, VARIANTS)
            except ps.ProbeError as error:
                raise ps.ProbeError(f"{name}: {error}") from error


def measure(
    settings: Settings, model: ps.HookedModel, tasks: Mapping[str, ps.Task], runs: Mapping[Key, ps.Run], store: Path
) -> Measured:
    """Probe v1, v2 and random prompts of their norms on every task; what the store holds is not run again."""
    prompts, results, left_out = {}, {}, []
    for number, (name, task) in enumerate(tasks.items(), start=1):
        print(f"probe {name} (task {number} of {len(tasks)})", flush=True)
        trained = {variant: runs[name, variant, settings.seeds[0]].prompt for variant in VARIANTS}
        # A seed for each task: with one seed, the random prompts of all tasks would have the same directions.
        nulls = {null: ps.random_like(trained[of], seed=number) for null, of in zip(RANDOM, VARIANTS, strict=True)}
        prompts[name] = {variant: prompt.bind(model) for variant, prompt in (trained | nulls).items()}
        label_probes, reason = _label_probes(model, task)
        if reason:
            left_out.append(f"{name}: no label-space cosine. {reason}")
        results[name] = ps.probe(
            model,
            prompts[name],
            task,
            [*_probes(settings, name), *label_probes],
            store=store,
            limit=settings.probed or None,
            batch_size=settings.probe_batch,
        )
    return Measured(prompts, results, left_out)


def _probes(settings: Settings, name: str) -> list[probes.Probe]:
    first_n = settings.first_n_concepts if kind_of(name) == "CG" else settings.first_n
    return [
        probes.AttentionKL(),
        probes.AttentionKL("per_query"),
        probes.AttentionVariability(first_n),
        probes.AttentionMass(),
        probes.AttentionBias(),
        probes.NeuronStates(),
        probes.NeuronStates(state="binary"),
        probes.ResidualPCA(),
    ]


def _label_probes(model: ps.HookedModel, task: ps.Task) -> tuple[list[probes.Probe], str]:
    """Return the probes of label words, or why the task has none: two words may have the same first token."""
    if task.verbalizer is None:
        return [], ""
    chosen: list[probes.Probe] = [probes.LabelCosine(), probes.LabelCosine(centred=True)]
    try:
        chosen[0].ready(model, task, {})
    except ps.ProbeError as error:
        return [], str(error)
    return [*chosen, probes.LabelCosine("residual")], ""
