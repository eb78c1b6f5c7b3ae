"""The probes that have a name of their own, for the command line."""

from collections.abc import Iterable
from typing import Any

from promptscope.checks import checked
from promptscope.errors import ProbeError, nearest
from promptscope.probes.attention_bias import AttentionBias
from promptscope.probes.attention_kl import AttentionKL
from promptscope.probes.attention_mass import AttentionMass
from promptscope.probes.attention_variability import AttentionVariability
from promptscope.probes.base import Probe
from promptscope.probes.label_cosine import LabelCosine
from promptscope.probes.neurons import NeuronStates
from promptscope.probes.residual_pca import ResidualPCA

PROBES: dict[str, type[Probe]] = {
    "attention_bias": AttentionBias,
    "attention_kl": AttentionKL,
    "attention_mass": AttentionMass,
    "attention_variability": AttentionVariability,
    "label_cosine": LabelCosine,
    "neuron_states": NeuronStates,
    "residual_pca": ResidualPCA,
}
"""Name -> probe with its default settings."""


@checked()
def get_probes(probes: Iterable[Any]) -> list[Probe]:
    """Return probes given as objects or names.

    Raises:
        ProbeError: unknown name, something that is no probe, two probes of one name, or none at all.
    """
    found: list[Probe] = []
    for probe in probes:
        if isinstance(probe, str):
            if probe not in PROBES:
                raise ProbeError(f"no probe {probe!r}.{nearest(probe, PROBES)} There are: {', '.join(PROBES)}")
            probe = PROBES[probe]()
        if not isinstance(probe, Probe):
            raise ProbeError(
                f"expected a probe such as ps.probes.AttentionKL() (an object, not the class) or the name of one, "
                f"got {probe!r}"
            )
        if not getattr(probe, "name", ""):
            raise ProbeError(f"{type(probe).__name__} has no name: set name = 'my_probe' in the class")
        found.append(probe)
    names = [probe.name for probe in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProbeError(f"two probes are called {twice[0]!r}: give one another name, such as name='{twice[0]}_2'")
    if not found:
        raise ProbeError(f"no probe is given. There are: {', '.join(PROBES)}")
    return found
