"""Edits of activations that a probe may ask for; each is part of the key under which the store keeps its runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from promptscope.store import View
from promptscope.store.capture import spec_of


@dataclass(frozen=True)
class Write(ABC):
    """One edit at a hook point: `write` returns the new activation, all of it.

    Like a `Capture`, it is a frozen dataclass whose fields are plain JSON values: with the class's code, they are part
    of the key under which captures of the edited pass are stored. A `site` with a layer (`"blocks.1.attn.hook_z"`)
    edits that layer, one without (`"attn.hook_z"`) every layer. Edits run after the prompt's own hooks, in the order
    given.

    ```python
    @dataclass(frozen=True)
    class ZeroHead(Write):
        head: int = 0

        def write(self, x, layer, view):  # x (B, k + n, H, d_head) at "blocks.1.attn.hook_z"
            x[:, :, self.head] = 0
            return x
    ```
    """

    site: str
    version: ClassVar[int] = 1

    @abstractmethod
    def write(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Return the new activation, of the shape of `x (B, ...)`; *x* is a copy that may be changed in place."""

    def spec(self) -> dict[str, Any]:
        """Return everything that decides what the edit does."""
        return spec_of(self, "write")


@dataclass(frozen=True)
class Transplant(Write):
    """An edit that writes activations of another run over the same inputs at the same hook point (activation patching).

    `donor` names the prompt of that run; `""` is the run without a prompt. `take` reduces its activation to what `put`
    writes. The two runs have different layouts if their prompts have different lengths, so each method gets the view of
    its own run.

    >>> from dataclasses import dataclass
    >>> import torch
    >>> @dataclass(frozen=True)
    ... class PatchAnswer(Transplant):
    ...     def take(self, x, layer, view):  # of the run without a prompt
    ...         return view.at(x, view.answer)
    ...     def put(self, x, taken, layer, view):
    ...         x[torch.arange(len(x)), view.k + view.answer] = taken
    ...         return x
    >>> PatchAnswer("blocks.4.hook_resid_post").donor
    ''
    """

    donor: str = ""

    @abstractmethod
    def take(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Reduce the activation of the other run to what `put` needs; it is kept for one batch."""

    @abstractmethod
    def put(self, x: Tensor, taken: Tensor, layer: int, view: View) -> Tensor:
        """Return the new activation; *x* is a copy that may be changed in place, *view* that of this run."""

    def write(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Never called; `put` is called instead."""
        raise NotImplementedError("a Transplant has no write(): its put() is called with what take() returned")
