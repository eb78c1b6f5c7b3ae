"""What is kept of a hook point for every input: the activation, reduced inside the hook."""

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
    """One hook point, and the reduction that runs inside the hook, so that no whole activation is kept.

    A subclass is a frozen dataclass with a method `reduce`. Its fields are the parameters of the reduction and must be
    plain JSON values, because they are part of the key under which results are stored. So is the code of a class that
    is defined outside promptscope: after an edit of `reduce` in a notebook, old numbers are not used again (the code of
    functions that it calls is not part of the key).

    - `site`: a hook point, with or without its layer (`"attn.hook_pattern"` is every layer);
    - `ragged_dim`: the dimension of what `reduce` returns that counts text tokens, if there is one. `reduce` returns it
      padded to n; it is stored without padding;
    - `version`: raise it when `reduce` changes in promptscope's own captures.

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

        In a causal model later tokens are not run, unless another capture of the pass reads them.
        """
        return None

    @abstractmethod
    def reduce(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Reduce the activation `x (B, ...)` of one layer to what is kept, `(B, ...)`; it runs without gradients.

        It must have the same shape and dtype in all layers (for a `PairedCapture`, this holds for what `compare`
        returns).
        """

    def spec(self) -> dict[str, Any]:
        """Return everything that the stored result depends on besides model, prompt and inputs."""
        return spec_of(self, "capture")


@dataclass(frozen=True)
class PairedCapture(Capture):
    """A capture computed from the pass with the prompt and the pass without it, both at once.

    `reduce` runs in both passes, and what it returns is kept for one batch only (in the pass without the prompt, for
    all layers at once). `compare` turns the two into what is kept.

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
        """Reduce the tensors of both passes to what is kept, `(B, ...)`; *view* is that of the pass with the prompt."""


def spec_of(thing: Any, kind: str) -> dict[str, Any]:
    """Return what decides what a capture or a write does: its class, its fields, and its code if not promptscope's own.

    Raises:
        StoreError: a field is not a JSON value, or the code uses an object whose content cannot be hashed.
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
    """Return the hash of the code of a function or class; errors call it *name*.

    Raises:
        StoreError: the code uses an object whose content cannot be hashed.
    """
    try:
        return code_identity(code)
    except UnknownIdentityError as error:
        raise StoreError(
            f"the code of {name} uses an object that cannot be part of its key in the store "
            f"({error}): make it a field with a plain value, or compute it inside the function"
        ) from error
