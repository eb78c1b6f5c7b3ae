"""The paper's methods as prompts: what is between the parameters and the vectors."""

import promptscope as ps
from promptscope.prompts.reparameterisation import (
    Broadcast,
    Mlp,
    Reparameterisation,
    Residual,
    UnderParameterised,
)
from recipes.explosive_prompts.settings import Settings

METHODS = ("PT", "P-Tuning", "ResPrompt", "EPT", "EPT*")
PLAIN = "one plain token"
"""The control that the paper lacks: EPT's one vector without its network."""
TOKENS = "EPT, ten vectors"
"""EPT's network over as many vectors as EPT* repeats one: the control of broadcasting."""


def method_prompt(
    method: str, settings: Settings, seed: int, start: str | ps.init.Initialisation = "uniform"
) -> ps.SoftPrompt:
    """Return the prompt of a method, one of `METHODS`, `PLAIN` or `TOKENS`."""
    k, one = settings.length, UnderParameterised()
    kinds: dict[str, tuple[int, Reparameterisation | None]] = {
        "PT": (k, None),
        PLAIN: (1, None),
        "P-Tuning": (k, Mlp()),
        "ResPrompt": (k, Residual(settings.hidden)),
        "EPT": (1, one),
        TOKENS: (k, one),
        "EPT*": (k, Broadcast(one)),
    }
    length, network = kinds[method]
    return ps.SoftPrompt(length, start, seed, network)


def with_width(hidden: int, seed: int) -> ps.SoftPrompt:
    """Return EPT with another number of hidden units."""
    return ps.SoftPrompt(1, seed=seed, reparameterisation=UnderParameterised(hidden))


def broadcast_to(length: int, seed: int) -> ps.SoftPrompt:
    """Return EPT* of another length."""
    return ps.SoftPrompt(length, seed=seed, reparameterisation=Broadcast(UnderParameterised()))


def with_structure(structure: str, seed: int) -> ps.SoftPrompt:
    """Return EPT with what Figure 9 adds to it."""
    networks = {
        "none": UnderParameterised(),
        "layer norm": UnderParameterised(layer_norm=True),
        "residual": UnderParameterised(residual=True),
        "relu": UnderParameterised(activation="relu"),
        "gelu": UnderParameterised(activation="gelu"),
        "tanh": UnderParameterised(activation="tanh"),
    }
    return ps.SoftPrompt(1, seed=seed, reparameterisation=networks[structure])
