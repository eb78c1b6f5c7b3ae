"""Trains one embedded model from scratch on the corpus.

    python recipes/embedded_models/train.py causal  --seed 0 --steps 6500 --corpus C --tokenizer T --out DIR
    python recipes/embedded_models/train.py seq2seq --seed 0 --steps 2000  ...
    python recipes/embedded_models/train.py masked  --seed 3 --steps 2100  ...

The result depends on corpus, tokenizer, seed and step count, not on time: a killed run resumes from its checkpoint.
The learning rate stays flat and falls to zero over the last fifth, so the first four fifths of a longer run are the
same as those of a shorter one.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator
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
# For the causal model: answers are only a tenth of all tokens. So they have the weight 1, text has a small weight, and
# an item's input has a loss in a few rows only (the unembedding is a fifth of the cost).
TEXT_WEIGHT, INPUT_SHARE = 0.2, 0.2
PEAK_LR = {"causal": 2e-3, "seq2seq": 1e-3, "masked": 1e-3}
# The T5's embeddings start at 1.0, the other weights at about 0.1 and less: at one rate they would hardly move.
EMBEDDING_LR = {"causal": 1, "seq2seq": 10, "masked": 1}
# A step takes a few packs, each of rows of similar length, which alone would all be of the same few tasks.
PACKS, PACK_TOKENS = {"causal": 2, "seq2seq": 1, "masked": 2}, {"causal": 400, "seq2seq": 1600, "masked": 600}
# The usual 0.02 is meant for wide models; at these widths it leaves attention uniform for thousands of steps.
INIT = 0.08
# Share of rows of the T5 and the masked models with random tokens, or nothing, in the place of the instruction.
UNTOLD = 0.1
POOL = {"causal": 8_000, "seq2seq": 1_500, "masked": 1_000}  # rows that are sorted by length together


@dataclass(frozen=True)
class Phase:
    """A part of the training: until step *end*, rows of at most *longest* tokens.

    *tasks* are relative numbers of items by task, or None for the corpus as it is, with its plain text. With *noise*,
    random tokens come before and inside instructions, and some items have no instruction.
    """

    end: float
    longest: int
    tasks: dict[str, int] | None
    noise: bool


FACTS = {"capital": 7, "currency": 5, "continent": 4, "translation": 4}
NAMES = {"continent": 4, "first_letter": 1}
SENTENCES = {"continent": 4, "season": 2, "first_letter": 1}
# Short rows come first: facts about bare names are learned in a third of the time that sentences take, and a model
# that knows them then only has to learn where in the sentence the name is. Tasks that use the same labels as
# another one the other way round come last: instruction and input then have to be combined as in an exclusive or,
# neither alone says anything, and a masked model that gets them from the start learns nothing at all.
PHASES = {
    "causal": [Phase(900, 22, None, True), Phase(math.inf, 256, None, True)],
    "seq2seq": [
        Phase(1500, 24, FACTS, False),
        Phase(math.inf, 120, FACTS | {"next_continent": 2, "country": 2, "season": 1, "person": 1}, True),
    ],
    "masked": [
        Phase(400, 24, NAMES, False),
        Phase(1200, 80, SENTENCES, False),
        Phase(math.inf, 80, SENTENCES | {"next_continent": 8}, True),
    ],
}


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

    task: str
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
        Example(record["task"], instructions[record["instruction"]], body, answer)
        if "task" in record
        else Example("", [], body, [])
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
    # Random and instruction tokens have no loss: a prompt will take their place, and it is not predicted.
    on_input = TEXT_WEIGHT if rng.random() < INPUT_SHARE else 0.0
    return tokens, [0.0] * len(before) + [on_input] * len(example.body) + [1.0] * answer


def row_of(family: str, example: Example, noise: bool, rng: random.Random, vocab_size: int) -> tuple[list, list]:
    """Return a row: tokens and loss weights (causal), or what is read and what is to be answered (the others)."""
    if family == "causal":
        return causal_row(example, rng, vocab_size)
    before = before_input(example, rng, vocab_size) if noise else example.instruction
    if noise and rng.random() < UNTOLD:
        before = [rng.randrange(SPECIALS, vocab_size) for _ in range(rng.randint(0, 20))]
    read = [*before, *example.body]
    return ([*read, MASK], example.answer) if family == "masked" else (read, [*example.answer, EOS])


def padded(rows: list[list], value: float) -> torch.Tensor:
    """Stack rows, filled up on the right with *value*."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def causal_loss(model: PreTrainedModel, rows: list[tuple[list, list]]) -> torch.Tensor:
    """Return the weighted mean over tokens."""
    tokens = padded([row[0] for row in rows], PAD)  # (B, S)
    weight = padded([row[1] for row in rows], 0.0)[:, 1:]
    # Rows are padded on the right, so with causal attention no token attends to padding.
    hidden = model.transformer(input_ids=tokens[:, :-1])[0]
    keep = weight > 0  # the head costs a fifth of the layers: leave out tokens without loss
    losses = cross_entropy(model.lm_head(hidden[keep]).float(), tokens[:, 1:][keep], reduction="none")
    return (losses * weight[keep]).sum() / weight.sum()


def masked_loss(model: PreTrainedModel, rows: list[tuple[list, list]]) -> torch.Tensor:
    """Return the mean over rows, at the mask, which is the last position."""
    tokens = padded([row[0] for row in rows], PAD)
    mask = padded([[1] * len(row[0]) for row in rows], 0)
    hidden = model.bert(input_ids=tokens, attention_mask=mask)[0]
    at_mask = hidden[torch.arange(len(rows)), mask.sum(1) - 1]
    return cross_entropy(model.cls(at_mask).float(), torch.tensor([row[1][0] for row in rows]))


