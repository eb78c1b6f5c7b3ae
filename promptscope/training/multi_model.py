"""Training of one soft prompt on several models together."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from promptscope.checks import checked
from promptscope.engine import can_prepack, execution
from promptscope.inference.batches import batches, encode_split
from promptscope.inference.evaluate import Evaluator
from promptscope.inference.model_set import Models, ModelSet
from promptscope.models import Hook, HookedModel
from promptscope.models.identity import tokenizer_hash
from promptscope.models.modes import own_modes
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.tasks import Encoded, Task
from promptscope.training.config import TrainConfig
from promptscope.training.folder import temporary_folder
from promptscope.training.gradient import accumulate_gradient
from promptscope.training.loop import Loop
from promptscope.training.order import batch_indices
from promptscope.training.reload import model_source
from promptscope.training.run import Run
from promptscope.training.single import Job


@checked()
def train_across(
    models: Models,
    prompt: Prompt,
    task: Task,
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train one *prompt* on M models together, and return the run; the prompt object is changed.

    Training minimises `1/M sum_m loss_m(P)`, where loss_m is the loss of `ps.train` on model m, in nats per target
    token (Reimann and Sadrieh 2024, *Explainable Soft Prompts*, section 3.1). Models may be of different families if
    their embeddings have the same width and their tokenizers agree; each reads the same records with its own template.
    Gradients are summed model by model, so that the activations of one model are in memory at a time. A model that is
    given by its name is loaded again for every step, except the first, which stays in memory: a step then takes the
    time of reading M - 1 models, and two models are in memory for any M.

    Steps, schedule, evaluation (means over the models), early stopping, files and continuing a run are as in
    `ps.train`. The prompt does not belong to one model afterwards: load it with `load_prompt(..., strict=False)`.

    Args:
        models: hooked models or names, as a list or a dict by name.
        prompt: a soft prompt; it starts from its initialisation on the first model.
        task: the task; its `train` split is used.
        config: steps, learning rate and so on.
        out: a folder for the run, see `ps.train`.
        progress: whether to show a progress bar.
        hooks: hooks for this call, attached to every model.

    Raises:
        ModelError: models have different widths or tokenizers.
        RunError, PromptError, TaskError: as in `ps.train`.

    >>> import promptscope as ps
    >>> names, task = ["embedded-masked-0", "embedded-masked-1"], ps.load_task("continent_en")
    >>> models = [ps.load_model(name) for name in names]
    >>> run = ps.train_across(models, ps.SoftPrompt(4), task, ps.TrainConfig(steps=2, batch_size=4), progress=False)
    >>> len(run.history)
    2
    """
    folder = Path(out) if out is not None else temporary_folder("promptscope-run-")
    with own_modes(), torch.enable_grad():
        job = _JointJob(ModelSet(models, hooks), prompt, task, config, folder)
        if not job.finished:
            with job.loop() as loop:
                loop.resume()
                title = f"train {task.name} on {len(job.models)} models"
                bar = progress_bar(total=loop.total, initial=loop.step, desc=title, unit="step", shown=progress)
                with bar:
                    while not loop.done:
                        begun = time.perf_counter()
                        shown = loop.update(job.accumulate(loop), begun)
                        bar.set_postfix(shown, refresh=False)
                        bar.update()
                loop.close()
                job.finish(loop)
        return job.result()


class _JointJob(Job):
    """A run over several models; where one model is enough, the first one is used."""

    def __init__(self, models: ModelSet, prompt: Prompt, task: Task, config: TrainConfig, folder: Path) -> None:
        self.models = models
        super().__init__(models.keep_first(), prompt, task, config, folder)
        self._encoded: dict[tuple[Any, ...], list[Encoded]] = {}
        self._tokenizers: WeakKeyDictionary[HookedModel, str] = WeakKeyDictionary()

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the description of the run: that of a run on the first model, and the identities of the others."""
        self.prompt.strict = False  # it belongs to all of them
        return super().describe() | {"models": self.models.map(self._describe)}

    def _describe(self, model: HookedModel) -> dict[str, Any]:
        """Check that the prompt fits a model, and return the model's identity."""
        self.prompt.bind(model)
        return {
            "source": model_source(model.name),
            "revision": model.revision,
            "tokenizer_hash": tokenizer_hash(model.tokenizer),
            **model.identity,
        }

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """Yield the training loop of a single run, with evaluation on all models."""
        with super().loop() as loop:
            self.prompt.provenance["models"] = self.models.names
            if loop.validation is not None:
                loop.validation = _JointEvaluator(self.models, self.task, self.prompt, self.config)
            yield loop

    def accumulate(self, loop: Loop) -> float:
        """Add the gradient of the next step's mean loss over models to the prompt's, and return the loss."""
        loop.prepare()
        indices = batch_indices(len(loop.examples), loop.batch_size, self.config.seed, loop.step)

        def of_model(model: HookedModel) -> float:
            examples = self._examples(model)
            chosen = [examples[i] for i in indices]
            parts = list(batches(model, chosen, self.config.batch_size, padding=self.config.padding))
            # The kernel is part of the run, and some of the models may not have it.
            with execution(prepacked=loop.prepacked and can_prepack(model.twin)):
                return accumulate_gradient(model, self.prompt, parts, self.config.gradient_checkpointing)

        losses = self.models.map(of_model)
        with torch.no_grad():
            for parameter in self.prompt.parameters():
                assert parameter.grad is not None
                parameter.grad /= len(losses)
        return sum(losses.values()) / len(losses)

    def _examples(self, model: HookedModel) -> list[Encoded]:
        """Encode the training split for *model*, once for all models that read it in the same way."""
        if model not in self._tokenizers:
            self._tokenizers[model] = tokenizer_hash(model.tokenizer)
        key = (self._tokenizers[model], model.family.kind, model.shape.context, model.decoder_start_id)
        if key not in self._encoded:
            self._encoded[key] = list(
                encode_split(model, self.prompt, self.task, "train", max_length=self.config.max_length)
            )
        return self._encoded[key]


class _JointEvaluator(Evaluator):
    """Scores on the validation split, averaged over the models."""

    def __init__(self, models: ModelSet, task: Task, prompt: Prompt, config: TrainConfig) -> None:
        self.models, self.task, self.prompt, self.config = models, task, prompt, config

    def scores(self, progress: bool = True) -> dict[str, float]:
        """Return the mean over models of each score of `evaluate`."""
        config = self.config

        def of_model(model: HookedModel) -> dict[str, float]:
            limits = (config.batch_size, config.evaluate_limit, config.max_length)
            evaluator = Evaluator(model, self.prompt, self.task, "validation", *limits, padding=config.padding)
            return evaluator.scores(progress)

        every = list(self.models.map(of_model).values())
        return {name: sum(one[name] for one in every) / len(every) for name in every[0]}
