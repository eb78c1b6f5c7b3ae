"""Runs of `train` as a `Source` of the paper's tables."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.plans import Plan, duration_label, prefix
from recipes.token_splitting.settings import KNOWN, Settings
from recipes.token_splitting.source import AbsentError, Evaluation, MaskedLosses, TransferLosses
from recipes.token_splitting.tasks import printed


class Trained:
    """Measured runs, by name; models are identified by their indices in the settings' list."""

    def __init__(
        self,
        settings: Settings,
        measured: Mapping[str, Measured],
        prompts: Mapping[str, tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]],
    ) -> None:
        self.settings, self.measured, self.prompts = settings, dict(measured), dict(prompts)
        self.datasets: Sequence[str] = [printed(task) for task in settings.tasks]
        self.counts: Sequence[str] = [str(count) for count in sorted(set(settings.counts) - {1})]
        known = [known.printed for known in KNOWN.values()]
        self.others: Sequence[tuple[str, str]] = [
            (dataset, prefix(dataset)) for dataset in self.datasets if dataset not in known
        ]

    def runs(self) -> list[str]:
        """Return the names of all runs."""
        return list(self.measured)

    def runs_of(self, dataset: str, kind: str) -> Sequence[str]:
        """Return the runs of a class; `init` and `train` begin with the run that they vary."""
        plans = [one.plan for one in self.measured.values() if printed(one.plan.task) == dataset]
        found = [plan.name for plan in plans if plan.kind == kind]
        if kind in ("init", "train") and found:
            found = [name_of(plans, str(self.settings.varied), 0), *found]
        if not found:
            raise AbsentError(f"this preset trains no runs of class {kind} on {dataset}")
        return found

    def durations(self, dataset: str) -> dict[str, str]:
        """Return the durations that were trained: epochs as the paper's, or steps, which no row of its table is."""
        tasks = [task for task in self.settings.tasks if printed(task) == dataset]
        if not tasks or not self.settings.varied:
            return {}
        plain = duration_label(self.settings, tasks[0], 1.0)
        rows = {duration_label(self.settings, tasks[0], one): one for one in self.settings.durations} | {plain: 1.0}
        every = sorted(rows, key=lambda label: rows[label])
        unit = " steps" if self.settings.steps else ""
        return {f"{label}{unit}": str(self.settings.varied) if label == plain else f"e{label}" for label in every}

    def prompt(self, run: str, name: str = "soft_prompt") -> Float[np.ndarray, "k d"]:
        """Return a run's trained prompt, or its `init_soft_prompt`."""
        if run not in self.prompts:
            raise AbsentError(f"this preset does not train {run}")
        trained, initial = self.prompts[run]
        return trained if name == "soft_prompt" else initial

    def masked_losses(self, run: str) -> MaskedLosses:
        """Return the losses of a run's models with each token set to zero."""
        one = self._of(run)
        return MaskedLosses(one.plan.models, one.importances["zero"].loss.values.values)

    def evaluation(self, run: str) -> Evaluation:
        """Return a run's votes and losses."""
        one = self._of(run)
        models = np.array(one.plan.models)
        return Evaluation(
            one.plan.models,
            euclidean_vote=models[one.places.votes["l2"]],
            cosine_vote=models[one.places.votes["cosine"]],
            whole_loss=self._own(one, "whole"),
            masked_loss=self._own(one, "masked"),
            shortened_loss=self._own(one, "shortened"),
        )

    def transfer_losses(self, run: str) -> TransferLosses:
        """Return the losses of a run on all models, before and after training."""
        scores = self._of(run).scores
        losses = [scores[scores["variant"] == variant]["loss"].to_numpy() for variant in ("initial", "whole")]
        return TransferLosses(*losses)

    def one_losses(self, dataset: str, folder: str = "1_models") -> Float[np.ndarray, "M"]:
        """Return the losses of prompts that were each trained on one model, whole or short ones."""
        kind = "1" if folder == "1_models" else "sp"
        runs = [self._of(run) for run in self.runs_of(dataset, kind)]
        return np.array([self._own(one, "whole").item() for one in runs])

    def random_masked_losses(self, dataset: str, count: str) -> Float[np.ndarray, "n"]:
        """Return the losses of all models of a class's runs, by draw; each keeps an equal, random share of the tokens.

        With 16 tokens and ten models each keeps two, as in the paper.
        """
        tables = [self._of(run).scores for run in self.runs_of(dataset, count)]
        return np.concatenate([table[table["variant"] == "random_equal"]["loss"].to_numpy() for table in tables])

    def _of(self, run: str) -> Measured:
        if run not in self.measured:
            raise AbsentError(f"this preset does not train {run}")
        return self.measured[run]

    @staticmethod
    def _own(one: Measured, variant: str) -> Float[np.ndarray, "M"]:
        chosen = one.scores[one.scores["own"] & (one.scores["variant"] == variant)]
        return chosen.set_index("model")["loss"].loc[list(one.names)].to_numpy(dtype=np.float64)


def name_of(plans: Sequence[Plan], kind: str, number: int) -> str:
    """Return the name of a run by its class and number."""
    return next(plan.name for plan in plans if plan.kind == kind and plan.number == number)
