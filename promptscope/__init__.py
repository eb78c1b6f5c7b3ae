"""promptscope: train soft prompts on frozen transformers and show what they do inside.

A prompt is a list of hooks and so is a probe. Both run on one hooked model. The activations that probes capture are
kept in a store, results are computed from the store, and figures are drawn from results.
"""

# ruff: noqa: F401 - the imports below are the table of contents
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptscope import account, causal, interventions, plots, probes, prompts, readings, report, statistics
    from promptscope.account import Account, explain
    from promptscope.comparison import PromptComparison, compare_prompts
    from promptscope.engine import PackingWarning, execution
    from promptscope.errors import (
        ArgumentError,
        CheckpointWarning,
        FileError,
        GridError,
        ModelError,
        NoChecksumWarning,
        ProbeError,
        PromptError,
        PromptscopeError,
        RunError,
        StoreError,
        TaskError,
    )
    from promptscope.inference import evaluate, generate, predict, score_labels
    from promptscope.interventions import Importance, importance, shapley
    from promptscope.models import EMBEDDED_MODELS, HookedModel, Placement, load_model, supported_architectures
    from promptscope.probes import ProbeResult, load_result, probe, probe_function, register_probe
    from promptscope.probes.checking import ProbeCheckError, check_probe
    from promptscope.prompts import (
        DeepPrompt,
        OtherWeightsWarning,
        Prompt,
        SoftPrompt,
        WaywardPrompt,
        init,
        load_prompt,
        random_like,
        register_prompt,
        reparameterise,
        write_peft,
    )
    from promptscope.report import Report
    from promptscope.store import ActivationStore
    from promptscope.tasks import Task, Template, Verbalizer, list_tasks, load_task
    from promptscope.training import (
        GridRun,
        ManyRuns,
        Run,
        RunConfig,
        TrainConfig,
        load_run,
        train,
        train_across,
        train_baseline,
        train_grid,
        train_many,
    )

# The same table for Python, which looks a name up when it is first used: torch and transformers take seconds to
# import, and `promptscope --help` must not. tests/test_public_names.py holds the two together.
_HOMES = {
    "errors": "ArgumentError CheckpointWarning FileError GridError ModelError NoChecksumWarning ProbeError "
    "PromptError PromptscopeError RunError StoreError TaskError",
    "account": "Account explain",
    "comparison": "PromptComparison compare_prompts",
    "engine": "PackingWarning execution",
    "inference": "evaluate generate predict score_labels",
    "interventions": "Importance importance shapley",
    "models": "EMBEDDED_MODELS HookedModel Placement load_model supported_architectures",
    "probes": "ProbeResult load_result probe probe_function register_probe",
    "probes.checking": "ProbeCheckError check_probe",
    "prompts": "DeepPrompt OtherWeightsWarning Prompt SoftPrompt WaywardPrompt init load_prompt random_like "
    "register_prompt reparameterise write_peft",
    "report": "Report",
    "store": "ActivationStore",
    "tasks": "Task Template Verbalizer list_tasks load_task",
    "training": "GridRun ManyRuns Run RunConfig TrainConfig load_run train train_across train_baseline train_grid "
    "train_many",
}
_MODULES = ("account", "causal", "interventions", "plots", "probes", "prompts", "readings", "report", "statistics")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(import_module(f"promptscope.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"promptscope.{name}")
    else:
        raise AttributeError(f"module 'promptscope' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
