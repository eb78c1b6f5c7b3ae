"""Baselines for prompts: fine-tuning and PEFT's other methods, trained on a copy of the model."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from promptscope.checks import checked
from promptscope.errors import RunError, nearest
from promptscope.inference import evaluate
from promptscope.inference.batches import batches, encode_split
from promptscope.models import HookedModel, load_model
from promptscope.models.modes import own_modes
from promptscope.prompts import Prompt, load_prompt
from promptscope.tasks import IGNORED, Batch, Task
from promptscope.training.config import TrainConfig
from promptscope.training.order import batch_indices
from promptscope.training.schedule import learning_rate_factor

_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 8, "lora_alpha": 16}),
    "ia3": ("IA3Config", {}),
    "layer-norm": ("LNTuningConfig", {}),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 20}),
}
BASELINES = ("fine-tuning", "bitfit", *_CONFIGS)
"""Names of the methods: all weights, all biases, and PEFT's LoRA, IA3, layer norms and prefix tuning."""


_OWN = ("fine-tuning", "bitfit")  # no PEFT needed


@dataclass(frozen=True, eq=False)
class Baseline:
    """A trained baseline, to be scored as `ps.evaluate(baseline.model, baseline.prompt, task)`.

    - `method`: the method's name; `n_parameters`: the number of trained parameters;
    - `model`: a hooked model with its own trained weights; for prefix tuning, the original model;
    - `prompt`: a deep prompt for prefix tuning, otherwise None;
    - `history`: a table with the columns `step`, `loss` (nats per target token, before the update) and, if it was
      evaluated, `validation` (the task's first metric; higher is better).

    Model and prompt are those with the best validation score or, without validation, those of the last step.

    >>> import promptscope as ps
    >>> history = pd.DataFrame({"step": [1, 2], "loss": [2.1, 1.7]})
    >>> found = Baseline("lora", 7680, ps.load_model("embedded-causal"), prompt=None, history=history)
    >>> found.history["loss"].iloc[-1]
    np.float64(1.7)
    """

    method: str
    n_parameters: int
    model: HookedModel
    prompt: Prompt | None
    history: pd.DataFrame


