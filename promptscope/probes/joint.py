"""Captures that need more than one hook point of a layer, or no more than a sum over inputs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from promptscope.store import Capture, PairedCapture, View


@dataclass(frozen=True)
class JointCapture(PairedCapture):
    """A paired capture that needs, in the pass with the prompt, further hook points of the same layer.

    `take` reduces each hook point of `further` when it fires; what it returns is kept until `site`, which must fire
    after them, does. Then `merge` replaces `reduce`, and `compare` gets what it returned here and in the plain pass.

    >>> from promptscope.probes.attention_bias import HeadOutputParts
    >>> issubclass(HeadOutputParts, JointCapture), HeadOutputParts().site, HeadOutputParts.further
    (True, 'attn.hook_z', ('attn.hook_v', 'attn.hook_pattern'))
    """

    further: ClassVar[tuple[str, ...]]

    @abstractmethod
    def take(self, point: str, x: Tensor, layer: int, view: View) -> Tensor:
        """Reduce the activation at one of `further`."""

    @abstractmethod
    def merge(self, x: Tensor, taken: dict[str, Tensor], layer: int, view: View) -> Tensor:
        """Put the activation at `site` and what was taken together."""


@dataclass(frozen=True)
class SummedCapture(Capture):
    """A capture of which only the sum over inputs is kept: one row for each shard of the store, whatever the batches.

    For numbers of which every input has too many, such as all neurons. In a part, `values` has one row and `lengths`
    still one entry for each input of the shard.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class NeuronSums(SummedCapture):
    ...     site: str = "mlp.hook_post"
    ...     def reduce(self, x, layer, view):  # (B, k + n, d_mlp) -> (B, d_mlp)
    ...         return view.at(x, view.answer)
    >>> NeuronSums().site
    'mlp.hook_post'
    """
