"""The ground truth of the causal account: prompts whose best predictor is known, on a network and its untrained twin.

    python recipes/coin_flips/run.py --out coins

A two-layer transformer learns to predict flips of coins of unknown bias (Bayes: `(heads + 1) / (flips + 2)`). Prompts
are tuned for one coin, and for a coin that is one of two, where the best predictor is known too; so are prompts on a
network that was never trained. Asks how far each is from Bayes, and which claims `ps.explain` also makes of the
untrained network: such a claim says nothing about what a network has learnt. Writes distances.csv, claims.csv,
results.md and pages. A minute or two; a `--seeds 1` run is the shortest.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.account import Settings, account_page
from promptscope.files import write_text
from recipes.coin_flips.bayes import best_flips, divergence, laplace, posterior
from recipes.coin_flips.claims import claims_table
from recipes.coin_flips.network import FLIPS, network
from recipes.coin_flips.tasks import SOURCES, coin_task, counts
from recipes.coin_flips.written import results_page

LENGTH = 4
STARTS = "heads tails heads tails"


def tuned(model: ps.HookedModel, task: ps.Task, kind: str, seed: int, steps: int, out: Path) -> ps.Prompt:
    """Train a prompt of `LENGTH` tokens."""
    new = ps.SoftPrompt if kind == "v1" else ps.DeepPrompt
    config = ps.TrainConfig(
        steps=steps, batch_size=32, learning_rate=3e-2, schedule="linear", warmup_steps=min(10, steps // 2),
        max_grad_norm=1.0, seed=seed,
    )  # fmt: skip
    return ps.train(model, new(LENGTH, init=f"text: {STARTS}", seed=seed), task, config, out=out).prompt


def said(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None = None) -> np.ndarray:
    """Return the model's P(heads) after each test text, normalised over the two flips."""
    scores = ps.score_labels(model, prompt, task, batch_size=128, progress=False).double().softmax(-1)
    return scores[:, FLIPS.index("heads")].numpy()


def distances(seed: int, arguments: argparse.Namespace, accounts: dict[tuple[str, str], ps.account.Account]) -> list:
    """Return (source, condition, seed, KL) of everything whose distance from Bayes is known or measured."""
    rows = []
    print(f"seed {seed}: network", flush=True)
    models = {"trained": network(arguments.steps, seed)[0], "untrained": network(0, seed)[0]}
    for source, biases in SOURCES.items():
        print(f"seed {seed}: {source}", flush=True)
        task = coin_task(source, 4000, arguments.texts, seed=seed)
        heads, flips = counts(task)
        best = posterior(np.array(biases), heads, flips)

        def row(condition: str, predicted: np.ndarray, source: str = source, best: np.ndarray = best) -> None:
            rows.append((source, condition, seed, float(divergence(best, predicted).mean())))

        row("Bayes of the training flips, no prompt", laplace(heads, flips))
        h, kl = best_flips(np.array(biases), heads, flips, LENGTH)
        rows.append((source, f"Bayes of the training flips, best {LENGTH} flips as prompt", seed, kl))
        for name, model in models.items():
            row(f"{name} network, no prompt", said(model, task))
            flipped = ps.causal.text_prompt(model, " ".join(["heads"] * h + ["tails"] * (LENGTH - h)))
            row(f"{name} network, best {LENGTH} flips as prompt", said(model, task, flipped))
            for kind in ("v1", "v2"):
                place = arguments.out / "runs" / f"{source.replace(' ', '-')}-{name}-{kind}-{seed}"
                prompt = tuned(model, task, kind, seed, arguments.prompt_steps, place)
                row(f"{name} network, random {kind} prompt", said(model, task, ps.random_like(prompt, seed)))
                row(f"{name} network, tuned {kind} prompt", said(model, task, prompt))
                if kind == "v1" and seed == 0:
                    settings = Settings(limit=arguments.explained, few=arguments.explained, n_random=5, shots=0)
                    accounts[source, name] = ps.explain(
                        model, prompt, task, name=f"{name} network, {source}", settings=settings
                    )
    return rows


def main() -> None:
    """Train, tune, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("coins"), help="folder for tables and pages")
    parser.add_argument("--steps", type=int, default=800, help="training steps of the network")
    parser.add_argument("--prompt-steps", type=int, default=120, help="training steps of each prompt")
    parser.add_argument("--seeds", type=int, default=3, help="number of networks, each trained with another seed")
    parser.add_argument(
        "--texts", type=int, default=512, help="number of held-out texts on which distances from Bayes are measured"
    )
    parser.add_argument("--explained", type=int, default=64, help="number of inputs of each account")
    parser.add_argument("--write", type=Path, help="folder in which results.md is written as well")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    accounts: dict[tuple[str, str], ps.account.Account] = {}
    rows = [row for seed in range(arguments.seeds) for row in distances(seed, arguments, accounts)]
    table = pd.DataFrame(rows, columns=["source", "condition", "seed", "kl"])
    claims = claims_table(accounts)
    write_text(arguments.out / "distances.csv", table.to_csv(index=False))
    write_text(arguments.out / "claims.csv", claims.to_csv(index=False))
    for source in SOURCES:
        both = [account for (of, _), account in accounts.items() if of == source]
        account_page(both).write(arguments.out / f"{source.replace(' ', '-')}.html")
    text = results_page(table, claims, arguments)
    for path in (arguments.out / "results.md", arguments.write):
        if path is not None:
            write_text(path, text)
    print(text)


if __name__ == "__main__":
    main()
