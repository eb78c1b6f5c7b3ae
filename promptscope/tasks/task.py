"""Tasks: records, template, verbalizer and metrics, independent of any model until encoded."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from promptscope.cards import card
from promptscope.checks import checked
from promptscope.errors import TaskError, nearest, shortened
from promptscope.files import content_hash, is_valid
from promptscope.tasks.chat import template_for
from promptscope.tasks.encoding import EncodedSplit, answer_length, encode_records
from promptscope.tasks.metrics import METRICS, get_metrics
from promptscope.tasks.records import Record, to_records
from promptscope.tasks.sources import read_source
from promptscope.tasks.specials import Specials
from promptscope.tasks.template import Kind, Template, as_template
from promptscope.tasks.verbalizer import Verbalizer, as_verbalizer

_MOST_LABELS = 20  # more different labels than this are texts to generate, unless a verbalizer says otherwise


@checked(error=TaskError, max_length=1)
@dataclass(frozen=True)
class Task:
    """Records by split, the template that writes them, the verbalizer of their labels, and the metrics.

    A classification has a verbalizer and is scored over its words; a generation has none and its label is
    what the model should write. `dropped` counts rows of the source that were left out, by split. `source`
    holds the arguments that give `load_task` the same records again; None: they came from memory.

    Raises TaskError where the parts do not fit: a template field that a record lacks, a label without a
    word, an unknown metric, or a metric for labels without labels.

    >>> import promptscope as ps
    >>> records = [{"text": "a fine film", "label": "good"}, {"text": "a dull film", "label": "bad"}]
    >>> task = ps.Task.from_records(records, verbalizer={"good": "great", "bad": "poor"}, name="films")
    >>> task.kind, len(task.splits["train"])
    ('classification', 2)
    """

    name: str
    template: Template
    verbalizer: Verbalizer | None
    metrics: tuple[str, ...]
    splits: Mapping[str, tuple[Record, ...]]
    language: str | None = None
    max_length: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not is_valid("".join((self.name, *self.splits))):
            raise TaskError(
                f"The name {self.name!r} of a task, or of a split, is not valid Unicode (a lone surrogate)."
            )
        if not self.splits:
            raise TaskError(f"Task {self.name!r} has no splits. Give at least one with records.")
        if not self.metrics:
            raise TaskError(f"Task {self.name!r} has no metric. Name at least one, such as 'accuracy'.")
        for metric in get_metrics(self.metrics):
            if metric.needs == "labels" and self.verbalizer is None:
                raise TaskError(
                    f"Metric {metric.name!r} compares labels and task {self.name!r} generates text. Give a "
                    "verbalizer, or a metric for text such as 'exact_match'."
                )
        if self.verbalizer is not None:
            self.verbalizer.check_space(self.template.before_label)
        for records in self.splits.values():
            for record in records:
                for name in self.template.fields:
                    record.text(name)
                if self.verbalizer is not None:
                    self._check_label(record)

    def _check_label(self, record: Record) -> None:
        assert self.verbalizer is not None
        if record.references[0] != record.label:
            raise TaskError(
                f"Record {record.id!r} of task {self.name!r} has the label {record.label!r} and the references "
                f"{shortened(repr(list(record.references)))}: predictions would be compared with another label than "
                "was learned. Leave the references out; a classification is scored by its labels."
            )
        if record.label not in self.verbalizer.words:
            try:
                self.verbalizer.word(record.label or "")
            except TaskError as error:
                raise TaskError(f"Record {record.id!r} of task {self.name!r}: {error}") from None

    @classmethod
    @checked(max_length=1)
    def from_records(
        cls,
        records: Any,
        template: Template | str | tuple[str, str] = "single",
        verbalizer: Verbalizer | Mapping[Any, str] | str | None = None,
        metric: str | Iterable[str] | None = None,
        name: str = "custom",
        split: str = "train",
        language: str | None = None,
        max_length: int | None = None,
    ) -> "Task":
        """Make a task of records with a `label` each (or `references`), and the fields of the template.

        `records` is a list of dicts, a DataFrame, a Hugging Face data set, the path of a JSONL or CSV file
        or of a folder of splits, or a dict split -> any of these; without splits all go to `split`.

        `verbalizer` may be a dict label -> word, or "labels": each label is its own word. Where neither
        verbalizer nor metric is given, labels that repeat (at most 20 different ones, each at least
        twice) make a classification over the labels themselves, scored by accuracy and macro-F1; others
        make a generation, scored by exact match. A metric for labels or for text decides it otherwise.

        >>> rows = [{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}]
        >>> Task.from_records(rows, verbalizer={"pos": "positive", "neg": "negative"}).kind
        'classification'
        """
        splits = {name: to_records(rows, name) for name, rows in read_source(records, split).items()}
        labels = [record.label or "" for rows in splits.values() for record in rows]
        metrics = () if metric is None else tuple(m.name for m in get_metrics(metric))
        if verbalizer is None and _are_labels(labels, metrics):
            verbalizer = "labels"
        words = as_verbalizer(verbalizer, labels)
        default = ("exact_match",) if words is None else ("accuracy", "macro_f1")
        return cls(name, as_template(template), words, metrics or default, splits, language, max_length=max_length)

    @property
    def kind(self) -> Literal["classification", "generation"]:
        return "generation" if self.verbalizer is None else "classification"

    @checked()
    def split(self, name: str) -> tuple[Record, ...]:
        """Return the records of a split. Raises TaskError that lists the splits for an unknown one."""
        if name not in self.splits:
            there = ", ".join(f"{split} ({len(records)})" for split, records in self.splits.items())
            raise TaskError(
                f"Task {self.name!r} has no split {name!r}; it has {there}."
                + (nearest(name, self.splits) or " task.with_splits(validation=0.1) cuts one from train.")
            )
        return self.splits[name]

    @checked()
    def with_splits(self, validation: float = 0.0, test: float = 0.0, seed: int = 0, source: str = "train") -> "Task":
        """Return a task with shares of `source` moved to new splits, at random but the same for a seed.

        A share of n records is rounded up, as scikit-learn's `train_test_split` does.

        Raises TaskError for shares that leave nothing, or a split that is already there.
        """
        records = list(self.split(source))
        counts = {
            name: math.ceil(round(share * len(records), 9))
            for name, share in (("validation", validation), ("test", test))
            if 0 < share < 1
        }
        if not (0 <= validation < 1 and 0 <= test < 1) or not counts or sum(counts.values()) >= len(records):
            raise TaskError(
                f"Cannot cut validation={validation} and test={test} from the {len(records)} records of "
                f"{source!r}: shares are at least 0 and together leave something. Use for example test=0.2."
            )
        taken = [name for name in counts if name in self.splits and name != source]
        if taken:
            raise TaskError(f"Task {self.name!r} already has the split {taken[0]!r}; leave it out.")
        random.Random(seed).shuffle(records)
        splits: dict[str, tuple[Record, ...]] = {**self.splits}
        for name, count in counts.items():
            splits[name], records = tuple(records[:count]), records[count:]
        rest = "train" if source == "all" else source
        splits.pop(source)
        shares = {"validation": validation, "test": test, "seed": seed, "source": source}
        made_from = None if self.source is None else {**self.source, "shares": [*self.source.get("shares", ()), shares]}
        return replace(self, splits={rest: tuple(records), **splits}, source=made_from)

    def template_for(self, kind: Kind) -> Template:
        """Return the template for a kind of model; see `Template.for_kind`."""
        return self.template.for_kind(kind)

    def label_ids(self, tokenizer: Any, kind: Kind) -> dict[str, list[int]]:
        """Return label -> token ids of its word as the template writes it (leading space included)."""
        if self.verbalizer is None:
            raise TaskError(
                f"Task {self.name!r} generates text and has no label words. Give it a verbalizer, or score it "
                "by generation."
            )
        before = template_for(self.template, kind, Specials(tokenizer)).before_label
        return self.verbalizer.token_ids(tokenizer, kind, before)

    def end_ids(self, tokenizer: Any, kind: Kind) -> list[int]:
        """Return the special tokens that the template writes after the label; none where it ends with it."""
        specials = Specials(tokenizer)
        template = template_for(self.template, kind, specials)
        roles = [part.text for part in template.target_parts if part.kind == "special"]
        return [token for role in roles for token in specials.ids(role, template.specials)]

    def scored_ids(self, tokenizer: Any, kind: Kind) -> dict[str, list[int]]:
        """Return label -> the token ids by whose log-probability labels are compared.

        The label's words; and the end of the answer too if one label's tokens begin another's, which could otherwise
        never be the likelier of the two. Raises TaskError if the template writes no end in that case.
        """
        words = self.label_ids(tokenizer, kind)
        for label, ids in words.items():
            for other, longer in words.items():
                if label != other and longer[: len(ids)] == ids:
                    end = self.end_ids(tokenizer, kind)
                    if not end:
                        raise TaskError(
                            f"The tokens of label {label!r} begin those of {other!r}, and the template writes no end "
                            "by which to tell them apart. End its target with {eos}, or choose other words."
                        )
                    return {name: [*word, *end] for name, word in words.items()}
        return words

    def answer_length(self, tokenizer: Any, kind: Kind, split: str) -> int:
        """Return how many tokens the longest answer of a split has, the template's end included."""
        return answer_length(self.split(split), self.template, self.verbalizer, tokenizer, kind)

    @checked()
    def encode(
        self,
        tokenizer: Any,
        kind: Kind,
        split: str,
        with_label: bool = True,
        max_length: int | None = None,
        limit: int | None = None,
        decoder_start_id: int | None = None,
    ) -> EncodedSplit:
        """Tokenise a split, or its first `limit` records, for a kind of model.

        `max_length` (default: the task's own) cuts the text of longer records, never label, special tokens
        or the template's words; `.n_truncated` of the result counts them. `decoder_start_id` is the model
        config's `decoder_start_token_id`, for seq2seq only. Errors: see `encode_records`.
        """
        records = self.split(split)
        if limit is not None and limit < 1:
            raise TaskError(f"limit must be at least 1, got {limit}.")
        return encode_records(
            records[:limit],
            self.template,
            self.verbalizer,
            tokenizer,
            kind,
            with_label=with_label,
            max_length=self.max_length if max_length is None else max_length,
            decoder_start_id=decoder_start_id,
        )

    @checked()
    def score(self, predictions: Sequence[Any], split: str, metrics: Iterable[str] | None = None) -> dict[str, float]:
        """Score predictions for a split (or its first records) by the task's metrics, or by others."""
        records = self.split(split)[: len(predictions)]
        scores: dict[str, float] = {}
        for metric in get_metrics(self.metrics if metrics is None else metrics):
            scores |= metric.score(predictions, records)
        return scores

    def data_hash(self, split: str) -> str:
        """Return the SHA-256 of what a split's tokens depend on: records, template, verbalizer."""
        return content_hash(
            {
                "records": [record.to_json() for record in self.split(split)],
                "template": self.template.to_json(),
                "verbalizer": None if self.verbalizer is None else self.verbalizer.to_json(),
            }
        )

    @checked(n=1)
    def show(self, model: Any, n: int = 3, split: str = "train", kind: Kind | None = None) -> str:
        """Print, and return, the exact tokens of the first `n` records with segments and label positions.

        `model` is a hooked model, or a tokenizer with the `kind` of model to read it for (default causal).
        """
        from promptscope.tasks.show import show  # show needs Task; the method is a convenience

        return show(self, model, n, split, kind)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(records)}" for name, records in self.splits.items())
        return f"Task({self.name!r}, {self.kind}, template {self.template.name!r}, {sizes})"

    def _repr_html_(self) -> str:
        split = "train" if "train" in self.splits else next(iter(self.splits))
        first = next(iter(self.splits[split]), None)
        words = None if self.verbalizer is None else ", ".join(map(repr, self.verbalizer.words.values()))
        facts = {
            "kind": self.kind,
            "template": f"{self.template.source!r} -> {self.template.target!r}",
            "label words": words,
            "metrics": ", ".join(self.metrics),
            "records": ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items()),
            f"first of {split}": None if first is None else f"{first.to_json()}",
        }
        return card(f"Task {self.name!r}", facts)


def _are_labels(labels: Sequence[str], metrics: Sequence[str]) -> bool:
    """Do labels without a verbalizer name classes? Metrics decide; without any, repetition does."""
    if metrics:
        return any(METRICS[name].needs == "labels" for name in metrics)
    counts = Counter(labels)
    return 1 < len(counts) <= _MOST_LABELS and min(counts.values()) > 1
