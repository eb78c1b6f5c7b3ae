"""Probes by name: promptscope's own, those that a program registers, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

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

GROUP = "promptscope.probes"
"""Entry-point group of installed packages: under it, `my_probe = "package.module:MyProbe"` in `pyproject.toml`."""

P = TypeVar("P", bound=type[Probe] | Probe)


class ProbeRegistry(Mapping[str, Callable[[], Probe]]):
    """Name -> class or function that makes the probe with its default settings.

    >>> PROBES["attention_kl"]().name
    'attention_kl'
    """

    def __init__(self, own: Iterable[type[Probe]]) -> None:
        self._made: dict[str, Callable[[], Probe]] = {}
        self._from: dict[str, str] = {}
        for probe in own:
            self._add(probe().name, probe, "promptscope")

    def add(self, probe: P, name: str | None = None) -> P:
        """Register a probe class (or object) under *name*, by default its own; return it.

        Raises:
            ProbeError: something else than a probe, no name, a class that needs arguments, or a name that is taken.
        """
        if not (isinstance(probe, Probe) or (isinstance(probe, type) and issubclass(probe, Probe))):
            raise ProbeError(
                "register_probe needs a subclass of ps.probes.Probe, or a probe made by "
                f"ps.probe_function, got {probe!r}"
            )
        make: Callable[[], Probe] = probe if isinstance(probe, type) else lambda: probe
        kind = probe if isinstance(probe, type) else type(probe)
        try:
            made = make()
        except TypeError as error:
            raise ProbeError(
                f"a registered probe is made without arguments, and {kind.__name__}() fails ({error}): give its "
                "arguments default values, or register an object"
            ) from error
        name = name or getattr(made, "name", "")
        if not name:
            raise ProbeError(f"{kind.__name__} has no name: set name = 'my_probe' in the class")
        self._add(name, make, f"{kind.__module__}.{kind.__qualname__}")
        return probe

    def _add(self, name: str, make: Callable[[], Probe], where: str) -> None:
        if name in self:
            raise ProbeError(
                f"a probe called {name!r} exists already, from {self.origin(name)}: give this one another name "
                f"(or take that one out first: ps.probes.PROBES.remove({name!r}))"
            )
        self._made[name], self._from[name] = make, where

    def remove(self, name: str) -> None:
        """Remove a registered probe, for example to define it again in a notebook.

        Raises:
            ProbeError: nothing was registered under *name*, or it is one of promptscope's own.
        """
        if name not in self._made or self._from[name] == "promptscope":
            raise ProbeError(f"no probe was registered as {name!r}, so none can be removed.{nearest(name, self._made)}")
        del self._made[name], self._from[name]

    def registered(self) -> list[str]:
        """Return the names that are registered in this process: promptscope's own, and those of `register_probe`."""
        return list(self._made)

    def origin(self, name: str) -> str:
        """Return where a probe comes from: the full name of its class, or an installed package."""
        return self._from.get(name) or " and ".join(map(_package, self._installed(name)))

    def __getitem__(self, name: str) -> Callable[[], Probe]:
        found = self._installed(name)
        if len(found) + (name in self._made) > 1:
            raise ProbeError(
                f"the name {name!r} is used by several probes, from "
                f"{', '.join(self._origins(name))}: uninstall or remove one of them"
            )
        if name in self._made:
            return self._made[name]
        if not found:
            raise KeyError(name)
        try:
            return self._load(found[0])
        except ProbeError:
            raise
        except Exception as error:  # whatever happens while another package is imported
            raise ProbeError(
                f"the probe {name!r} of {_package(found[0])} cannot be loaded from {found[0].value!r}: {error!r}"
            ) from error

    def _load(self, entry: Any) -> Callable[[], Probe]:
        loaded = entry.load()
        if isinstance(loaded, Probe):
            return lambda: loaded
        if isinstance(loaded, type) and issubclass(loaded, Probe):
            return loaded
        raise ProbeError(
            f"the probe {entry.name!r} of {_package(entry)} must be a subclass of ps.probes.Probe or "
            f"a probe object, and is {loaded!r}: correct its entry point"
        )

    def _origins(self, name: str) -> list[str]:
        return [*([self._from[name]] if name in self._from else []), *map(_package, self._installed(name))]

    def _installed(self, name: str) -> list[Any]:
        return list(entry_points(group=GROUP, name=name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._made, *sorted(entry.name for entry in entry_points(group=GROUP))]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._made or (isinstance(name, str) and bool(self._installed(name)))


def _package(entry: Any) -> str:
    return f"the package {entry.dist.name!r}" if entry.dist is not None else f"the entry point {entry.value!r}"


PROBES = ProbeRegistry(
    [AttentionBias, AttentionKL, AttentionMass, AttentionVariability, LabelCosine, NeuronStates, ResidualPCA]
)
"""Every probe that has a name, for `ps.probe`, the command line and recipes."""


@checked()
def register_probe(probe: P, name: str | None = None) -> P:
    """Register a probe under a name, for `ps.probe`, the command line and recipes; as a class decorator or a call.

    Installed packages need no call: they name their probes in the entry-point group `promptscope.probes`.

    Args:
        probe: a subclass of `ps.probes.Probe` that can be made without arguments, or a probe object.
        name: by default the probe's own.

    Raises:
        ProbeError: something else than a probe, no name, a class that needs arguments, or a name that is taken.

    >>> import promptscope as ps
    >>> @ps.register_probe
    ... @ps.probe_function("hook_resid_post", name="norm_at_answer")
    ... def norm(x, view):
    ...     return view.at(x, view.answer).norm(dim=-1)
    >>> "norm_at_answer" in ps.probes.PROBES  # and `ps.probe(model, "norm_at_answer", ...)` finds it
    True
    >>> ps.probes.PROBES.remove("norm_at_answer")
    """
    return PROBES.add(probe, name)


@checked()
def get_probes(probes: Iterable[Any]) -> list[Probe]:
    """Return the probes that are given as objects or names.

    Raises:
        ProbeError: an unknown name, something that is not a probe, two probes of one name, or none at all.

    >>> [probe.name for probe in get_probes(["attention_kl", AttentionMass()])]
    ['attention_kl', 'attention_mass']
    """
    found: list[Probe] = []
    for probe in probes:
        if isinstance(probe, str):
            if probe not in PROBES:
                raise ProbeError(f"there is no probe {probe!r}.{nearest(probe, PROBES)} There are: {', '.join(PROBES)}")
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
        raise ProbeError(f"name at least one probe. There are: {', '.join(PROBES)}")
    return found
