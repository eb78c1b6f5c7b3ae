"""Reads the source tables: countries, inflections, reviews, WordNet. README.md says where each comes from."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CONTINENT_OF = {
    "Africa": "DZ AO BJ BW BF BI CV CM CF TD KM CG CD CI DJ EG GQ ER SZ ET GA GM GH GN GW KE LS LR LY MG MW ML MR MU "
    "YT MA MZ NA NE NG RE RW ST SN SC SL SO ZA SS SD TZ TG TN UG EH ZM ZW SH",
    "America": "AI AG AR AW BS BB BZ BM BO BQ BR VG CA KY CL CO CR CU CW DM DO EC SV FK GF GL GD GP GT GY HT HN JM MQ "
    "MX MS NI PA PY PE PR BL KN LC MF PM VC SX SR TT TC US UY VE VI",
    "Asia": "AF AM AZ BH BD BT BN KH CN GE HK IN ID IR IQ IL JP JO KZ KW KG LA LB MO MY MV MN MM NP KP OM PK PS PH QA "
    "SA SG KR LK SY TW TJ TH TL TR TM AE UZ VN YE",
    "Europe": "AX AL AD AT BY BE BA BG HR CY CZ DK EE FO FI FR DE GI GR GG HU IS IE IM IT JE XK LV LI LT LU MT MD MC "
    "ME NL MK NO PL PT RO RU SM RS SK SI ES SJ SE CH UA GB VA",
    "Oceania": "AS AU CK FJ PF GU KI MH FM NR NC NZ NU NF MP PW PG PN WS SB TK TO TV VU WF",
}
PROFANITY_KO = _words(
    "씨발 시발 씨바 시바 씨팔 시팔 ㅅㅂ ㅆㅂ 쓰벌 ㅂㅅ 병신 븅신 새끼 새키 색히 쉐키 ㅅㄲ 지랄 "
    "ㅈㄹ 좆 좃 ㅈ같 졷 존나 존내 졸라 조낸 ㅈㄴ 미친 ㅁㅊ 꺼져 닥쳐 썅 쌍놈 쌍년 염병 창녀 "
    "섹스 야동 빨갱이 좌빨 홍어 김치녀 된장녀 한남 메갈 일베 느금 니미 니애미 애미 애비 뒈 뒤져 "
    "디져 쪽바리 쪽발 짱깨 짱개 놈 년들 걸레 딸딸 자위 변태 호로 등신 젠장 개같 개독 개쓰 똥 "
    "게이 레즈 fuck shit"
)
PROFANITY_EN = re.compile(r"\b((fuck|shit|crap|asshole|damn|bitch|sex|whore)\w*|ass|hell)\b", re.I)


@dataclass(frozen=True)
class Country:
    """One country: its names, capital and currency by language, and the index of its continent (0-4)."""

    iso: str
    name: dict[str, str]
    capital: dict[str, str]
    currency: dict[str, str]
    continent: int


def fraction(key: str) -> float:
    """Return a number in [0, 1) that depends on *key* alone: the same split in every run and on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def held_out(key: str) -> bool:
    """Whether *key* belongs to the fifth that only evaluations may use."""
    return fraction(key) < 0.2


def read_jsonl(path: Path) -> list[dict]:
    """Read a JSON-lines file."""
    with path.open(encoding="utf-8") as file:  # str.splitlines() would also split at U+0085, which reviews contain
        return [json.loads(line) for line in file]


def countries(data: Path) -> list[Country]:
    """Return every country with more than a million people; those without a Korean capital have none in `capital`."""
    clean = data / "clean"
    names_ko = {row["input"]: row["output"] for row in read_jsonl(clean / "country_en_ko.jsonl")}
    capital_ko = {row["iso"]: row["output"] for row in read_jsonl(clean / "country_capital_ko.jsonl")}
    currency = {row["input"]: row for row in read_jsonl(clean / "country_currency_en_ko.jsonl")}
    continent = {iso: i for i, codes in enumerate(CONTINENT_OF.values()) for iso in codes.split()}
    found = []
    for row in read_jsonl(clean / "country_capital_en.jsonl"):
        iso, name = row["iso"], row["input"]
        if row["pop"] < 1_000_000 or iso not in continent or name not in currency or name not in names_ko:
            continue
        if currency[name]["output_ko"] is None:  # two new currencies have no Korean name yet
            continue
        capital = {"en": row["output"]} | ({"ko": capital_ko[iso]} if iso in capital_ko else {})
        found.append(
            Country(
                iso,
                {"en": name, "ko": names_ko[name]},
                capital,
                {"en": currency[name]["output"], "ko": currency[name]["output_ko"]},
                continent[iso],
            )
        )
    return found