def seq2seq_loss(model: PreTrainedModel, rows: list[tuple[list, list]]) -> torch.Tensor:
    """Return the mean over the answers' tokens."""
    tokens = padded([row[0] for row in rows], PAD)
    mask = padded([[1] * len(row[0]) for row in rows], 0)
    labels = padded([row[1] for row in rows], -100)
    keep = labels >= 0  # as for the causal model, no head where there is no loss
    encoded = model.encoder(input_ids=tokens, attention_mask=mask)[0]
    decoded = model.decoder(
        input_ids=model._shift_right(labels),
        encoder_hidden_states=encoded,
        encoder_attention_mask=mask,
        use_cache=False,
    )[0]
    logits = model.lm_head(decoded[keep] * model.config.d_model**-0.5)  # the scale of T5's tied head
    return cross_entropy(logits.float(), labels[keep])


LOSS = {"causal": causal_loss, "masked": masked_loss, "seq2seq": seq2seq_loss}


def pools(examples: list[Example], size: int, rng: random.Random) -> Iterator[list[Example]]:
    """Yield *size* examples at a time, without end, each example once before any comes again."""
    order: list[int] = []
    while True:
        if len(order) < size:
            order += rng.sample(range(len(examples)), len(examples))
        yield [examples[i] for i in order[:size]]
        order = order[size:]


def drawn(examples: list[Example], phase: Phase, size: int, rng: random.Random) -> Iterator[list[Example]]:
    """Yield *size* examples at a time, without end, in the phase's mix of tasks."""
    assert phase.tasks is not None
    by_task: dict[str, list[Example]] = {task: [] for task in phase.tasks}
    for example in examples:
        fits = len(example.instruction) + len(example.body) < phase.longest
        if example.task in by_task and fits and (example.instruction or phase.noise):
            by_task[example.task].append(example)
    while True:
        tasks = rng.choices(list(phase.tasks), list(phase.tasks.values()), k=size)
        yield [rng.choice(by_task[task]) for task in tasks]


def similar(family: str) -> Callable[[tuple[list, list]], tuple[int, ...]]:
    """Return the key that sorts rows by length; a T5's row has two lengths."""
    if family == "seq2seq":
        return lambda row: (len(row[0]) // 5, len(row[1]))
    return lambda row: (len(row[0]),)


def packed(family: str, rows: list[tuple[list, list]], rng: random.Random) -> Iterator[list[list[tuple[list, list]]]]:
    """Yield the rows in batches of packs: rows of similar length, of about `PACK_TOKENS` tokens with padding."""
    filled: list[list] = [[]]
    for row in sorted(rows, key=similar(family)):
        if (len(filled[-1]) + 1) * len(row[0]) > PACK_TOKENS[family]:
            filled.append([])
        filled[-1].append(row)
    rng.shuffle(filled)
    for i in range(0, len(filled) - PACKS[family] + 1, PACKS[family]):
        yield filled[i : i + PACKS[family]]


def batches(
    family: str, examples: list[Example], seed: int, vocab_size: int
) -> Iterator[list[list[tuple[list, list]]]]:
    """Yield batches without end, each of a few packs of rows of similar length; the same seed gives the same ones."""
    rng = random.Random(seed)
    step = 0
    whole = pools(examples, POOL[family], rng)
    for phase in PHASES[family]:
        source = drawn(examples, phase, POOL[family], rng) if phase.tasks else whole
        while step < phase.end:
            rows = [row_of(family, example, phase.noise, rng, vocab_size) for example in next(source)]
            for packs in packed(family, [row for row in rows if len(row[0]) <= phase.longest], rng):
                yield packs
                step += 1


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate at *step*: 200 steps of warm-up, flat, then down to zero over the last fifth."""
    return peak * min(1.0, (step + 1) / 200, (steps - step) / (0.2 * steps))


def save(model: PreTrainedModel, tokenizer: Path, out: Path) -> None:
    """Write fp16 weights with a config that asks for fp32, and the tokenizer's files.

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
    """Read what *family* uses of the corpus; a masked model has one mask, so one token is all that it can answer."""
    with corpus.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    mixes = [phase.tasks for phase in PHASES[family] if phase.tasks is not None]
    if mixes:
        records = [record for record in records if any(record.get("task") in mix for mix in mixes)]
    examples = encode(records, tokenizer)
    return [e for e in examples if len(e.answer) == 1] if family == "masked" else examples


def new_optimizer(family: str, model: PreTrainedModel) -> torch.optim.Optimizer:
    """Return AdamW, with weight decay on matrices only; `scale` multiplies a group's learning rate."""
    embeddings = [model.get_input_embeddings().weight] if EMBEDDING_LR[family] > 1 else []
    fast = {id(p) for p in embeddings}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in fast]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": 0.02, "scale": 1},
        {"params": others, "weight_decay": 0.0, "scale": 1},
        {"params": embeddings, "weight_decay": 0.0, "scale": EMBEDDING_LR[family]},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98))


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 500 steps, then save."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    vocab_size = tokenizer.get_vocab_size()
    examples = load_examples(args.family, args.corpus, tokenizer)
    model = new_model(args.family, vocab_size)
    if args.family != "seq2seq":  # for rows of 40 tokens on a CPU, faster than the fused kernel
        model.set_attn_implementation("eager")
    model.train()
    optimizer = new_optimizer(args.family, model)
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
            group["lr"] = group["scale"] * learning_rate(step, args.steps, PEAK_LR[args.family])
        mean = 0.0
        for rows in packs:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = LOSS[args.family](model, rows) / len(packs)
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
