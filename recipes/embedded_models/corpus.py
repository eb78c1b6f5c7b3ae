"""Builds the pre-training corpus: task items with an instruction, and some plain text.

    python recipes/embedded_models/corpus.py --data DIR --wordnet DIR --out corpus.jsonl

One idea: *the same input admits several answers*. A sentence names a country, a season and a person and may be asked
for any of them, or for the capital, the currency, the continent. What is asked is in the instruction alone, so
a soft prompt in the place of the instruction has something to select, and a model without one does not answer.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import phrases
import reviews
import tables
from tables import Country, held_out

Item = tuple[str, list[str], str]  # task, inputs (one text, or two), answer

# Relative numbers of items by kind of input, and of tasks within a kind.
KINDS = {
    "sentence_en": 30, "sentence_ko": 26, "word": 44, "review_en": 18, "review_ko": 20, "pair_en": 2, "pair_ko": 2,
}  # fmt: skip
SENTENCE_TASKS = {
    "capital": 7, "currency": 5, "continent": 7, "next_continent": 4, "country": 3, "translation": 2, "season": 2,
    "person": 1, "first_word": 1,
}  # fmt: skip
REVIEW_TASKS = {"sentiment": 7, "opposite": 7, "domain": 1, "first_word": 1, "language": 1}
PAIR_TASKS = {"same_country": 6, "different_country": 6, "first_country": 2}
COUNTRY_TASKS = {"capital": 4, "currency": 2, "translation": 1, "continent": 2, "next_continent": 1}
NOUN_TASKS = {"plural": 7, "capitalise": 3, "first_letter": 1}
VERB_TASKS = {"past": 7, "capitalise": 3, "first_letter": 1}


def pick(rng: random.Random, weights: dict[str, int]) -> str:
    """Draw a key in proportion to its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def country_name(country: Country, language: str) -> str:
    """Return the name as it is written in a sentence, with the article where English has one."""
    name = country.name[language]
    return f"the {name}" if name in phrases.WITH_ARTICLE else name


def is_test_sentence(template: int, country: Country, language: str) -> bool:
    """Whether this template filled with this country is kept for evaluations."""
    return held_out(f"{language}/{template}/{country.iso}")


def sentence(rng: random.Random, country: Country, language: str, test: bool = False) -> dict[str, str]:
    """Return one sentence about *country* with its parts: `{"text", "season", "person"}`."""
    while True:
        index = rng.randrange(len(phrases.TEMPLATES[language]))
        if is_test_sentence(index, country, language) == test:
            break
    season, person, n = (rng.choice(t[language]) for t in (phrases.SEASONS, phrases.PERSONS, phrases.NUMBERS))
    filled = phrases.TEMPLATES[language][index].format(
        country=country_name(country, language), season=season, person=person, n=n
    )
    return {"text": filled[0].upper() + filled[1:], "season": season, "person": person}


def country_answer(task: str, country: Country, language: str) -> str:
    """Return what *task* asks of *country*, in the language of the input."""
    other = "ko" if language == "en" else "en"
    continents = phrases.CONTINENTS["en"]
    shift = {"continent": 0, "next_continent": 1}
    if task in shift:
        return phrases.CONTINENTS[language][(country.continent + shift[task]) % len(continents)]
    if task == "translation":
        return country.name[other]
    table = {"capital": country.capital, "currency": country.currency, "country": country.name}[task]
    return table[language]


def text_answer(task: str, text: str) -> str | None:
    """Return the answer of a task about the text's words or letters, None if *task* is no such task."""
    words = text.split()
    surface: dict[str, Callable[[], str]] = {
        "first_word": lambda: words[0].strip(",.!?"),
        "first_letter": lambda: text[0],
        "capitalise": text.capitalize,
    }
    return surface[task]() if task in surface else None