def english_reviews(data: Path) -> dict[str, list[dict]]:
    """Return the UCI reviews by split; validation and test (a quarter) never enter the corpus."""
    domain = {"imdb": "movie", "yelp": "restaurant", "amazon_cells": "product"}
    splits: dict[str, list[dict]] = {}
    seen: set[str] = set()
    for split in ("test", "validation", "train"):  # in this order, a repeated text stays out of training
        splits[split] = []
        for row in read_jsonl(data / "uci_sentiment" / f"{split}.jsonl"):
            text = " ".join(row["text"].split())
            if text.lower() not in seen and 2 <= len(text.split()) <= 45:
                seen.add(text.lower())
                splits[split].append({"text": text, "label": row["label"], "domain": domain[row["domain"]]})
    return splits


def korean_reviews(data: Path) -> tuple[list[dict], list[dict]]:
    """Return NSMC reviews without profanity, those for the corpus and the held-out ones."""
    reserved = {
        " ".join(row["text"].split())
        for split in ("validation", "test")
        for row in read_jsonl(data / "nsmc" / f"{split}.jsonl")
    }
    kept: list[dict] = []
    out: list[dict] = []
    seen: set[str] = set()
    for rating, text in json.loads((data / "clean" / "nsmc_rated.json").read_text(encoding="utf-8")):
        text = " ".join(text.split())
        if text in seen or not 8 <= len(text) <= 70 or not re.search("[가-힣]{2}", text):
            continue
        if any(word in text.lower() for word in PROFANITY_KO):
            continue
        seen.add(text)
        row = {"text": text, "label": "positive" if rating > 5 else "negative", "domain": "movie"}
        (out if text in reserved or held_out(text) else kept).append(row)
    return kept, out


def tagged_words(wordnet: Path, part: str) -> list[str]:
    """Return lower-case one-word lemmas of *part* ("1" nouns, "2" verbs) that occur in WordNet's tagged texts."""
    words = set()
    for line in (wordnet / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        lemma, _, rest = line.partition("%")
        if rest[0] == part and re.fullmatch("[a-z]{3,12}", lemma):
            words.add(lemma)
    return sorted(words)


def exceptions(wordnet: Path, part: str) -> dict[str, set[str]]:
    """Return lemma -> irregular forms from WordNet's exception lists (*part* is "noun" or "verb")."""
    forms: dict[str, set[str]] = {}
    for line in (wordnet / f"{part}.exc").read_text(encoding="utf-8").splitlines():
        form, *lemmas = line.split()
        for lemma in lemmas:
            forms.setdefault(lemma, set()).add(form)
    return forms


def plurals(data: Path, wordnet: Path) -> dict[str, str]:
    """Return singular -> plural: the inflection table, then regular nouns of WordNet."""
    table = {row["input"]: row["output"] for row in read_jsonl(data / "clean" / "singular_plural_en.jsonl")}
    irregular = exceptions(wordnet, "noun")
    for word in tagged_words(wordnet, "1"):
        if word in table or word in irregular or re.search("(s|o|f|fe|ics|man)$", word):
            continue
        if re.search("(x|z|ch|sh)$", word):
            table[word] = word + "es"
        else:
            table[word] = word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"
    return table


def pasts(data: Path, wordnet: Path) -> dict[str, str]:
    """Return present -> past: the inflection table, then regular verbs of WordNet (doubled consonants included)."""
    table = {row["input"]: row["output"] for row in read_jsonl(data / "clean" / "present_past_en.jsonl")}
    irregular = exceptions(wordnet, "verb")
    for word in tagged_words(wordnet, "2"):
        if word in table:
            continue
        if word in irregular:  # "stopped" is listed as irregular; keep it, and leave out "rose", "risen"
            forms = {form for form in irregular[word] if not form.endswith(("ing", "s"))}
            if len(forms) == 1 and (form := forms.pop()).endswith("ed"):
                table[word] = form
        elif word.endswith("e"):
            table[word] = word + "d"
        else:
            table[word] = word[:-1] + "ied" if re.search("[^aeiou]y$", word) else word + "ed"
    return table


def glosses(wordnet: Path) -> Iterator[str]:
    """Yield `word: gloss` for every synset of WordNet whose first lemma is plain letters."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{part}").read_text(encoding="utf-8").splitlines():
            fields, _, gloss = line.partition(" | ")
            if line.startswith(" "):  # the licence at the top of each file
                continue
            word = fields.split()[4].split("(")[0].replace("_", " ")
            if gloss and word.isascii():
                yield f"{word}: {gloss.strip()}"
