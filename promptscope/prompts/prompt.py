"""What every soft prompt is: parameters that become vectors, vectors that become hooks or a prefix cache."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from promptscope.cards import card
from promptscope.checks import checked
from promptscope.code_identity import UnknownIdentityError, code_identity
from promptscope.errors import PromptError
from promptscope.files import content_hash, tensor_hash
from promptscope.models import Hook, HookedModel, Placement, Prefix, hooks_of, prefix_of
from promptscope.models.modes import own_modes
from promptscope.prompts.initialisation import Initialisation, parse_init
from promptscope.prompts.reparameterisation import Reparameterisation, parse_reparameterisation

# Not typing.Self: beartype cannot check it on single methods, which is how jaxtyping applies it in tests.
P = TypeVar("P", bound="Prompt")


class Prompt(nn.Module, ABC):
    """Trainable vectors at k positions before the text.

    A prompt is made without a model and gets its parameters when it meets one: `prompt.bind(model)`; training,
    `model.logits` and `ps.probe` bind by themselves. `place(model)` says what it puts before a text;
    `hooks(model)` is what that does, on every family, `prefix(model)` the same as keys and values, on causal models.

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(4)
    >>> prompt.is_bound
    False
    >>> model = ps.load_model("embedded-causal")
    >>> prompt.bind(model).n_parameters == 4 * model.shape.d_model
    True
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        stated = {"slots", "hooks", "prefix", "rows", "prefixes"} & set(vars(cls))
        if stated:
            raise PromptError(
                f"{cls.__name__} defines {', '.join(sorted(stated))}(), which follow from place(model) and would never "
                "be called: return from place what the prompt does. Other hooks go to model.hooks(...) or hooks=[...]"
            )

    def __init__(
        self,
        length: int,
        init: str | Initialisation = "uniform",
        seed: int = 0,
        reparameterisation: Reparameterisation | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(length, int) or length < 1:
            raise PromptError(f"a prompt needs a whole number of positions, at least one, got length={length!r}")
        self.length = length
        self.init = parse_init(init)
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise PromptError(f"seed must be a whole number in 0..2**32 - 1, got {seed!r}")
        self.seed = seed
        self.reparameterisation = parse_reparameterisation(reparameterisation)
        self.provenance: dict[str, Any] = {}
        self.strict = True

    @property
    def is_bound(self) -> bool:
        """Whether the parameters exist."""
        return any(True for _ in self.parameters())

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    @checked()
    @own_modes()
    def bind(self: P, model: HookedModel, strict: bool | None = None) -> P:
        """Create the parameters for *model*, or check that they were made for it. Returns the prompt itself.

        Raises:
            PromptError: the prompt is longer than the context, of another width, or was made for other embeddings;
                the last is allowed with `strict=False`.
        """
        strict = self.strict if strict is None else strict
        if any(parameter.is_meta for parameter in self.parameters()):
            raise PromptError(
                "the prompt was moved to the device 'meta', where it has no numbers: make, load or copy it again"
            )
        if not self.is_bound:
            model.rules.check_context(1, self.length)
            self._create(model, torch.Generator().manual_seed(self.seed))
            self.provenance |= {"seed": self.seed, "init": str(self.init)}
            self.to(device=model.device, dtype=torch.promote_types(model.dtype, torch.float32))
            self._note_model(model)
        elif "embedding_hash" not in self.provenance:  # an imported adapter does not say which embeddings it saw
            self._check_fit(model)
            self._note_model(model)
        elif self.provenance["embedding_hash"] != model.embedding_hash:
            if strict:
                raise PromptError(
                    f"this prompt was made for the model {self.provenance.get('model')!r} with embedding hash "
                    f"{self.provenance['embedding_hash']}, not for {model.name!r} with embedding hash "
                    f"{model.embedding_hash} ({model.dtype}). Load that model, or pass strict=False to use it here"
                )
            self._check_fit(model)
            self.strict = False  # decided once; the next forward pass must not ask again
        else:
            self._check_fit(model)
        if next(self.parameters()).device != model.device:
            self.to(model.device)
        return self

    def _note_model(self, model: HookedModel) -> None:
        self.provenance |= {
            "model": model.name,
            "revision": model.revision,
            "family": model.family.name,
            "embedding_hash": model.embedding_hash,
            "weights_hash": model.weights_hash,
        }

    def content_hash(self) -> str:
        """SHA-256 of everything that decides what the prompt does: its settings and its numbers, and code of your own.

        Raises:
            PromptError: the code of a kind of your own uses what has no content to hash.
        """
        tensors = {name: tensor_hash(tensor) for name, tensor in (*self.named_parameters(), *self.named_buffers())}
        described = {"type": type(self).__name__, "settings": self.settings(), "tensors": tensors}
        code = self._own_code()
        return content_hash(described | {"code": code} if code else described)

    def _own_code(self) -> dict[str, str]:
        """Hash the code of what is no part of promptscope or PyTorch: the kind, a reparameterisation, its modules."""
        kinds = dict.fromkeys(map(type, (*self.modules(), self.reparameterisation)))
        try:
            return {
                kind.__qualname__: code_identity(kind)
                for kind in kinds
                if kind.__module__.partition(".")[0] not in ("promptscope", "torch", "builtins")
            }
        except UnknownIdentityError as error:
            raise PromptError(
                f"the code of {type(self).__name__} uses something that cannot be part of its identity ({error}): make "
                "it one of settings(), or compute it inside"
            ) from error

    @property
    def n_rows(self) -> int:
        """Number of parameter vectors: the length, or 1 where one vector is broadcast."""
        return self.length if self.reparameterisation is None else self.reparameterisation.rows(self.length)

    def fold(self: P) -> P:
        """Return the plain prompt that a trained, reparameterised one computes: same outputs, no network.

        Raises:
            PromptError: the prompt is plain, or was never trained.
        """
        if self.reparameterisation is None:
            raise PromptError(f"{self!r} has no network to fold: it is a plain prompt")
        if not self.is_bound or not self.provenance.keys() & {"train_seed", "peft"}:
            raise PromptError("this prompt was never trained: train it first, its network holds random numbers")
        plain = self.plain()
        plain.provenance = copy.deepcopy(self.provenance) | {"folded": self.content_hash()}
        return plain

    def plain(self: P) -> P:
        """Return a prompt whose parameters are this one's vectors, without provenance."""
        if not self.is_bound:
            raise PromptError("an unbound prompt has no vectors: call prompt.bind(model), load or train it first")
        vectors = {name: number.detach().clone() for name, number in self.tensors().items()}
        plain = self.copy()
        plain.reparameterisation = None
        plain._set_tensors(vectors)
        plain.provenance = {}
        return plain

    def copy(self: P) -> P:
        """Return an independent prompt with the same parameters and provenance."""
        return copy.deepcopy(self)

    @checked()
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `prompt.safetensors` and `prompt.json` (settings, provenance, checksum) to *folder*."""
        from promptscope.prompts.saving import save_prompt  # saving knows every kind of prompt, so not the other way

        save_prompt(self, folder)

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Save the prompt to a repository of the Hugging Face Hub, `user/name`; returns its address.

        `ps.load_prompt("user/name")` reads it back. The repository is made if it is not there; *token* is by default
        the one that `hf auth login` stored.

        Raises:
            PromptError: an unbound prompt, no network, or no right to write there.
        """
        from promptscope.prompts.hub import push_prompt

        return push_prompt(self, repo_id, private, token)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        where = f"for {self.provenance.get('model')!r}" if self.is_bound else "unbound"
        return f"{type(self).__name__}({settings}) {where}"

    def _repr_html_(self) -> str:
        history = self.provenance.get("history") or {}
        trained = f"{history['steps']} steps, loss {history['loss']:.4g}" if history.get("loss") is not None else "no"
        facts = {
            **self.settings(),
            "parameters": f"{self.n_parameters:,}" if self.is_bound else "unbound: it gets them with its first model",
            "made for": self.provenance.get("model"),
            "trained": trained,
        }
        return card(type(self).__name__, facts)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what is needed to build the prompt again, without its numbers."""

    @abstractmethod
    def place(self, model: HookedModel) -> Placement:
        """Bind the prompt to *model* and return what it puts before a text, with gradient.

        This is all that a kind of prompt has to say: hooks, prefix cache and packed pass read it.
        """

    def slots(self, model: HookedModel) -> dict[str, int]:
        """Return how many positions the prompt takes before each stream (`encoder`, `decoder`)."""
        return self.place(model).slots(model)

    def hooks(self, model: HookedModel) -> list[Hook]:
        """Return the prompt as `(hook point, function)` pairs over the layout `[k slots | text]`."""
        return hooks_of(self.place(model), model)

    def prefix(self, model: HookedModel) -> Prefix:
        """Return the prompt as keys and values in every layer (causal models)."""
        return prefix_of(self.place(model), model)

    def inputs_embeds(
        self, model: HookedModel, ids: Int[Tensor, "B n"], mask: Int[Tensor, "B n"] | None = None
    ) -> dict[str, Tensor]:
        """Return prompt and text for a plain transformers model: `hf_model.generate(**...)`, `hf_model(**...)`.

        `inputs_embeds [B, k + n, d_model]` and `attention_mask [B, k + n]`, on causal models also `position_ids`. The
        texts may be padded on either side; rows come out as `[padding | prompt | text]` (causal models, so that new
        tokens follow the text) or `[prompt | text | padding]`, and each gives what it gives alone. With gradients.

        Raises:
            PromptError: a deep prompt, or one that with the text exceeds the context.
            ModelError: *ids* of the wrong kind or shape.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> arguments = ps.SoftPrompt(4).inputs_embeds(model, torch.tensor([[5, 6, 7]]))
        >>> model.twin.generate(**arguments, max_new_tokens=2, do_sample=False, eos_token_id=None).shape
        torch.Size([1, 2])
        """
        from promptscope.prompts.leaving import inputs_embeds

        return inputs_embeds(self.place(model), model, ids, mask)

    def past_key_values(self, model: HookedModel, batch: Any, copies: int = 1) -> dict[str, Any]:
        """Return a prompt of any kind as a cache before the text: `hf_model.generate(**...)`, `hf_model(**...)`.

        `past_key_values` (a `DynamicCache` of k positions; one call uses it up), `input_ids [B, n]` padded on the left,
        `attention_mask [B, k + n]`, `position_ids [B, n]`. *batch* is what a tokenizer returns, padded on either side,
        or input ids. `generate` gives every row *copies* caches of its own: beams (`num_beams=4`, `copies=4`) or
        samples (`num_return_sequences`). Causal models only.

        Raises:
            PromptError: another kind of model, a prompt that some layers do not see, or too long a text.
            ModelError: ids of the wrong kind or shape.
        """
        from promptscope.prompts.leaving import past_key_values

        if copies < 1:
            raise PromptError(f"copies must be at least 1, got {copies}")
        return past_key_values(self.place(model), model, batch, copies)

    def penalty(self, model: HookedModel) -> Float[Tensor, ""] | None:
        """Return what training adds to the task's loss for this prompt, with gradient; None: nothing."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return what the prompt puts into the model, by name, with gradient; of a plain prompt, its parameters."""
        return dict(self.named_parameters())

    def stated_tensors(self) -> dict[str, Tensor]:
        """Return `tensors`, for what measures a prompt without a model.

        Raises:
            PromptError: the kind of prompt does not say what it makes of its parameters.
        """
        if type(self).tensors is Prompt.tensors:
            raise PromptError(
                f"the vectors of {self!r} are not its parameters, and only place(model) computes them: use that, or "
                f"define tensors() on {type(self).__name__}, which returns its vectors by name"
            )
        return self.tensors()

    def _set_tensors(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, number in self.named_parameters():
                number.copy_(tensors[name])

    @abstractmethod
    def _create(self, model: HookedModel, generator: torch.Generator) -> None: ...

    @abstractmethod
    def _check_fit(self, model: HookedModel) -> None: ...