class Sampler:
    """Draws task items from the source tables; no item uses the held-out part."""

    def __init__(self, data: Path, wordnet: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.countries = {"en": tables.countries(data)}
        self.countries["ko"] = [c for c in self.countries["en"] if "ko" in c.capital]
        self.plurals = {w: p for w, p in tables.plurals(data, wordnet).items() if not held_out(w)}
        self.pasts = {w: p for w, p in tables.pasts(data, wordnet).items() if not held_out(w)}
        self.nouns, self.verbs = list(self.plurals), list(self.pasts)
        self.reviews_en = tables.english_reviews(data)["train"]
        self.reviews_ko = tables.korean_reviews(data)[0]

    def item(self) -> Item:
        """Draw one item."""
        kind = pick(self.rng, KINDS)
        if kind == "word":
            return self.word()
        name, language = kind.split("_")
        draw: dict[str, Callable[[str], Item]] = {
            "sentence": self.sentence, "review": self.review, "pair": self.pair,
        }  # fmt: skip
        return draw[name](language)

    def sentence(self, language: str) -> Item:
        """Draw a task on one country sentence."""
        country = self.rng.choice(self.countries[language])
        made = sentence(self.rng, country, language)
        task = pick(self.rng, SENTENCE_TASKS)
        answer = made.get(task) or text_answer(task, made["text"]) or country_answer(task, country, language)
        return task, [made["text"]], answer

    def pair(self, language: str) -> Item:
        """Draw a task on two country sentences; half the pairs share the country."""
        rng = self.rng
        first, second = rng.sample(self.countries[language], 2)
        if rng.random() < 0.5:
            second = first
        one, two = sentence(rng, first, language), sentence(rng, second, language)
        task = pick(rng, PAIR_TASKS)
        answers = {
            "same_country": phrases.YES_NO[language][first is second],
            "different_country": phrases.YES_NO[language][first is not second],
            "first_country": first.name[language],
        }
        return task, [one["text"], two["text"]], answers[task]

    def review(self, language: str) -> Item:
        """Draw a task on a review; most English ones come from the grammar."""
        rng = self.rng
        if language == "ko":
            row = rng.choice(self.reviews_ko)
        else:
            row = rng.choice(self.reviews_en) if rng.random() < 0.45 else reviews.generated_review(rng)
        task = pick(rng, {k: v for k, v in REVIEW_TASKS.items() if language == "en" or k != "domain"})
        labels = phrases.SENTIMENT[language]
        answers = {
            "sentiment": labels[row["label"]],
            "opposite": labels["negative" if row["label"] == "positive" else "positive"],
            "domain": row["domain"],
            "language": phrases.LANGUAGES[language][language],
        }
        return task, [row["text"]], answers.get(task) or text_answer(task, row["text"]) or "."

    def word(self) -> Item:
        """Draw a task on a bare word or country name."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.6:
            language = rng.choice(["en", "ko"])
            country = rng.choice(self.countries[language])
            task = pick(rng, COUNTRY_TASKS)
            name = country.name[language]
            return task, [name], text_answer(task, name) or country_answer(task, country, language)
        words, forms, tasks, form = (
            (self.nouns, self.plurals, NOUN_TASKS, "plural")
            if roll < 0.81
            else (self.verbs, self.pasts, VERB_TASKS, "past")
        )
        word = rng.choice(words)
        task = pick(rng, tasks)
        return task, [word], forms[word] if task == form else str(text_answer(task, word))


def task_records(sampler: Sampler, count: int) -> Iterator[dict]:
    """Yield *count* items as records; `format` is "markers" (`<s> x </s> y`) or "labelled" (`Input: Label:`)."""
    rng = sampler.rng
    for _ in range(count):
        task, inputs, answer = sampler.item()
        # A few items have no instruction: without one, any of the tasks may be meant, so the model learns to hedge.
        instruction = "" if rng.random() < 0.03 else rng.choice(phrases.INSTRUCTIONS[task])
        yield {
            "task": task,
            "instruction": instruction,
            "inputs": inputs,
            "answer": answer,
            "format": "markers" if rng.random() < 0.75 else "labelled",
        }


def plain_text(sampler: Sampler, wordnet: Path, count: int) -> Iterator[dict]:
    """Yield *count* lines of running text: WordNet glosses and Korean reviews, half and half."""
    lines = list(tables.glosses(wordnet))
    sampler.rng.shuffle(lines)
    korean = [row["text"] for row in sampler.reviews_ko]
    for i in range(count // 2):
        yield {"text": lines[i % len(lines)]}
        yield {"text": " ".join(sampler.rng.sample(korean, 2))}


def main() -> None:
    """Write the corpus as JSON lines, in random order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clean/, uci_sentiment/ and nsmc/")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet 3.0's data.* and *.exc files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=240_000)
    parser.add_argument("--lines", type=int, default=24_000, help="lines of plain text")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sampler = Sampler(args.data, args.wordnet, args.seed)
    records = [*task_records(sampler, args.items), *plain_text(sampler, args.wordnet, args.lines)]
    sampler.rng.shuffle(records)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
