"""`promptscope eval`: scores of a run's prompt on its task."""

from promptscope.cli.loading import choose_prompt, load_run_parts
from promptscope.cli.options import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Limit,
    MovedModel,
    OtherTask,
    RunFolder,
    Split,
    TaskPath,
    WhichPrompt,
)
from promptscope.cli.output import only_results_on_stdout, print_json, print_pairs

EXAMPLE = "Example: promptscope eval runs/capital --split test; and for the frozen model the same with --prompt none"


def evaluate(
    run: RunFolder,
    split: Split = "test",
    prompt: WhichPrompt = "last",
    limit: Limit = None,
    batch_size: BatchSize = 16,
    task: OtherTask = None,
    task_path: TaskPath = None,
    model: MovedModel = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Score a run's prompt on a split of its task.

    Prints the task's metrics (higher is better) and the loss on the label tokens (lower is better).
    """
    with only_results_on_stdout():
        import promptscope as ps

        trained, loaded, data = load_run_parts(run, model, task, task_path, device, dtype)
        scores = ps.evaluate(
            loaded,
            choose_prompt(trained, prompt),
            data,
            split=split,
            batch_size=batch_size,
            limit=limit,
            max_length=trained.config.max_length,
        )
    about = {"run": str(run), "model": loaded.name, "task": data.name, "split": split, "prompt": prompt}
    if json:
        print_json({**about, "scores": scores})
    else:
        print_pairs(scores, f"{data.name}, {split}, prompt {prompt} of {run}")
