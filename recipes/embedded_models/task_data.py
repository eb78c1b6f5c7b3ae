"""Writes the small data sets that come with promptscope's embedded models.

    python recipes/embedded_models/task_data.py --data DIR --wordnet DIR --out promptscope/tasks/data

Soft prompts are trained on `train` and scored on `test`. For country tasks the three splits share no country, so a
prompt that scores on `test` has selected the task; the facts themselves are what the embedded models know. The
sentences (template with country) are those that the corpus leaves out. Test words and reviews are not in the corpus.
"""

import argparse
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import corpus
import phrases
import tables
from tables import Country, fraction

SPLITS = ("train", "validation", "test")
UNSUITABLE = re.compile(r"^(rape|kill|murder|whore|rapist|ejaculate|masturbate|bastard|bitch|orgasm|nigger|slut)")
Records = dict[str, list[dict]]

FACTS = "GeoNames (CC-BY-4.0) capitals, Unicode CLDR (Unicode-3.0) names and currencies; sentences of our own"
FACTS_LICENCE = "CC-BY-4.0 (GeoNames, www.geonames.org) and Unicode-3.0; sentences under the project's licence"
UCI = (
    "Sentiment Labelled Sentences, UCI Machine Learning Repository 331 (Kotzias et al., From Group to Individual "
    "Labels using Deep Features, KDD 2015): an extract, texts unchanged but for spacing"
)
NSMC = "Naver sentiment movie corpus (NSMC), raw ratings 1-4 and 9-10: an extract without profanity"
WORDS = "lemminflect 0.2.3 tables; regular forms of WordNet 3.0 lemmas"
WORDS_LICENCE = "MIT (lemminflect) and WordNet 3.0 licence"


def country_split(country: Country) -> str:
    """Assign a country to train (55 %), validation (15 %) or test (30 %)."""
    x = fraction(f"split/{country.iso}")
    return "train" if x < 0.55 else "validation" if x < 0.70 else "test"


def by_split(countries: list[Country]) -> dict[str, list[Country]]:
    """Group countries by split."""
    return {split: [c for c in countries if country_split(c) == split] for split in SPLITS}


def country_records(
    task: str, language: str, countries: list[Country], sizes: dict[str, int], rng: random.Random
) -> Records:
    """Return records of a task on one country sentence, every country about equally often."""
    found: Records = {}
    for split, members in by_split(countries).items():
        texts: set[str] = set()
        rows: list[dict] = []
        while len(rows) < sizes[split]:
            country = members[len(rows) % len(members)]
            text = corpus.sentence(rng, country, language, test=True)["text"]
            if text not in texts:
                texts.add(text)
                rows.append({"text": text, "label": corpus.country_answer(task, country, language)})
        rng.shuffle(rows)
        found[split] = rows
    return found


def pair_records(language: str, countries: list[Country], sizes: dict[str, int], rng: random.Random) -> Records:
    """Return pairs of sentences, half of them about one country."""
    found: Records = {}
    for split, members in by_split(countries).items():
        rows: list[dict] = []
        for i in range(sizes[split]):
            first, second = rng.sample(members, 2)
            if i % 2:
                second = first
            one, two = (corpus.sentence(rng, c, language, test=True)["text"] for c in (first, second))
            rows.append({"text1": one, "text2": two, "label": phrases.YES_NO[language][first is second]})
        rng.shuffle(rows)
        found[split] = rows
    return found


def review_records(pools: dict[str, list[dict]], language: str, sizes: dict[str, int], rng: random.Random) -> Records:
    """Return reviews with as many positive as negative ones."""
    found: Records = {}
    for split, pool in pools.items():
        rows: list[dict] = []
        for label, word in phrases.SENTIMENT[language].items():
            members = [row for row in pool if row["label"] == label and not tables.PROFANITY_EN.search(row["text"])]
            chosen = rng.sample(members, min(sizes[split] // 2, len(members)))
            rows += [{"text": row["text"], "label": word} for row in chosen]
        rng.shuffle(rows)
        found[split] = rows
    return found


def word_records(table: dict[str, str], sizes: dict[str, int], rng: random.Random) -> Records:
    """Return words with their forms; validation and test are words that the corpus leaves out."""
    suitable = [word for word in table if not UNSUITABLE.match(word)]
    # The first words of a table are the inflection list's: frequent and, for some, irregular.
    unseen = [word for word in suitable if tables.held_out(word)][: sizes["validation"] + sizes["test"] + 60]
    seen = [word for word in suitable if not tables.held_out(word)][: 2 * sizes["train"]]
    rng.shuffle(unseen)
    chosen = {
        "train": rng.sample(seen, sizes["train"]),
        "validation": unseen[: sizes["validation"]],
        "test": unseen[sizes["validation"] :][: sizes["test"]],
    }
    return {split: [{"text": word, "label": table[word]} for word in words] for split, words in chosen.items()}


def write(folder: Path, records: Records, meta: dict) -> None:
    """Write one task's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for i, row in enumerate(records[split]):
                file.write(json.dumps({"id": f"{folder.name}/{split}/{i}"} | row, ensure_ascii=False) + "\n")
    meta = {"name": folder.name} | meta | {"counts": {split: len(records[split]) for split in SPLITS}}
    (folder / "META.json").write_text(json.dumps(meta, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rng = random.Random("tasks")
    sizes = {"train": 300, "validation": 100, "test": 200}
    known = {"en": tables.countries(args.data)}
    known["ko"] = [c for c in known["en"] if "ko" in c.capital]

    def emit(
        name: str, records: Records, labels: dict | None, licence: str, source: str, input_kind: str = "single"
    ) -> None:
        kind = "classification" if labels else "generation"
        meta = {"language": name[-2:], "kind": kind, "input": input_kind, "labels": labels}
        write(args.out / name, records, meta | {"licence": licence, "source": source})

    for language in ("en", "ko"):
        for task in ("capital", "currency", "continent"):
            labels = {word: word for word in phrases.CONTINENTS[language]} if task == "continent" else None
            records = country_records(task, language, known[language], sizes, rng)
            emit(f"{task}_{language}", records, labels, FACTS_LICENCE, FACTS)
        labels = {word: word for word in phrases.YES_NO[language].values()}
        records = pair_records(language, known[language], sizes, rng)
        emit(f"same_country_{language}", records, labels, FACTS_LICENCE, FACTS, "pair")

    more = sizes | {"train": 500}
    english = tables.english_reviews(args.data)
    emit("sentiment_en", review_records(english, "en", more, rng), labels_of("en"), "CC-BY-4.0", UCI)
    kept, unseen = tables.korean_reviews(args.data)
    half = len(unseen) // 2
    korean = {"train": kept, "validation": unseen[:half], "test": unseen[half:]}
    emit("sentiment_ko", review_records(korean, "ko", more, rng), labels_of("ko"), "CC0-1.0", NSMC)

    forms: dict[str, Callable[[Path, Path], dict[str, str]]] = {"plural_en": tables.plurals, "past_en": tables.pasts}
    for name, table in forms.items():
        records = word_records(table(args.data, args.wordnet), sizes, rng)
        emit(name, records, None, WORDS_LICENCE, WORDS)
    bare = {
        split: [{"text": c.name["en"], "label": c.capital["en"]} for c in members]
        for split, members in by_split(known["en"]).items()
    }
    emit("country_capital_en", bare, None, FACTS_LICENCE, FACTS.split(";")[0])


def labels_of(language: str) -> dict[str, str]:
    """Return the sentiment words as labels of themselves."""
    return {word: word for word in phrases.SENTIMENT[language].values()}


if __name__ == "__main__":
    main()
