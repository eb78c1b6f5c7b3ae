"""Trains the byte-level BPE tokenizer that all embedded models share.

python recipes/embedded_models/tokenizer.py --corpus corpus.jsonl --out tokenizer/
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import phrases
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = ["<pad>", "<s>", "</s>", "<|endoftext|>", "[MASK]", "<unk>"]
CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "eos_token": "<|endoftext|>",
    "mask_token": "[MASK]",
    "unk_token": "<unk>",
    "add_bos_token": False,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    "padding_side": "right",
    "model_max_length": 256,
}


def texts(corpus: Path, limit: int) -> Iterator[str]:
    """Yield training text: the corpus, then the answer words so often that each one merges into one token."""
    with corpus.open(encoding="utf-8") as file:
        for _, line in zip(range(limit), file, strict=False):
            record = json.loads(line)
            if "text" in record:
                yield record["text"]
            else:
                yield from (record["instruction"], *record["inputs"], record["answer"])
                yield f"Input: {record['inputs'][0]}\nLabel: {record['answer']}"
                if record["task"] in ("capital", "translation", "country"):  # names are learned faster as one token
                    for _ in range(20):
                        yield record["answer"]
                        yield f": {record['answer']}"
    for word in phrases.single_token_words():
        for _ in range(3000):
            yield word  # directly after </s>
            yield f": {word}"  # after "Label:"


def train(corpus: Path, vocab_size: int = 4096, limit: int = 150_000) -> Tokenizer:
    """Train on the first *limit* records and check that every answer word is one token in both spacings."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIALS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus, limit), trainer)
    for word in phrases.single_token_words():
        for spaced in (word, f" {word}"):
            pieces = tokenizer.encode(spaced).tokens
            if len(pieces) != 1:
                raise SystemExit(f"{spaced!r} must be one token, but is {pieces}: repeat it more often in texts().")
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json (compact: seven folders contain it) and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    save(train(args.corpus), args.out)


if __name__ == "__main__":
    main()
