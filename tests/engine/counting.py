"""Counts of what a model computes, which say why it is fast on every machine alike, as times do not."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from promptscope.engine import is_packed
from promptscope.models import HookedModel


@dataclass
class Counts:
    """Rows through every linear layer, call by call, and columns out of the unembedding."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    head: str = ""
    last: frozenset[str] = frozenset()
    columns: list[int] = field(default_factory=list)

    def through(self, part: str) -> list[int]:
        """Return the rows, call by call, through all linear layers with *part* in their name, which must agree."""
        names = [name for name in self.rows if part in name and not self._in_head(name) and name not in self.last]
        assert names, f"no linear layer of {part!r} ran"
        return self._agreed(names)

    @property
    def last_feed_forward(self) -> list[int]:
        """Rows through the last layer's feed-forward network, which only those who are read need."""
        return self._agreed([name for name in self.rows if name in self.last])

    def _agreed(self, names: list[str]) -> list[int]:
        rows = self.rows[names[0]]
        assert all(self.rows[name] == rows for name in names), {name: self.rows[name] for name in names}
        return rows

    @property
    def body(self) -> list[int]:
        """Rows through every layer of a single stack."""
        return self.through("")

    @property
    def logits(self) -> list[int]:
        """Rows through the unembedding."""
        return self.rows[self.head]

    def _in_head(self, name: str) -> bool:
        return name == self.head or name.startswith("cls.")


@contextmanager
def counting(model: HookedModel) -> Iterator[Counts]:
    """Count what runs on *model*; the hooked bridge must not run at all."""
    is_packed(model)  # asked now: the answer takes two forward passes, once per model
    counts = Counts()
    names = {module: name for name, module in model.twin.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    counts.head = names[model.twin.get_output_embeddings()]
    last = f".{model.shape.n_layers - 1}."
    counts.last = frozenset(
        name
        for name in names.values()
        if model.family.kind != "seq2seq" and last in name and "attention" not in name and "attn" not in name
    )

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.rows.setdefault(names[module], []).append(inputs[0].numel() // inputs[0].shape[-1])
        if names[module] == counts.head:
            counts.columns.append(output.shape[-1])

    def refuse(module: nn.Module, inputs: Any) -> None:
        raise AssertionError("the packed path ran the hooked bridge")

    with ExitStack() as stack:
        for module in names:
            stack.callback(module.register_forward_hook(count).remove)
        stack.callback(model.bridge.original_model.register_forward_pre_hook(refuse).remove)
        model.watch()  # these only count: they are not hooks that a run has to obey
        yield counts
