"""Prints the model card's figures as JSON: accuracy on the embedded tasks' test sets, by what stands before the input.

    python recipes/embedded_models/evaluate.py --models promptscope/embedded --tasks promptscope/tasks/data [--tune]

none         the input alone
random       vectors drawn from a normal distribution with the mean norm of the token embeddings
instruction  the first natural instruction of the task, in the input's language
input        (--tune) a tuned input-level prompt of 20 vectors (16 for the masked models)
deep         (--tune) tuned keys and values at 20 positions of each layer, causal model only

Classification tasks compare the label words; generation tasks need every token of the answer and the end right.
"""

import argparse
import json
from pathlib import Path

import phrases
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

LOADERS = {"causal": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM, "masked": AutoModelForMaskedLM}
TUNING = {  # steps of 16 examples, peak rate; linear decay
    "input": {"causal": (300, 3e-2), "seq2seq": (300, 1e-1), "masked": (300, 3e-2)},
    "deep": {"causal": (300, 2e-2)},
}


class Scorer:
    """A frozen model with a task: gives the loss and the score of batches behind some prompt."""

    def __init__(self, family: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Path) -> None:
        self.family, self.model, self.tokenizer = family, model.eval().requires_grad_(False), tokenizer
        self.meta = json.loads((task / "META.json").read_text(encoding="utf-8"))
        self.splits = {}
        for split in ("train", "test"):
            with (task / f"{split}.jsonl").open(encoding="utf-8") as file:
                self.splits[split] = [json.loads(line) for line in file]
        labels = self.meta["labels"]
        self.labels = [tokenizer.encode(word)[0] for word in labels.values()] if labels else []

    def embed(self, ids: list[int]) -> torch.Tensor:
        """Return the embeddings of a prompt's tokens, (k, d)."""
        return self.model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long))

    def logits(self, rows: list[dict], prompt: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B, T, V) and targets (B, T) of the answers, -100 where there is none."""
        inputs, targets = [], []
        for row in rows:
            texts = [row["text"]] if "text" in row else [row["text1"], row["text2"]]
            inputs.append(self.tokenizer.encode("<s>" + "</s>".join(texts) + "</s>"))
            targets.append([*self.tokenizer.encode(row["label"]), self.tokenizer.eos_token_id])
        if self.family == "causal":
            return self.causal_logits(inputs, targets, prompt)
        bodies = inputs if self.family == "seq2seq" else [[*ids, self.tokenizer.mask_token_id] for ids in inputs]
        width = max(map(len, bodies))
        ids = torch.tensor([b + [0] * (width - len(b)) for b in bodies])
        mask = torch.tensor([[1] * len(b) + [0] * (width - len(b)) for b in bodies])
        embeds = self.model.get_input_embeddings()(ids)
        if prompt is not None:
            embeds = torch.cat([prompt.expand(len(rows), -1, -1), embeds], 1)
            mask = torch.cat([torch.ones(len(rows), len(prompt), dtype=torch.long), mask], 1)
        if self.family == "masked":
            logits = self.model(inputs_embeds=embeds, attention_mask=mask).logits
            return logits[torch.arange(len(rows)), mask.sum(1) - 1][:, None], torch.tensor(targets)[:, :1]
        longest = max(map(len, targets))
        target = torch.tensor([t + [-100] * (longest - len(t)) for t in targets])
        return self.model(inputs_embeds=embeds, attention_mask=mask, labels=target).logits, target

    def causal_logits(
        self, inputs: list[list[int]], targets: list[list[int]], prompt: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of a causal model; *prompt* is (k, d), or (layers, 2, heads, k, head size) for a prefix."""
        rows = [i + t for i, t in zip(inputs, targets, strict=True)]
        width = max(map(len, rows))
        ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
        target = torch.full_like(ids, -100)
        for i, (before, answer) in enumerate(zip(inputs, targets, strict=True)):
            target[i, len(before) : len(before) + len(answer)] = torch.tensor(answer)
        if prompt is not None and prompt.ndim == 5:
            cache = DynamicCache()
            for layer, (key, value) in enumerate(prompt):
                cache.update(key.expand(len(rows), -1, -1, -1), value.expand(len(rows), -1, -1, -1), layer)
            logits = self.model(input_ids=ids, past_key_values=cache).logits
            return logits[:, :-1], target[:, 1:]
        embeds = self.model.get_input_embeddings()(ids)
        k = 0 if prompt is None else len(prompt)
        if prompt is not None:
            embeds = torch.cat([prompt.expand(len(rows), -1, -1), embeds], 1)
        return self.model(inputs_embeds=embeds).logits[:, k:-1], target[:, 1:]

    @torch.no_grad()
    def score(self, prompt: torch.Tensor | None, split: str = "test") -> float:
        """Return the share of right answers."""
        right = 0
        rows = self.splits[split]
        for i in range(0, len(rows), 50):
            logits, target = self.logits(rows[i : i + 50], prompt)
            if self.labels:
                first = (target >= 0).int().argmax(1)
                at = torch.arange(len(target))
                best = logits[at, first][:, self.labels].argmax(1)
                right += int((torch.tensor(self.labels)[best] == target[at, first]).sum())
            else:
                right += int(((logits.argmax(-1) == target) | (target < 0)).all(1).sum())
        return round(right / len(rows), 3)

    def tune(self, start: torch.Tensor, steps: int, rate: float, seed: int = 0) -> torch.Tensor:
        """Return *start* after AdamW on the train split, the loss being the answer's cross-entropy."""
        generator = torch.Generator().manual_seed(seed)
        prompt = start.clone().requires_grad_()
        optimizer = torch.optim.AdamW([prompt], lr=rate, weight_decay=0.0)
        rows = self.splits["train"]
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (1 - step / steps)
            picked = torch.randint(len(rows), (16,), generator=generator).tolist()
            logits, target = self.logits([rows[i] for i in picked], prompt)
            loss = cross_entropy(logits[target >= 0].float(), target[target >= 0])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([prompt], 1.0)
            optimizer.step()
        return prompt.detach()

    def random_prompt(self, k: int, seed: int) -> torch.Tensor:
        """Return *k* normal vectors with the mean norm of the token embeddings."""
        weight = self.model.get_input_embeddings().weight
        vectors = torch.randn(k, weight.shape[1], generator=torch.Generator().manual_seed(seed))
        return vectors / vectors.norm(dim=1, keepdim=True) * weight.norm(dim=1).mean()

    def prefix_of(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the keys and values that *vectors* (k, d) leave in a causal model."""
        with torch.no_grad():
            cache = self.model(inputs_embeds=vectors[None], use_cache=True).past_key_values
        return torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])


def figures(scorer: Scorer, tune: bool) -> dict[str, float]:
    """Return the scores of one model on one task."""
    k = 16 if scorer.family == "masked" else 20
    name = scorer.meta["name"].removesuffix("_en").removesuffix("_ko")
    task = {"country_capital": "capital"}.get(name, name)
    instruction = scorer.tokenizer.encode(phrases.natural_instruction(task, scorer.meta["language"]))
    randoms = [scorer.score(scorer.random_prompt(k, seed)) for seed in range(3)]
    result = {
        "none": scorer.score(None),
        "random": round(sum(randoms) / len(randoms), 3),
        "instruction": scorer.score(scorer.embed(instruction)),
    }
    if tune:
        steps, rate = TUNING["input"][scorer.family]
        # Tokens drawn from the vocabulary are points where the model is used to be.
        ids = torch.randint(6, len(scorer.tokenizer), (k,), generator=torch.Generator().manual_seed(0))
        start = scorer.embed(ids.tolist())
        result["input"] = scorer.score(scorer.tune(start, steps, rate))
        if scorer.family == "causal":
            steps, rate = TUNING["deep"]["causal"]
            result["deep"] = scorer.score(scorer.tune(scorer.prefix_of(start), steps, rate))
    return result


def main() -> None:
    """Print the figures of every model on every task it can do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="also tune prompts")
    parser.add_argument("--only", nargs="*", help="names of models or tasks to keep")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = sorted(path.parent for path in args.models.glob("*/config.json"))
    tasks = sorted(path.parent for path in args.tasks.glob("*/META.json"))
    wanted = set(args.only or [])
    models = [m for m in models if m.name in wanted] or models
    tasks = [t for t in tasks if t.name in wanted] or tasks
    table: dict[str, dict] = {}
    for folder in models:
        family = folder.name.split("-")[0]
        model = LOADERS[family].from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for task in tasks:
            scorer = Scorer(family, model, tokenizer, task)
            if family != "masked" or scorer.labels:  # one mask has room for one token
                table.setdefault(folder.name, {})[task.name] = figures(scorer, args.tune)
    print(json.dumps(table, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
