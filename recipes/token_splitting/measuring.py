"""Everything that is measured of one trained prompt; kept in a folder, and measured once.

Losses and accuracies are of the first `scored` records of the test split, losses in nats at [MASK] over the whole
vocabulary.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

import promptscope as ps
from promptscope.files import content_hash
from promptscope.inference import ModelSet, ModelSource
from promptscope.interventions import remove, zero
from promptscope.probes import ProbeResult
from promptscope.statistics import random_choice, tokens_of
from recipes.common import Computed, decided_by
from recipes.token_splitting.places import Places, find_places
from recipes.token_splitting.plans import Plan
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.tasks import n_scored
from recipes.token_splitting.training import fresh_prompt

CHOICES = ("loss", "ratio")
"""Importances by which a model's own tokens are chosen: the paper's, and the one that it proposes."""
VARIANTS = (
    *("whole", "initial", "random_prompt", "masked", "shortened", "masked_by_ratio", "shortened_by_ratio"),
    *("random_masked", "random_shortened", "random_equal"),
)
"""What is scored of each prompt: a folder that holds fewer is measured again."""


@dataclass(frozen=True)
class Measured:
    """What one prompt does.

    - `importances`: by intervention, for the models that share the prompt.
    - `scores`: a line per model and variant: `model`, `own` (it was trained on), `variant`, `draw`, `n_kept`, `loss`,
      `accuracy`. Variants: `whole`, `initial` (before training), `random_prompt` (of the same norms), for own models
      `masked`, `shortened` (only their own tokens are left, the others zero or removed), the same `_by_ratio`, and
      `random_masked`, `random_shortened` (as many tokens, drawn at random), `random_equal` (an equal share of the
      tokens, drawn at random, the others zero).
    - `places`: where the tokens lie among the models' embeddings.
    - `shapley`: None where it was not asked for.
    """

    plan: Plan
    names: tuple[str, ...]
    """The models that share the prompt."""
    importances: dict[str, ps.Importance]
    scores: pd.DataFrame
    places: Places
    shapley: ProbeResult | None
    seconds: float


def measure(
    settings: Settings,
    models: Mapping[str, ModelSource],
    identities: Mapping[str, str],
    task: ps.Task,
    plan: Plan,
    run: ps.Run,
    folder: Path,
) -> Measured:
    """Measure a run, or read what was measured of the same prompt under the same settings before."""
    names = tuple(list(models)[m] for m in plan.models)
    own = {name: models[name] for name in names}
    prompt = run.prompt
    prompt.strict = False  # it is used with all of its models, not only the one that it was bound to
    assert isinstance(prompt, ps.SoftPrompt)
    about = _about(settings, identities, task, plan, prompt)
    first = plan.number == 0 and plan.kind.isdigit() and len(names) > 1
    wanted_shapley = first and bool(settings.shapley_scored)
    hows = settings.hows if first else settings.hows[:1]
    if prompt.length == 1:
        hows = tuple(how for how in hows if how != "remove")

    def compute() -> dict[str, Any]:
        print(f"measure {plan.name}", flush=True)
        begun = time.perf_counter()
        limit = n_scored(plan.task, settings)
        for how in hows:
            ps.importance(own, prompt, task, how, limit=limit, progress=False).save(folder / how)
        if wanted_shapley:
            shown = ps.shapley(own, prompt, task, limit=settings.shapley_scored, progress=False)
            shown.save(folder / "shapley")
        places = find_places(own, prompt, settings.neighbours)
        kept = _own_tokens(ps.load_result(folder / "zero"))
        fresh = fresh_prompt(settings, plan)
        rows = _Scorer(settings, task, plan, prompt, fresh, kept, limit).rows(models)
        seconds = time.perf_counter() - begun
        return {"scores": rows, "places": asdict(places), "seconds": round(seconds, 2)}

    files = [*hows, "shapley"] if wanted_shapley else hows
    kept_file = Computed(folder).get("measured", about, compute, files)
    return Measured(
        plan,
        names,
        {how: ps.load_result(folder / how) for how in hows},
        pd.DataFrame(kept_file["scores"], columns=["model", "own", "variant", "draw", "n_kept", "loss", "accuracy"]),
        Places(**kept_file["places"]),
        ps.load_result(folder / "shapley") if wanted_shapley else None,
        kept_file["seconds"],
    )


def frozen_scores(
    settings: Settings,
    models: Mapping[str, ModelSource],
    identities: Mapping[str, str],
    name: str,
    task: ps.Task,
    folder: Path,
) -> pd.DataFrame:
    """Return loss and accuracy of each model without a prompt; kept in a file."""
    limit = n_scored(name, settings)

    def compute() -> list[tuple[str, float, float]]:
        found = ModelSet(models).map(lambda model: ps.evaluate(model, None, task, limit=limit, progress=False))
        return [(model, scores["loss"], scores["accuracy"]) for model, scores in found.items()]

    rows = Computed(folder).get(f"{name}_frozen", decided_by(identities, None, task, scored=limit), compute)
    return pd.DataFrame(rows, columns=["model", "loss", "accuracy"])


class _Scorer:
    """Scores variants of one prompt on one model after the other."""

    def __init__(
        self,
        settings: Settings,
        task: ps.Task,
        plan: Plan,
        prompt: ps.SoftPrompt,
        fresh: ps.SoftPrompt,
        kept: Mapping[str, dict[str, Bool[np.ndarray, "k"]]],
        limit: int | None,
    ) -> None:
        self.settings, self.task, self.plan, self.limit = settings, task, plan, limit
        self.prompt, self.fresh, self.kept = prompt, fresh, kept

    def rows(self, models: Mapping[str, ModelSource]) -> list[tuple[Any, ...]]:
        """Return the lines of `Measured.scores`; each model is loaded once."""
        names = iter(models)
        found = ModelSet(models).map(lambda model: list(self._of_model(next(names), model)))
        return [row for rows in found.values() for row in rows]

    def _of_model(self, name: str, model: ps.HookedModel) -> Iterator[tuple[Any, ...]]:
        k, own = self.prompt.length, name in self.kept
        variants: list[tuple[str, int, int, ps.Prompt | None]] = [("whole", 0, k, self.prompt)]
        variants.append(("initial", 0, k, self.fresh))
        if own:
            variants += self._of_owner(name)
        for variant, draw, n_kept, prompt in variants:
            if prompt is not None:
                prompt = prompt.bind(model, strict=False)
            scores = ps.evaluate(model, prompt, self.task, limit=self.limit, progress=False)
            yield name, own, variant, draw, n_kept, scores["loss"], scores["accuracy"]

    def _of_owner(self, name: str) -> Iterator[tuple[str, int, int, ps.Prompt | None]]:
        k = self.prompt.length
        for draw in range(self.settings.draws):
            yield "random_prompt", draw, k, ps.random_like(self.prompt, seed=draw)
        for choice in CHOICES:
            kept, suffix = self.kept[name][choice], "" if choice == "loss" else f"_by_{choice}"
            yield f"masked{suffix}", 0, int(kept.sum()), zero(self.prompt, _gone(kept))
            yield f"shortened{suffix}", 0, int(kept.sum()), _shortened(self.prompt, kept)
        n_own = int(self.kept[name]["loss"].sum())
        for draw in range(self.settings.draws):
            # Every prompt, model and number of tokens has a random draw of its own.
            seed = int(content_hash([self.plan.name, name, draw])[:8], 16)
            kept = random_choice(k, n_own, seed)
            yield "random_masked", draw, n_own, zero(self.prompt, _gone(kept))
            yield "random_shortened", draw, n_own, _shortened(self.prompt, kept)
            n_equal = max(1, round(k / len(self.kept)))
            yield "random_equal", draw, n_equal, zero(self.prompt, _gone(random_choice(k, n_equal, seed)))


def _shortened(prompt: ps.Prompt, kept: Bool[np.ndarray, "k"]) -> ps.Prompt | None:
    """Remove what is not kept; a model without tokens of its own is left with no prompt."""
    return remove(prompt, _gone(kept)) if kept.any() else None


def _gone(kept: Bool[np.ndarray, "k"]) -> list[int]:
    return np.flatnonzero(~kept).tolist()


def _own_tokens(importance: ps.Importance) -> dict[str, dict[str, Bool[np.ndarray, "k"]]]:
    """Return model -> importance -> which tokens are its own."""
    names = importance.loss.data["model"].values.tolist()
    of = {choice: tokens_of(_assignment(importance, choice), len(names)) for choice in CHOICES}
    return {name: {choice: of[choice][m] for choice in CHOICES} for m, name in enumerate(names)}


def _assignment(importance: ps.Importance, choice: str) -> Int[np.ndarray, "k"]:
    return importance.assignment(choice)


def _about(
    settings: Settings, identities: Mapping[str, str], task: ps.Task, plan: Plan, prompt: ps.Prompt
) -> dict[str, Any]:
    """Return all that decides what is measured."""
    of = ("hows", "draws", "shapley_scored", "neighbours", "init_range")
    return decided_by(
        identities,
        prompt,
        task,
        plan=asdict(plan),
        variants=VARIANTS,
        scored=n_scored(plan.task, settings),
        settings={name: getattr(settings, name) for name in of},
    )
