"""Tasks: records, template, verbalizer and metrics, independent of models until they are encoded."""

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
    """A task: records by split, a template, a verbalizer and metrics.

    A classification has a verbalizer, and its prediction is the label with the most probable words. A generation has no
    verbalizer, and a record's label is the text that the model should write. `ps.load_task` and `Task.from_records`
    make tasks.

    - `name`, `language`: for tables and files;
    - `template`: how a record becomes text; `verbalizer`: the word of each label, or None;
    - `metrics`: names of `ps.tasks.METRICS`;
    - `splits`: the records of each split;
    - `max_length`: the largest number of tokens of a record, or None;
    - `dropped`: the number of rows that were left out when the source was read, by split;
    - `source`: the arguments with which `load_task` gives the same records again; None for records from memory.

    Raises:
        TaskError: the parts do not fit: a record lacks a field of the template, a label has no word, a metric is
            unknown, or a metric for labels is used without a verbalizer.

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
            raise TaskError(f"Task {self.name!r} needs at least one split with records, got none.")
        if not self.metrics:
            raise TaskError(f"Task {self.name!r} needs at least one metric, such as 'accuracy', got none.")
        for metric in get_metrics(self.metrics):
            if metric.needs == "labels" and self.verbalizer is None:
                raise TaskError(
                    f"Metric {metric.name!r} compares labels, but task {self.name!r} has no verbalizer and generates "
                    "text. Give a verbalizer, or a metric for text such as 'exact_match'."
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
                f"Record {record.id!r} of task {self.name!r} has the label {record.label!r}, but the references "
                f"{shortened(repr(list(record.references)))}, so that predictions would be compared with another label "
                "than that of the training. Leave the references out: a classification is scored by its labels."
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
        """Make a task from records, each with a `label` (or `references`) and the fields of the template.

        Args:
            records: a list of dicts, a DataFrame, a Hugging Face data set, the path of a JSONL, JSON or CSV file or of
                a folder with a file for each split, or a dict from splits to any of these.
            template: a `Template`, the name of one (`ps.tasks.TEMPLATES`), or a pair (source, target).
            verbalizer: a `Verbalizer`, a dict from labels to words, or "labels" if each label is its own word.
            metric: one name or several names of metrics (`ps.tasks.METRICS`).
            name: the task's name.
            split: the name of the split for records without splits.
            language: a language code, for tables.
            max_length: the largest number of tokens of a record; longer texts are cut.

        Without verbalizer and metric, labels that repeat (at most 20 different ones, each at least twice) make a
        classification whose words are the labels, scored by accuracy and macro-F1; other labels make a generation,
        scored by exact match. A metric for labels or for text makes the task a classification or a generation.

        Raises:
            TaskError: the records cannot be read, or the parts of the task do not fit.

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
        """`"classification"` with a verbalizer, otherwise `"generation"`."""
        return "generation" if self.verbalizer is None else "classification"

    @checked()
    def split(self, name: str) -> tuple[Record, ...]:
        """Return the records of a split.

        Raises:
            TaskError: there is no such split.

        >>> import promptscope as ps
        >>> ps.load_task("continent_en").split("test")[0].label in ps.load_task("continent_en").verbalizer.labels
        True"""
        if name not in self.splits:
            there = ", ".join(f"{split} ({len(records)})" for split, records in self.splits.items())
            raise TaskError(
                f"Task {self.name!r} has no split {name!r}; it has {there}."
                + (f" The {self.dropped[name]} records of {name!r} have no labels." if name in self.dropped else "")
                + (nearest(name, self.splits) or " task.with_splits(validation=0.1) makes one from train.")
            )
        return self.splits[name]

    @checked()
    def with_splits(self, validation: float = 0.0, test: float = 0.0, seed: int = 0, source: str = "train") -> "Task":
        """Return a task with random shares of the split *source* moved to new splits.

        *validation* and *test* are shares in [0, 1), 0 for no such split; the number of records is rounded up, as in
        scikit-learn's `train_test_split`. The same *seed* gives the same records.

        Raises:
            TaskError: no records would be left in *source*, or a new split already exists.

        >>> records = [{"text": word, "label": word} for word in "abcdefghij"]
        >>> task = Task.from_records(records, verbalizer="labels").with_splits(test=0.2)
        >>> len(task.split("train")), len(task.split("test"))
        (8, 2)
        """
        records = list(self.split(source))
        counts = {
            name: math.ceil(round(share * len(records), 9))
            for name, share in (("validation", validation), ("test", test))
            if 0 < share < 1
        }
        if not (0 <= validation < 1 and 0 <= test < 1) or not counts or sum(counts.values()) >= len(records):
            raise TaskError(
                f"Cannot take validation={validation} and test={test} from the {len(records)} records of {source!r}: "
                "shares must be at least 0, and leave at least one record. Use for example test=0.2."
            )
        taken = [name for name in counts if name in self.splits and name != source]
        if taken:
            raise TaskError(f"Task {self.name!r} already has the split {taken[0]!r}: give no share for it.")
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
        """Return the token ids of each label's word as the template writes it, with the space before it.

        Raises:
            TaskError: the task has no verbalizer, or a word is not one token (masked models)."""
        if self.verbalizer is None:
            raise TaskError(
                f"Task {self.name!r} generates text, so that it has no label words. Give it a verbalizer, or use "
                "ps.evaluate, which scores generated text."
            )
        before = template_for(self.template, kind, Specials(tokenizer)).before_label
        return self.verbalizer.token_ids(tokenizer, kind, before)

    def end_ids(self, tokenizer: Any, kind: Kind) -> list[int]:
        """Return the ids of the special tokens that the template writes after the label, or an empty list."""
        specials = Specials(tokenizer)
        template = template_for(self.template, kind, specials)
        roles = [part.text for part in template.target_parts if part.kind == "special"]
        return [token for role in roles for token in specials.ids(role, template.specials)]

    def scored_ids(self, tokenizer: Any, kind: Kind) -> dict[str, list[int]]:
        """Return the token ids of each label by whose log-probability labels are compared.

        They are those of the label's word. If the tokens of one label begin those of another, the end token is added to
        all labels, since the longer one could otherwise never be more likely.

        Raises:
            TaskError: an end token is needed, and the template has none.
        """
        words = self.label_ids(tokenizer, kind)
        for label, ids in words.items():
            for other, longer in words.items():
                if label != other and longer[: len(ids)] == ids:
                    end = self.end_ids(tokenizer, kind)
                    if not end:
                        raise TaskError(
                            f"The tokens of label {label!r} begin those of {other!r}, and the template has no end "
                            "token to distinguish them. End its target with {eos}, or choose other words."
                        )
                    return {name: [*word, *end] for name, word in words.items()}
        return words

    def answer_length(self, tokenizer: Any, kind: Kind, split: str) -> int:
        """Return the number of tokens of the longest answer of a split, with the template's end token."""
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
        """Tokenise a split for a kind of model.

        Args:
            tokenizer: a fast tokenizer.
            kind: `"causal"`, `"masked"` or `"seq2seq"` (encoder-decoder).
            split: the name of the split.
            with_label: whether the label's tokens are included.
            max_length: the largest number of tokens of a record, by default the task's own. The text of longer records
                is cut, but not the label, special tokens and words of the template; `n_truncated` of the result counts
                them.
            limit: use this many first records only; None: all.
            decoder_start_id: for encoder-decoders, `decoder_start_token_id` of the model's config.

        Raises:
            TaskError: the split does not exist, the template does not fit the kind of model, a label word is not one
                token (masked), or a record does not fit even without text.

        >>> import promptscope as ps
        >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
        >>> task.encode(model.tokenizer, "causal", "test", limit=3)
        EncodedSplit(3 records, 0 truncated)
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
        """Return scores of predictions for a split, or for its first records, by name; higher is better.

        *metrics* are names of metrics in place of the task's own.

        Raises:
            TaskError: the split does not exist, or there are no predictions, or more predictions than records.

        >>> import promptscope as ps
        >>> ps.load_task("continent_en").score(["Europe"], "test", metrics=["accuracy"])["accuracy"] in (0, 1)
        True"""
        records = self.split(split)[: len(predictions)]
        scores: dict[str, float] = {}
        for metric in get_metrics(self.metrics if metrics is None else metrics):
            scores |= metric.score(predictions, records)
        return scores

    def data_hash(self, split: str) -> str:
        """Return the SHA-256, as hex, of the records of a split, the template and the verbalizer."""
        return content_hash(
            {
                "records": [record.to_json() for record in self.split(split)],
                "template": self.template.to_json(),
                "verbalizer": None if self.verbalizer is None else self.verbalizer.to_json(),
            }
        )

    @checked(n=1)
    def show(self, model: Any, n: int = 3, split: str = "train", kind: Kind | None = None) -> None:
        """Print the exact tokens of the first `n` records, with segments and label positions.

        `model` is a hooked model, or a tokenizer, for which `kind` is the kind of model (by default causal).

        Raises:
            TaskError: the task cannot be encoded for the model.

        >>> import promptscope as ps
        >>> ps.load_task("continent_en").show(ps.load_model("embedded-causal"), n=1)  # doctest: +ELLIPSIS
        Task('continent_en', ...
        """
        from promptscope.tasks.show import tokens_as_text  # it needs Task; the method is a convenience

        print(tokens_as_text(self, model, n, split, kind))

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
    """Return whether labels without a verbalizer are classes: a metric compares labels or, without one, they repeat."""
    if metrics:
        return any(METRICS[name].needs == "labels" for name in metrics)
    counts = Counter(labels)
    return 1 < len(counts) <= _MOST_LABELS and min(counts.values()) > 1
