"""Edits of activations that a probe may ask for: each is keyed by what it does, so that the store can keep its runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from promptscope.store import View
from promptscope.store.capture import spec_of


@dataclass(frozen=True)
class Write(ABC):
    """One edit at a hook point: `write` returns the whole activation as it shall be.

    Like a `Capture`, a frozen dataclass whose fields are plain JSON values: with the code, they are part of the key
    under which captures of the edited pass are stored. `site` with its layer (`"blocks.1.attn.hook_z"`) edits that
    layer, without (`"attn.hook_z"`) every layer. Edits come after the prompt's own, in the order given.

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
        """Return what decides what the edit does."""
        return spec_of(self, "write")


@dataclass(frozen=True)
class Transplant(Write):
    """An edit that puts in what another run over the same inputs had at the same hook point (activation patching).

    `donor` names the prompt under which the other run is made, `""` the run without a prompt. `take` reduces the
    activation there to what is put in; the layouts of the two runs differ, by their prompts' lengths.

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
        """Return the new activation; *x* is a copy, *view* this run's."""

    def write(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Never called: `put` is."""
        raise NotImplementedError("a Transplant puts what it took from another run")
