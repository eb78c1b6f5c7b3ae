"""The paper's methods as prompts: how each computes its vectors from its parameters."""

import promptscope as ps
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
    k, one = settings.length, ps.reparameterise.UnderParameterised()
    kinds: dict[str, tuple[int, ps.reparameterise.Reparameterisation | None]] = {
        "PT": (k, None),
        PLAIN: (1, None),
        "P-Tuning": (k, ps.reparameterise.Mlp()),
        "ResPrompt": (k, ps.reparameterise.Residual(settings.hidden)),
        "EPT": (1, one),
        TOKENS: (k, one),
        "EPT*": (k, ps.reparameterise.Broadcast(one)),
    }
    length, network = kinds[method]
    return ps.SoftPrompt(length, start, seed, network)


def with_width(hidden: int, seed: int) -> ps.SoftPrompt:
    """Return EPT with another number of hidden units."""
    return ps.SoftPrompt(1, seed=seed, reparameterisation=ps.reparameterise.UnderParameterised(hidden))


def broadcast_to(length: int, seed: int) -> ps.SoftPrompt:
    """Return EPT* of another length."""
    return ps.SoftPrompt(
        length, seed=seed, reparameterisation=ps.reparameterise.Broadcast(ps.reparameterise.UnderParameterised())
    )


def with_structure(structure: str, seed: int) -> ps.SoftPrompt:
    """Return EPT with what Figure 9 adds to it."""
    networks = {
        "none": ps.reparameterise.UnderParameterised(),
        "layer norm": ps.reparameterise.UnderParameterised(layer_norm=True),
        "residual": ps.reparameterise.UnderParameterised(residual=True),
        "relu": ps.reparameterise.UnderParameterised(activation="relu"),
        "gelu": ps.reparameterise.UnderParameterised(activation="gelu"),
        "tanh": ps.reparameterise.UnderParameterised(activation="tanh"),
    }
    return ps.SoftPrompt(1, seed=seed, reparameterisation=networks[structure])
