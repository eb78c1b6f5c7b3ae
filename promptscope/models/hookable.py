"""The part of a hooked model that changes its results at run time: attached hooks, edited weights, and their lock."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.files import content_hash, fingerprint, tensor_hash
from promptscope.models.attached import (
    AttachedHook,
    Bridge,
    Hook,
    Watch,
    as_hooks,
    attach,
    attached_everywhere,
    check_returns,
)
from promptscope.models.frozen import FrozenModel
from promptscope.models.identity import config_hash, hooks_identity
from promptscope.models.keys import key_rules
from promptscope.models.measuring import head_of, model_head
from promptscope.models.model_code import foreign_code
from promptscope.models.modes import own_modes
from promptscope.models.turns import Turns
from promptscope.models.weights import Weights


@dataclass(eq=False, repr=False)
class HookableModel(FrozenModel):
    """A frozen model with hooks, edits of its weights and a lock; `identity` describes what determines its results."""

    def __post_init__(self) -> None:
        self._hashed: dict[str, tuple[Any, str]] = {}  # what was hashed -> its fingerprints, and the hash
        self._hashed_in_turn: dict[str, str] = {}  # nobody edits weights in the middle of a computation
        self.changed_attributes: dict[str, Any] = {}
        """Attributes of the modules of a model that was handed in whose values differ from its configuration's."""
        self.foreign_code: dict[str, str] = foreign_code(self.twin)
        """Hashes of the code that it runs and that is not part of transformers or PyTorch, by name."""
        self._turns = Turns()
        self._weights: Weights | None = None
        self._edited = False  # since facts were measured
        self._silent: frozenset[str] = frozenset()
        self.watch()

    def watch(self) -> None:
        """Treat the hooks that are attached now as the model's own, not as a user's; `load_model` calls this."""
        self._watches = Watch(self.bridge), Watch(self.twin)
        check_returns(self.bridge)

    def follow_edits_with(self, boot: Callable[[], Bridge], source: PreTrainedModel | None = None) -> None:
        """Let the bridge follow later edits of the plain model's weights; `load_model` calls this.

        *boot* makes a new bridge from the plain model; *source* is the caller's own model if it shares its parameters.
        """
        self._weights = Weights(self.twin, self.bridge, boot, source)

    @contextmanager
    def hooks(self, fwd_hooks: Iterable[Hook]) -> Iterator[Bridge]:
        """Attach hooks `(name, fn(tensor, hook))` within a `with` block, as TransformerLens' `model.hooks` does.

        The hooks act in everything that runs this model inside the block: training, evaluation, generation, probes. The
        positions of the tensor are `[k prompt positions | text | padding]`. In generation, every step passes all of
        them; for encoder-decoders, the encoder's run once and the decoder's are `[k prompt positions | start token, new
        tokens]` at every step. At one hook point, the prompt's own hooks run first, then the attached ones, then the
        captures of probes.

        Raises:
            ModelError: there is no such hook point, it never fires, or another thread has hooks attached.

        >>> import promptscope as ps
        >>> import torch
        >>> model = ps.load_model("embedded-causal")
        >>> ids = torch.tensor([[5, 6, 7]])
        >>> with model.hooks([("blocks.0.hook_mlp_out", lambda activation, hook: torch.zeros_like(activation))]):
        ...     without_mlp = model.logits(ids)
        >>> torch.equal(without_mlp, model.logits(ids))
        False
        """
        hooks = as_hooks(fwd_hooks)
        self._check_points([name for name, _ in hooks])
        with self._turns.own(self.name), attach(self.bridge, last=hooks):
            yield self.bridge

    def active_hooks(self) -> list[AttachedHook]:
        """Return the hooks that a user attached, with `model.hooks`, TransformerLens or PyTorch.

        If there are any, every pass runs on `bridge`, so that they act.

        Raises:
            ModelError: a hook is attached to `twin`, whose batches do not have the layout that hooks expect.
        """
        bridge, twin = self._watches
        if strayed := twin.attached():
            where = ", ".join(hook.point or "the whole of it" for hook in strayed[:3])
            raise ModelError(
                f"{self.name!r} has hooks on model.twin ({where}), whose batches may be packed, so that a hook would "
                "not find its positions: attach them with model.hooks(...), or to model.bridge"
            )
        return bridge.attached() + attached_everywhere()

    def need_no_hooks(self, what: str) -> None:
        """Raise ModelError if hooks are attached; *what* names the call, which runs `twin` and would ignore them."""
        if attached := self.active_hooks():
            raise ModelError(
                f"{what} runs the plain model and would ignore the hooks attached to {self.name!r} "
                f"({attached[0].point}): leave the `with model.hooks(...)` block, or use model.logits, where hooks act"
            )

    @contextmanager
    def turn(self, hooks: Iterable[Hook] = ()) -> Iterator[None]:
        """Reserve this model for the present thread within a `with` block, and attach *hooks* as well.

        Every call that runs the model does this. Calls inside the block run; other threads wait until it ends.

        Raises:
            ModelError: as `hooks` does.
        """
        hooks = as_hooks(hooks)
        with self._turn():
            self._check_points([name for name, _ in hooks])
            with attach(self.bridge, last=hooks):
                yield

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Reserve the model for this thread; the outermost call brings edited weights to the bridge first."""
        with self._turns.take(self.name), own_modes():
            if self._turns.depth == 1:
                self._hashed_in_turn = {}
                if self._weights is not None:
                    self._edited |= self._weights.follow_edits()
                if self._edited and not self.active_hooks():
                    self._measure_again()
            yield

    def _measure_again(self) -> None:
        """Measure again what depends on the weights, after they were edited: rules of keys, and the head."""
        self.facts = replace(self.facts, keys=key_rules(self))
        if self.family.kind != "seq2seq":
            self.facts = replace(self.facts, head=head_of(self.twin))
        self._edited = False

    def _check_points(self, names: list[str]) -> None:
        """Raise ModelError for hook points that exist but never fire, where a hook would silently do nothing."""
        silent = [name for name in names if name in self._silent]
        if silent:
            raise ModelError(
                f"the hook point {silent[0]!r} exists on {self.name!r} but never fires: a hook there would do nothing. "
                "model.hook_points() lists those that fire"
            )

    def firing_points(self) -> list[str]:
        """Return all hook points of the bridge that fire, including those that `hook_points()` does not list."""
        reason = self.bridge._gated_hook_reason
        return [
            name
            for name, point in self.bridge.hook_dict.items()
            if name not in self._silent and not reason(point.name or name)
        ]

    def hooked_unembed(self, hidden: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows V"]:
        """Map last hidden states to logits as `unembed` does, with the hooks that are attached to the bridge."""
        if self.facts.head == "model":
            return model_head(self.bridge.original_model)(hidden)
        return self.bridge.unembed(hidden)

    @property
    def embedding_hash(self) -> str:
        """SHA-256 of the input embedding matrix; a saved prompt keeps that of its model.

        The matrix is converted to float32 first, so that a half-precision checkpoint has the same hash when it is
        loaded in float32.
        """
        weight = self._embedding.weight
        return self._hash_once("embedding", lambda: fingerprint(weight), lambda: tensor_hash(weight, torch.float32))

    @property
    def weights_hash(self) -> str:
        """SHA-256 of all weights and buffers with their present values."""
        weights = dict([*self.twin.named_parameters(), *self.twin.named_buffers()])
        return self._hash_once(
            "weights",
            lambda: {name: fingerprint(tensor) for name, tensor in weights.items()},
            lambda: content_hash({name: tensor_hash(tensor) for name, tensor in weights.items()}),
        )

    def _hash_once(self, what: str, look: Callable[[], Any], compute: Callable[[], str]) -> str:
        """Return a hash, computed again only if the tensors that it covers were edited."""
        if self._turns.depth and what in self._hashed_in_turn:
            return self._hashed_in_turn[what]
        prints = look()
        if what not in self._hashed or self._hashed[what][0] != prints:
            self._hashed[what] = prints, compute()
        self._hashed_in_turn[what] = self._hashed[what][1]
        return self._hashed[what][1]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines this model's outputs, as plain values; runs and captures are stored under it.

        It covers the present weights, configuration, dtype and attached hooks, but not the model's name or folder. A
        hook is identified by its hook point and by its function's attribute `identity` (a string that you set, such as
        `fn.identity = "zero head 3"`); without this attribute, by a hash of the function's code and everything that it
        refers to. If that cannot be hashed (a hook that uses a model, say), the hook's identity is None, and no stored
        capture or finished run is reused.

        >>> import promptscope as ps
        >>> sorted(ps.load_model("embedded-causal").identity)
        ['config', 'dtype', 'embedding_hash', 'family', 'weights_hash']
        """
        found: dict[str, Any] = {
            "weights_hash": self.weights_hash,
            "embedding_hash": self.embedding_hash,
            "dtype": str(self.dtype),
            "family": self.family.name,
            "config": config_hash(self.twin.config),
        }
        if self.changed_attributes:
            found["attributes"] = self.changed_attributes
        if self.foreign_code:
            found["code"] = self.foreign_code
        hooks = self.active_hooks()
        return found | {"hooks": hooks_identity(hooks)} if hooks else found
