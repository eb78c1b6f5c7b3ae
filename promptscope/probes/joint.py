"""Captures that need several hook points of a layer, or only a sum over inputs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from promptscope.store import Capture, PairedCapture, View


@dataclass(frozen=True)
class JointCapture(PairedCapture):
    """A paired capture that needs further hook points of the same layer in the pass with the prompt.

    `take` reduces the activation at each hook point of `further`; the result is kept until `site`, which must fire
    after them. There `merge` is called instead of `reduce`, with the activation and what was taken; `compare` gets what
    `merge` returned and what `reduce` returned in the pass without the prompt.

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
        """Combine the activation at `site` with what was taken."""


@dataclass(frozen=True)
class SummedCapture(Capture):
    """A capture of which only the sum over inputs is kept, for activations with too many numbers per input.

    The store has one row for each shard of inputs, whatever the batch size: in a part, `values` has one row, and
    `lengths` one entry for each input of the shard. An example is the activation of all FFN neurons.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class NeuronSums(SummedCapture):
    ...     site: str = "mlp.hook_post"
    ...     def reduce(self, x, layer, view):  # (B, k + n, d_mlp) -> (B, d_mlp)
    ...         return view.at(x, view.answer)
    >>> NeuronSums().site
    'mlp.hook_post'
    """
