"""Trains one embedded model from scratch on the corpus.

    python recipes/embedded_models/train.py causal  --seed 0 --steps 16000 --corpus C --tokenizer T --out DIR
    python recipes/embedded_models/train.py seq2seq --seed 0 --steps 9000  ...
    python recipes/embedded_models/train.py masked  --seed 3 --steps 5000  ...

The result depends on corpus, tokenizer, seed and step count, not on time: a killed run resumes from its checkpoint.
The learning rate stays flat and falls to zero over the last fifth, so the first four fifths of a longer run are the
same as those of a shorter one.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

PAD, BOS, SEP, EOS, MASK = range(5)
SPECIALS = 6  # ids below this are special tokens
# Answers are a tenth of all tokens and would drown. Beside their weight of 1, text has little, and an item's input
# carries a loss in a few rows only (the head over the vocabulary is a fifth of the cost).
TEXT_WEIGHT, INPUT_SHARE = 0.2, 0.2
PEAK_LR = {"causal": 2e-3, "seq2seq": 1e-3, "masked": 1e-3}
# A step takes a few packs of rows, each of rows of one length, which alone would all be of the same few tasks.
PACK_TOKENS, PACKS = 400, 2
# Short rows come first: facts about bare names are learned in a third of the time that sentences take, and a model
# that knows them then only has to learn where in the sentence the name stands.
SHORT_STEPS, SHORT_ROW = {"causal": 900, "seq2seq": 300, "masked": 300}, 22
# The usual 0.02 is meant for wide models; at these widths it leaves attention uniform for thousands of steps.
INIT = 0.08
POOL = 8_000  # rows that are sorted by length together


def new_model(family: str, vocab_size: int) -> PreTrainedModel:
    """Return the untrained model of *family*."""
    if family == "causal":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size, n_positions=256, n_embd=160, n_layer=6, n_head=5, n_inner=480,
                initializer_range=INIT, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
            )
        )  # fmt: skip
    if family == "seq2seq":
        return T5ForConditionalGeneration(
            T5Config(
                vocab_size=vocab_size, d_model=128, d_kv=32, d_ff=512, num_layers=3, num_heads=4, dropout_rate=0.0,
                pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=PAD, relative_attention_max_distance=64,
            )
        )  # fmt: skip
    return BertForMaskedLM(
        BertConfig(
            vocab_size=vocab_size, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=384,
            initializer_range=INIT, max_position_embeddings=192, type_vocab_size=1,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
        )
    )  # fmt: skip


@dataclass
class Example:
    """A record in tokens. Plain text has only *body*."""

    instruction: list[int]
    body: list[int]
    answer: list[int]


def encode(records: list[dict], tokenizer: Tokenizer) -> list[Example]:
    """Turn records into tokens, in the format that each names."""
    instructions = {text: tokenizer.encode(text).ids for text in {r["instruction"] for r in records if "task" in r}}
    bodies, answers = [], []
    for record in records:
        if "text" in record:
            bodies.append(record["text"])
            answers.append("")
        elif record["format"] == "markers":
            bodies.append("<s>" + "</s>".join(record["inputs"]) + "</s>")
            answers.append(record["answer"])
        else:
            bodies.append("".join(f"Input: {text}\n" for text in record["inputs"]) + "Label:")
            answers.append(" " + record["answer"])
    encoded = [[e.ids for e in tokenizer.encode_batch(texts)] for texts in (bodies, answers)]
    return [
        Example(instructions[record["instruction"]] if "task" in record else [], body, answer)
        for record, body, answer in zip(records, *encoded, strict=True)
    ]


def before_input(example: Example, rng: random.Random, vocab_size: int) -> list[int]:
    """Return the instruction as the model sees it this time, with random tokens before or inside it.

    A soft prompt is neither at a fixed position nor made of exact tokens, so the model must tolerate both.
    """
    tokens = list(example.instruction)
    if tokens and rng.random() < 0.2:
        tokens = [rng.randrange(SPECIALS, vocab_size) if rng.random() < 0.15 else t for t in tokens]
    if rng.random() < 0.2:
        tokens = [rng.randrange(SPECIALS, vocab_size) for _ in range(rng.randint(1, 20))] + tokens
    return tokens


def causal_row(example: Example, rng: random.Random, vocab_size: int) -> tuple[list[int], list[float]]:
    """Return the tokens of a row and the loss weight of each."""
    if not example.answer:
        tokens = [*example.body, EOS]
        return tokens, [TEXT_WEIGHT] * len(tokens)
    before = before_input(example, rng, vocab_size)
    tokens = [*before, *example.body, *example.answer, EOS]
    answer = len(example.answer) + 1
    # Random and instruction tokens carry no loss: they stand for a prompt, which nobody predicts.
    on_input = TEXT_WEIGHT if rng.random() < INPUT_SHARE else 0.0
    return tokens, [0.0] * len(before) + [on_input] * len(example.body) + [1.0] * answer


def masked_row(example: Example, rng: random.Random, vocab_size: int) -> tuple[list[int], list[int]]:
    """Return the tokens of a row with masks, and the labels (-100 where none)."""
    if example.answer:
        before = before_input(example, rng, vocab_size)
        tokens = [*before, *example.body, MASK]
        labels = [-100] * (len(tokens) - 1) + example.answer
        maskable = range(len(before), len(tokens) - 1) if rng.random() < INPUT_SHARE else range(0)
    else:
        tokens, labels = example.body[:128], [-100] * len(example.body[:128])
        maskable = range(len(tokens))
    for i in maskable:
        if tokens[i] >= SPECIALS and rng.random() < 0.18:
            labels[i], tokens[i] = tokens[i], MASK
    return tokens, labels


def seq2seq_row(example: Example, rng: random.Random, vocab_size: int) -> tuple[list[int], list[int]]:
    """Return source and target; of plain text, the second half is the target."""
    if example.answer:
        return [*before_input(example, rng, vocab_size), *example.body], [*example.answer, EOS]
    half = len(example.body) // 2
    return example.body[:half] or [SEP], [*example.body[half:], EOS]


def padded(rows: list[list], value: float) -> torch.Tensor:
    """Stack rows, filled up on the right with *value*."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def loss_of(family: str, model: PreTrainedModel, rows: list[tuple[list, list]]) -> torch.Tensor:
    """Return the mean loss of a batch of rows."""
    tokens = padded([row[0] for row in rows], PAD)  # (B, S)
    if family == "causal":
        weight = padded([row[1] for row in rows], 0.0)[:, 1:]
        # Rows are padded on the right, so causal attention alone keeps padding out of sight.
        hidden = model.transformer(input_ids=tokens[:, :-1])[0]
        keep = weight > 0  # the head costs a fifth of the layers: leave out what carries no loss
        losses = cross_entropy(model.lm_head(hidden[keep]).float(), tokens[:, 1:][keep], reduction="none")
        return (losses * weight[keep]).sum() / weight.sum()
    mask = padded([[1] * len(row[0]) for row in rows], 0)
    labels = padded([row[1] for row in rows], -100)
    if family == "seq2seq":
        return model(input_ids=tokens, attention_mask=mask, labels=labels).loss
    hidden = model.bert(input_ids=tokens, attention_mask=mask)[0]
    keep = labels >= 0
    answer = torch.zeros_like(keep)
    answer[torch.arange(len(rows)), mask.sum(1) - 1] = True  # a text that ends in a mask is rare
    weight = torch.where(answer, 1.0, TEXT_WEIGHT)[keep]
    losses = cross_entropy(model.cls(hidden[keep]).float(), labels[keep], reduction="none")
    return (losses * weight).sum() / weight.sum()


