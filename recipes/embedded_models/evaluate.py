"""Prints the model card's figures as JSON: scores on the embedded tasks' test sets, by what comes before the input.

    python recipes/embedded_models/evaluate.py [--models embedded-causal ...] [--tasks capital_en ...]
        [--tune [STEPS]]

none         the input alone
random       the first instruction's vectors with random directions and the same norms, mean over three seeds
instruction  the first natural instruction of the task, in the input's language
v1, v2       (--tune) an input-level prompt tuned for 300 or STEPS steps and, on the causal model and the T5, a deep one

Scores are the task's first metric: accuracy over the label words, or exact match of the written answer.
"""

import argparse
import json
import tempfile

import phrases

import promptscope as ps

LENGTH = {"causal": 20, "masked": 16, "seq2seq": 20}
RATE = {"v1": {"causal": 3e-2, "masked": 3e-2, "seq2seq": 1e-1}, "v2": {"causal": 2e-2, "seq2seq": 1e-1}}


def instruction(model: ps.HookedModel, task: ps.Task) -> ps.Prompt:
    """Return the task's first natural instruction as a prompt: one position for each of its tokens."""
    name = task.name.rsplit("_", 1)[0]
    text = phrases.natural_instruction({"country_capital": "capital"}.get(name, name), task.language)
    n_tokens = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    return ps.SoftPrompt(n_tokens, init=ps.init.Text(text)).bind(model)


def tuned(model: ps.HookedModel, task: ps.Task, kind: str, steps: int) -> ps.Prompt:
    """Train a prompt that starts from tokens of the vocabulary."""
    prompt = {"v1": ps.SoftPrompt, "v2": ps.DeepPrompt}[kind](LENGTH[model.family.kind], init="vocab", seed=0)
    config = ps.TrainConfig(
        steps=steps, learning_rate=RATE[kind][model.family.kind], schedule="linear", warmup_steps=20, max_grad_norm=1.0
    )
    with tempfile.TemporaryDirectory() as folder:
        return ps.train(model, prompt, task, config, out=folder, progress=False).prompt


def figures(model: ps.HookedModel, task: ps.Task, tune: int | None) -> dict[str, float]:
    """Return the scores of one model on one task."""

    def score(prompt: ps.Prompt | None) -> float:
        return next(iter(ps.evaluate(model, prompt, task, batch_size=50, progress=False).values()))

    told = instruction(model, task)
    randoms = [score(ps.random_like(told, seed)) for seed in range(3)]
    result = {"none": score(None), "random": sum(randoms) / len(randoms), "instruction": score(told)}
    if tune:
        kinds = [kind for kind, rate in RATE.items() if model.family.kind in rate]
        result |= {kind: score(tuned(model, task, kind, tune)) for kind in kinds}
    return {name: round(value, 3) for name, value in result.items()}


def main() -> None:
    """Print the figures of every model on every task that it can do."""
    embedded = ps.list_tasks().query("source == 'embedded'").index.tolist()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(ps.EMBEDDED_MODELS))
    parser.add_argument("--tasks", nargs="*", default=embedded)
    parser.add_argument("--tune", type=int, nargs="?", const=300, metavar="STEPS", help="also tune prompts (300 steps)")
    arguments = parser.parse_args()
    table: dict[str, dict] = {}
    for name in arguments.models:
        model = ps.load_model(name)
        for task in map(ps.load_task, arguments.tasks):
            # A masked model has one mask, with room for one token: label words, not written answers.
            if model.family.kind != "masked" or task.verbalizer is not None:
                table.setdefault(name, {})[task.name] = figures(model, task, arguments.tune)
                print(name, task.name, table[name][task.name], flush=True)
    print(json.dumps(table, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
