"""Networks that compute a prompt's vectors from its parameters; `Prompt.fold` removes them after training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptscope.errors import PromptError, nearest

__all__ = [
    "Broadcast",
    "Lstm",
    "Mlp",
    "Reparameterisation",
    "Residual",
    "UnderParameterised",
    "parse_reparameterisation",
]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Reparameterisation(ABC):
    """Base class of reparameterisations: networks from parameters `(..., rows, width)` to vectors `(..., k, width)`.

    An object is a description without numbers; the prompt builds the network when it is bound to a model. A deep prompt
    has one network for each attention, and each of keys and values, which all its layers share.

    >>> import promptscope as ps
    >>> ps.SoftPrompt(4, reparameterisation=ps.reparameterise.Mlp(hidden=8)).reparameterisation
    Mlp(hidden=8)
    """

    def rows(self, length: int) -> int:
        """Return the number of parameter vectors of a prompt of *length* positions."""
        return length

    @abstractmethod
    def network(self, length: int, width: int) -> nn.Module:
        """Return the network for a prompt of *length* positions with vectors of *width* numbers."""

    def settings(self) -> dict[str, Any]:
        """Return the settings from which `parse_reparameterisation` builds it again."""
        return {"type": type(self).__name__} | asdict(self)  # type: ignore[call-overload]  # every kind is a dataclass

    def n_parameters(self, length: int, width: int) -> int:
        """Return the number of trainable parameters of an input-level prompt, its network included."""
        with torch.device("meta"):
            network = self.network(length, width)
        return self.rows(length) * width + sum(number.numel() for number in network.parameters())


@dataclass(frozen=True)
class Mlp(Reparameterisation):
    """`W3 relu(W2 relu(W1 p + b1) + b2) + b3`, applied to each parameter vector p (P-tuning with PEFT's MLP encoder).

    W1 is `(hidden, width)`, W2 `(hidden, hidden)` and W3 `(width, hidden)`; *hidden* is by default the width. Liu et
    al. 2021 (P-tuning); *EPT: Explosive Prompt Tuning* calls it P-Tuning.

    >>> Mlp().n_parameters(length=10, width=768)
    1779456
    """

    hidden: int | None = None

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)

    def network(self, length: int, width: int) -> nn.Module:
        """Return the three linear layers with ReLU between them."""
        hidden = self.hidden or width
        first, last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        return nn.Sequential(first, nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)


@dataclass(frozen=True)
class Lstm(Reparameterisation):
    """A bidirectional LSTM over the positions, then two linear layers 2 hidden -> 2 hidden -> width (P-tuning).

    Liu et al. 2021. It is PEFT's LSTM prompt encoder without the dropout between the LSTM's layers.

    >>> Lstm(hidden=8, layers=1).n_parameters(length=10, width=16)
    2368
    """

    hidden: int | None = None
    layers: int = 2

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)
        if self.layers < 1:
            raise PromptError(f"an LSTM needs at least one layer, got layers={self.layers}")

    def network(self, length: int, width: int) -> nn.Module:
        """Return the LSTM with its linear layers."""
        return _LstmNetwork(width, self.hidden or width, self.layers)


@dataclass(frozen=True)
class Residual(Reparameterisation):
    """`p + LayerNorm(U relu(D p))` for each parameter vector p, with D `(hidden, width)` and U `(width, hidden)`.

    One network serves all positions, or each position has its own (`shared=False`). Razdaibiedina et al. 2023 (Residual
    Prompt Tuning).

    >>> Residual().n_parameters(length=10, width=768)
    624784
    """

    hidden: int = 400
    shared: bool = True

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)

    def network(self, length: int, width: int) -> nn.Module:
        """Return the network, or one network for each of *length* positions."""

        def one() -> nn.Module:
            down, up = nn.Linear(width, self.hidden), nn.Linear(self.hidden, width)
            return _Added(nn.Sequential(down, nn.ReLU(), up, nn.LayerNorm(width)))

        return one() if self.shared else _EachPosition([one() for _ in range(length)])


@dataclass(frozen=True)
class UnderParameterised(Reparameterisation):
    """`U D p` for each parameter vector p, with D `(hidden, width)`, U `(width, hidden)` and no bias.

    This is the network of *EPT: Explosive Prompt Tuning*. With one hidden unit, every vector is a multiple of the
    single column of U. The gradient of U is proportional to D p, and that of D to U, so that the norms grow faster the
    larger they are. The options are the variants of the paper's Figure 9: *activation* (`relu`, `gelu`, `tanh`) after
    D, *extra_layer* (a linear layer `(hidden, hidden)`), *layer_norm* after U, and *residual* (p is added).

    >>> UnderParameterised().n_parameters(length=1, width=768)
    2304
    """

    hidden: int = 1
    extra_layer: bool = False
    activation: str | None = None
    layer_norm: bool = False
    residual: bool = False

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)
        if self.activation is not None and self.activation not in _ACTIVATIONS:
            raise PromptError(
                f"unknown activation {self.activation!r}.{nearest(self.activation, list(_ACTIVATIONS))} "
                f"Expected None or one of {list(_ACTIVATIONS)}"
            )

    def network(self, length: int, width: int) -> nn.Module:
        """Return the two linear layers with the chosen options."""
        sizes = [(width, self.hidden)] + [(self.hidden, self.hidden)] * self.extra_layer
        layers: list[nn.Module] = []
        for source, target in sizes:
            layers.append(nn.Linear(source, target, bias=False))
            if self.activation is not None:
                layers.append(_ACTIVATIONS[self.activation]())
        layers.append(nn.Linear(self.hidden, width, bias=False))
        if self.layer_norm:
            layers.append(nn.LayerNorm(width))
        network = nn.Sequential(*layers)
        return _Added(network) if self.residual else network


@dataclass(frozen=True)
class Broadcast(Reparameterisation):
    """One trained vector, passed through the network *of* and repeated at all k positions.

    `Broadcast(UnderParameterised())` is EPT* of *EPT: Explosive Prompt Tuning*.

    >>> Broadcast(UnderParameterised()).n_parameters(length=10, width=768)
    2304
    """

    of: Reparameterisation | None = None

    def __post_init__(self) -> None:
        if isinstance(self.of, Broadcast):
            raise PromptError(
                "Broadcast takes another network than Broadcast, got Broadcast(Broadcast(...)): use it once"
            )

    def rows(self, length: int) -> int:
        """Return 1: there is one parameter vector, whatever the length."""
        return 1

    def network(self, length: int, width: int) -> nn.Module:
        """Return the other network for one position, followed by the repetition of its output."""
        return _Repeated(nn.Identity() if self.of is None else self.of.network(1, width), length)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the other network with its class."""
        return {"type": "Broadcast", "of": None if self.of is None else self.of.settings()}


_KINDS: dict[str, type[Reparameterisation]] = {
    kind.__name__: kind for kind in (Mlp, Lstm, Residual, UnderParameterised, Broadcast)
}


def parse_reparameterisation(value: Reparameterisation | dict[str, Any] | None) -> Reparameterisation | None:
    """Return a reparameterisation from the settings of a saved prompt; None for a plain prompt.

    >>> parse_reparameterisation({"type": "Mlp", "hidden": 64})
    Mlp(hidden=64)
    """
    if value is None or isinstance(value, Reparameterisation):
        return value
    settings = dict(value)
    kind = settings.pop("type", None)
    if kind not in _KINDS:
        raise PromptError(f"unknown reparameterisation {kind!r}: expected one of {list(_KINDS)}")
    if kind == "Broadcast":
        settings["of"] = parse_reparameterisation(settings.get("of"))
    try:
        return _KINDS[kind](**settings)
    except TypeError as error:
        raise PromptError(
            f"{settings} are not settings of the reparameterisation {kind}: the file is damaged"
        ) from error


@torch.no_grad()
def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from *generator* with PyTorch's defaults: uniform in +-1/sqrt(inputs), LSTMs in +-1/sqrt(hidden)."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.LSTM):
            fan = module.in_features if isinstance(module, nn.Linear) else module.hidden_size
            for number in module.parameters():
                number.uniform_(-(fan**-0.5), fan**-0.5, generator=generator)


class _LstmNetwork(nn.Module):
    """The LSTM encoder; its modules have PEFT's names, so that PEFT's weights can be loaded."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.lstm_head = nn.LSTM(width, hidden, layers, bidirectional=True, batch_first=True)
        self.mlp_head = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width))

    def forward(self, x: Float[Tensor, "*layers k width"]) -> Float[Tensor, "*layers k width"]:
        rows = x.reshape(-1, *x.shape[-2:])
        return self.mlp_head(self.lstm_head(rows)[0]).reshape(x.shape)


class _Added(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return x + self.network(x)


class _EachPosition(nn.Module):
    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Float[Tensor, "*layers k width"]) -> Float[Tensor, "*layers k width"]:
        return torch.stack([network(x[..., i, :]) for i, network in enumerate(self.networks)], dim=-2)


class _Repeated(nn.Module):
    def __init__(self, network: nn.Module, length: int) -> None:
        super().__init__()
        self.network, self.length = network, length

    def forward(self, x: Float[Tensor, "*layers one width"]) -> Float[Tensor, "*layers k width"]:
        if x.shape[-2] != 1:
            raise PromptError(f"broadcasting needs a prompt with one parameter vector, got {x.shape[-2]}")
        return self.network(x).expand(*x.shape[:-2], self.length, x.shape[-1])


def _check_hidden(hidden: int | None) -> None:
    if hidden is not None and hidden < 1:
        raise PromptError(f"a network needs at least one hidden unit, got hidden={hidden}")