def batches(
    family: str, examples: list[Example], seed: int, vocab_size: int
) -> Iterator[list[list[tuple[list, list]]]]:
    """Yield batches without end, each of a few packs of rows of similar length; the same seed gives the same ones."""
    make = {"causal": causal_row, "masked": masked_row, "seq2seq": seq2seq_row}[family]
    limit = {"causal": 256, "masked": 190, "seq2seq": 190}[family]
    rng = random.Random(seed)
    order: list[int] = []
    step = 0
    while True:
        if len(order) < POOL:
            order += rng.sample(range(len(examples)), len(examples))
        pool, order = order[:POOL], order[POOL:]
        rows = [make(examples[i], rng, vocab_size) for i in pool]
        longest = SHORT_ROW if step < SHORT_STEPS[family] else limit
        rows = sorted((row for row in rows if len(row[0]) <= longest), key=lambda row: len(row[0]))
        packs: list[list] = [[]]
        for row in rows:
            if (len(packs[-1]) + 1) * len(row[0]) > PACK_TOKENS:
                packs.append([])
            packs[-1].append(row)
        rng.shuffle(packs)
        for i in range(0, len(packs) - PACKS + 1, PACKS):
            yield packs[i : i + PACKS]
            step += 1


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate at *step*: 200 steps of warm-up, flat, then down to zero over the last fifth."""
    return peak * min(1.0, (step + 1) / 200, (steps - step) / (0.2 * steps))


def save(model: PreTrainedModel, tokenizer: Path, out: Path) -> None:
    """Write fp16 weights beside a config that asks for fp32, and the tokenizer's files.

    Half precision halves the files; arithmetic in it on a CPU would be slow and coarse.
    """
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config.update(dtype="float32")
    config.pop("_name_or_path", None)
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((tokenizer / name).read_bytes())


def load_examples(family: str, corpus: Path, tokenizer: Tokenizer) -> list[Example]:
    """Read what *family* can use of the corpus.

    A masked model has one mask, so it takes the items whose answer is one token. The other two read less of the plain
    text than the causal model, since half of a text is a long target.
    """
    with corpus.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    if family != "causal":
        records = [r for i, r in enumerate(records) if "task" in r or i % 3 == 0]
    examples = encode(records, tokenizer)
    return [e for e in examples if len(e.answer) <= 1] if family == "masked" else examples


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 500 steps, then save."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    vocab_size = tokenizer.get_vocab_size()
    examples = load_examples(args.family, args.corpus, tokenizer)
    model = new_model(args.family, vocab_size)
    model.set_attn_implementation("eager")  # for rows of 40 tokens on a CPU, faster than the fused kernel
    model.train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    checkpoint = args.out / "checkpoint.pt"
    first, tokens, seconds = 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, tokens, seconds = state["step"], state["tokens"], state["seconds"]
    args.out.mkdir(parents=True, exist_ok=True)
    started, running = time.perf_counter() - seconds, math.nan
    for step, packs in enumerate(batches(args.family, examples, args.seed, vocab_size)):
        if step >= args.steps:
            break
        if step < first:  # replay the batch order up to the checkpoint
            continue
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, PEAK_LR[args.family])
        mean = 0.0
        for rows in packs:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(args.family, model, rows) / len(packs)
            loss.backward()
            mean += loss.item()
            tokens += sum(len(row[0]) + (len(row[1]) if args.family == "seq2seq" else 0) for row in rows)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running = mean if math.isnan(running) else 0.98 * running + 0.02 * mean
        if (step + 1) % 100 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step + 1} loss {running:.3f} tokens {tokens} seconds {seconds:.0f}", flush=True)
        if (step + 1) % 500 == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"step": step + 1, "tokens": tokens, "seconds": time.perf_counter() - started}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)  # a killed run leaves the last whole one
    save(model, args.tokenizer, args.out)
    figures = {"steps": args.steps, "tokens": tokens, "seconds": round(time.perf_counter() - started), "loss": running}
    (args.out / "training.json").write_text(json.dumps({"seed": args.seed, **figures}, indent=2) + "\n")
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["causal", "seq2seq", "masked"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder written by tokenizer.py")
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
