"""What is kept of a hook point for every input: the activation, already reduced."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from promptscope.code_identity import UnknownIdentityError, code_identity
from promptscope.errors import StoreError
from promptscope.files import content_hash
from promptscope.store.view import View


@dataclass(frozen=True)
class Capture(ABC):
    """One hook point and the reduction that runs inside the hook, so that no full activation is kept.

    Subclasses are frozen dataclasses whose fields are the reduction's parameters: plain JSON values, because
    they are part of the key under which the result is stored. A class written outside promptscope is keyed
    by its code as well, so that editing `reduce` in a notebook never serves the old numbers (functions that
    it calls are not looked into).

    `site` is a hook point with or without its layer (`"attn.hook_pattern"` is every layer). `ragged_dim`
    names the dimension of what `reduce` returns that counts text tokens, if there is one: it is padded to
    n there, and stored without padding. `version` is raised when `reduce` comes to keep something else.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class LastNorm(Capture):
    ...     site: str = "hook_resid_post"
    ...     def reduce(self, x, layer, view):  # (B, k + n, d_model) -> (B,)
    ...         return x[:, -1].norm(dim=-1)
    >>> LastNorm().site
    'hook_resid_post'
    """

    site: str
    ragged_dim: ClassVar[int | None] = None
    version: ClassVar[int] = 1

    @property
    def reach(self) -> int | None:
        """How many leading tokens of an input the capture reads; None: all.

        Causal models do not run what comes after, if no other capture of the pass reads it.
        """
        return None

    @abstractmethod
    def reduce(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Reduce the activation `x (B, ...)` of one layer to what is kept, `(B, ...)`; no gradients here.

        What is kept has one shape and type in all layers (of a `PairedCapture`, what `compare` returns).
        """

    def spec(self) -> dict[str, Any]:
        """Return what the stored result depends on besides model, prompt and inputs."""
        return spec_of(self, "capture")


@dataclass(frozen=True)
class PairedCapture(Capture):
    """A capture that needs the pass with and the pass without the prompt at the same time.

    `reduce` runs in both passes and what it returns is kept for one batch only (for all layers at once, in the
    pass without the prompt); `compare` makes of the two what is kept.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class HowFar(PairedCapture):
    ...     site: str = "hook_resid_post"
    ...     def reduce(self, x, layer, view):  # (B, k + n, d_model) -> (B, n, d_model), in both passes
    ...         return view.without_prompt(x)
    ...     def compare(self, prompted, plain, layer, view):  # -> (B,)
    ...         return (prompted - plain).norm(dim=-1).sum(dim=-1)
    >>> HowFar().site
    'hook_resid_post'
    """

    @abstractmethod
    def compare(self, prompted: Tensor, plain: Tensor, layer: int, view: View) -> Tensor:
        """Reduce the two passes' tensors to what is kept, `(B, ...)`. *view* is the prompted pass'."""


def spec_of(thing: Any, kind: str) -> dict[str, Any]:
    """Return what decides what a capture or a write does: its class, its fields, and code from outside promptscope.

    Raises:
        StoreError: a field is not a JSON value, or the code uses what has no content to hash.
    """
    spec: dict[str, Any] = {kind: type(thing).__name__, "version": thing.version, **asdict(thing)}
    if type(thing).__module__.partition(".")[0] != "promptscope":
        spec["code"] = identity_of(type(thing), f"{kind} {type(thing).__name__}")
    try:
        content_hash(spec)
    except TypeError as error:
        raise StoreError(
            f"the fields of {kind} {type(thing).__name__} must be JSON values (numbers, strings, lists), "
            f"because they are part of its key in the store: {error}"
        ) from error
    return spec


def identity_of(code: Any, name: str) -> str:
    """Return the hash of a function's or a class' code; *name* is what an error calls it.

    Raises:
        StoreError: the code uses what has no content to hash.
    """
    try:
        return code_identity(code)
    except UnknownIdentityError as error:
        raise StoreError(
            f"the code of {name} uses something that cannot be part of its key in the store ({error}): make it a "
            "field with a plain value, or compute it inside the function"
        ) from error