@checked()
@own_modes()
@torch.enable_grad()
def train_baseline(model: HookedModel, method: str, task: Task, config: TrainConfig, **settings: Any) -> Baseline:
    """Train a copy of *model* by *method*, with the records, batches and schedule that `ps.train` would use.

    *model* itself does not change. Dropout is off, as in the training of prompts. The result is scored as any model:
    `ps.evaluate(baseline.model, baseline.prompt, task)`.

    Args:
        model: the model to copy.
        method: one of `ps.training.BASELINES`: `fine-tuning` trains all weights, `bitfit` all biases; the others are
            methods of PEFT.
        task: the task; its `train` split is used.
        config: steps, batch size, learning rate and so on, as for prompts.
        **settings: for methods of PEFT, the arguments of its configuration (`r=8`, `num_virtual_tokens=20`).

    Raises:
        RunError: the method is unknown, PEFT is not installed or does not support the architecture, hooks are attached,
            or a loss is not finite.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> tuned = train_baseline(model, "lora", task, ps.TrainConfig(steps=2, batch_size=4), r=2)
    >>> tuned.n_parameters, tuned.prompt is None
    (7680, True)
    """
    if method not in BASELINES:
        raise RunError(f"no baseline {method!r}.{nearest(method, BASELINES)} The baselines are: {', '.join(BASELINES)}")
    model.need_no_hooks("ps.train_baseline")
    trained = _copy(model.twin)
    if method in _OWN:
        if settings:
            raise RunError(f"the baseline {method!r} takes no settings, got {', '.join(settings)}: leave them out")
        for name, number in trained.named_parameters():
            number.requires_grad_(method == "fine-tuning" or name.endswith("bias"))
        tuned: Any = trained
    else:
        tuned = _with_peft(trained, method, model, config.seed, settings)
    numbers = [number for number in tuned.parameters() if number.requires_grad]
    if not numbers:
        raise RunError(
            f"{model.name!r} has no biases that bitfit could train: choose another of {', '.join(BASELINES)}"
        )
    examples = encode_split(model, None, task, "train", max_length=config.max_length)
    size = config.batch_size * config.accumulation
    total = config.n_steps(len(examples))
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    optimizer = kind(numbers, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)
    rows: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, total, config.warmup_steps, config.schedule)
        chosen = [examples[i] for i in batch_indices(len(examples), size, config.seed, step)]
        (batch,) = batches(model, chosen, size)
        loss = _loss(tuned, batch)
        if not torch.isfinite(loss):
            raise RunError(
                f"{method}: the loss at step {step + 1} is {loss.item()}, which is not finite: use a smaller "
                "learning_rate"
            )
        loss.backward()
        if config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(numbers, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        row = {"step": step + 1, "loss": loss.item()}
        if config.evaluate_every and ((step + 1) % config.evaluate_every == 0 or step + 1 == total):
            now, _, prompt = _usable(model, tuned, method, task)
            limits = config.evaluate_limit, config.max_length
            scored = evaluate(now, prompt, task, "validation", config.batch_size, *limits, progress=False)
            row["validation"] = next(iter(scored.values()))
            if best is None or row["validation"] > best[0]:
                best = (
                    row["validation"],
                    {n: x.detach().clone() for n, x in tuned.named_parameters() if x.requires_grad},
                )
        rows.append(row)
    if best is not None:
        with torch.no_grad():
            for name, number in tuned.named_parameters():
                if number.requires_grad:
                    number.copy_(best[1][name])
    count = sum(number.numel() for number in numbers)
    finished, _, prompt = _usable(model, tuned, method, task)
    return Baseline(method, count, finished, prompt, pd.DataFrame(rows))


def _loss(tuned: Any, batch: Batch) -> Float[Tensor, ""]:
    decoder = {"decoder_input_ids": batch.decoder_input_ids} if batch.decoder_input_ids is not None else {}
    logits = tuned(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **decoder).logits
    return cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED)


def _copy(twin: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the plain model with its own weights."""
    new = type(twin)(copy.deepcopy(twin.config))
    torch.nn.Module.to(new, device=twin.device, dtype=twin.dtype)  # PreTrainedModel.to hides its signature
    new.load_state_dict(twin.state_dict())
    return new.eval()


def _with_peft(trained: PreTrainedModel, method: str, model: HookedModel, seed: int, settings: dict[str, Any]) -> Any:
    try:
        import peft
    except ImportError as error:
        raise RunError(
            f'the baseline {method!r} is trained by PEFT, which is not installed: pip install "promptscope[peft]"'
        ) from error
    tasks = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "masked": None}
    name, defaults = _CONFIGS[method]
    try:
        config = getattr(peft, name)(task_type=tasks[model.family.kind], **{**defaults, **settings})
        with _quiet(), torch.random.fork_rng():  # of layer norms of T5's own class, which merge all the same
            torch.manual_seed(seed)  # PEFT draws from the global generator
            return peft.get_peft_model(trained, config).eval()
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"PEFT cannot train {method!r} on {model.name!r}: {error}") from error


def _usable(model: HookedModel, tuned: Any, method: str, task: Task) -> tuple[HookedModel, Task, Prompt | None]:
    """Return model, task and prompt for `evaluate`, independent of the model in training."""
    if method == "prefix":
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            tuned.save_pretrained(folder)
            return model, task, load_prompt(folder, model)
    if method in _OWN:
        merged = _copy(tuned)
    else:
        with _quiet():
            merged = copy.deepcopy(tuned).merge_and_unload()
    return load_model(merged, model.tokenizer), task, None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress PEFT's warnings about an unreachable Hub and about deprecated parts of transformers."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
