"""The base class of soft prompts: parameters become vectors, and vectors become hooks or a prefix cache."""

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
from promptscope.errors import PromptError
from promptscope.models import Hook, HookedModel, Placement, Prefix, hooks_of, prefix_of
from promptscope.models.modes import own_modes
from promptscope.prompts import leaving
from promptscope.prompts.binding import bind
from promptscope.prompts.hub import push_prompt
from promptscope.prompts.identity import prompt_hash
from promptscope.prompts.initialisation import Initialisation, parse_init
from promptscope.prompts.reparameterisation import Reparameterisation, parse_reparameterisation

# Not typing.Self: beartype cannot check it on single methods, which is how jaxtyping applies it in tests.
P = TypeVar("P", bound="Prompt")


class Prompt(nn.Module, ABC):
    """Base class of soft prompts: trainable vectors at k positions before the text.

    A prompt is made without a model. `prompt.bind(model)` creates its parameters for a model; training, `model.logits`
    and `ps.probe` call it. `place(model)` returns the vectors, or keys and values, at the prompt positions;
    `hooks(model)` returns them as hooks (for every model) and `prefix(model)` as a prefix cache (for causal models),
    which gives the same logits.

    A class of your own defines `place`, `settings`, `_create` and `_check_fit`, see `ps.register_prompt`.

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
                "be called: let place(model) return the prompt's vectors; attach other hooks with model.hooks(...) or "
                "hooks=[...]"
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
        """Whether the prompt has parameters, that is, was bound to a model, trained or loaded."""
        return any(True for _ in self.parameters())

    @property
    def n_parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @checked()
    @own_modes()
    def bind(self: P, model: HookedModel, strict: bool | None = None) -> P:
        """Create the parameters for *model*, or check that they were made for it; return the prompt itself.

        Args:
            model: a hooked model.
            strict: False allows a prompt that was made for another embedding matrix of the same width; by default, the
                value that `load_prompt` was given, else True.

        Raises:
            PromptError: the prompt is longer than the model's context, its vectors have another width, or (with strict)
                it was made for another embedding matrix.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> ps.SoftPrompt(4).bind(model).vectors().shape == (4, model.shape.d_model)
        True
        """
        bind(self, model, self.strict if strict is None else strict)
        return self

    def content_hash(self) -> str:
        """Return the SHA-256, as hex, of everything that determines what the prompt does.

        It covers the prompt's settings and numbers and, for a class of your own, its code.

        Raises:
            PromptError: the code of the prompt's class refers to something that cannot be hashed.

        >>> import promptscope as ps
        >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
        >>> prompt.content_hash() == prompt.copy().content_hash()
        True
        """
        return prompt_hash(self)

    @property
    def n_rows(self) -> int:
        """The number of parameter vectors: the length, or 1 if one vector is broadcast to all positions."""
        return self.length if self.reparameterisation is None else self.reparameterisation.rows(self.length)

    def fold(self: P) -> P:
        """Return the plain prompt with the vectors that a trained prompt's network computes; outputs are the same.

        Raises:
            PromptError: the prompt has no network, or was never trained.

        >>> import promptscope as ps
        >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
        >>> prompt = ps.SoftPrompt(4, reparameterisation=ps.reparameterise.Mlp(hidden=8))
        >>> _ = ps.train(model, prompt, task, ps.TrainConfig(steps=1, batch_size=2), progress=False)
        >>> prompt.fold().n_parameters == 4 * model.shape.d_model
        True
        """
        if self.reparameterisation is None:
            raise PromptError(f"{self!r} has no network to fold: it is a plain prompt already, use it as it is")
        if not self.is_bound or not self.provenance.keys() & {"train_seed", "peft"}:
            raise PromptError("this prompt was never trained: train it first, its network holds random numbers")
        plain = self.plain()
        plain.provenance = copy.deepcopy(self.provenance) | {"folded": self.content_hash()}
        return plain

    def plain(self: P) -> P:
        """Return a prompt without a network whose parameters are this one's vectors; its provenance is empty."""
        if not self.is_bound:
            raise PromptError("an unbound prompt has no vectors: call prompt.bind(model), load or train it first")
        vectors = {name: number.detach().clone() for name, number in self.tensors().items()}
        plain = self.copy()
        plain.reparameterisation = None
        plain._set_tensors(vectors)
        plain.provenance = {}
        return plain

    def copy(self: P) -> P:
        """Return an independent prompt with the same parameters and provenance.

        >>> import promptscope as ps
        >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
        >>> prompt.copy().embedding is prompt.embedding
        False
        """
        return copy.deepcopy(self)

    @checked()
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `prompt.safetensors` and `prompt.json` (settings, provenance, checksum) to *folder*.

        `ps.load_prompt(folder)` reads it. A prompt with a network is also saved without it, in `folder/folded`.

        Raises:
            PromptError: the prompt is unbound or not finite, its class is not registered, or *folder* is a file.

        >>> import tempfile, promptscope as ps
        >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     prompt.save(folder)
        ...     sorted(os.listdir(folder))
        ['prompt.json', 'prompt.safetensors']"""
        from promptscope.prompts.saving import save_prompt  # saving knows every kind of prompt, so not the other way

        save_prompt(self, folder)

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Save the prompt to a repository of the Hugging Face Hub, and return its address.

        `ps.load_prompt("user/name")` reads it. The repository is created if it does not exist.

        Args:
            repo_id: `user/name`.
            private: whether a new repository is private.
            token: by default the one that `hf auth login` stored.

        Raises:
            PromptError: the prompt is unbound, there is no network connection, or the token may not write there.
        """
        return push_prompt(self, repo_id, private, token)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        where = f"for {self.provenance.get('model')!r}" if self.is_bound else "unbound"
        return f"{type(self).__name__}({settings}) {where}"

    def _repr_html_(self) -> str:
        history = self.provenance.get("history") or {}
        trained = f"{history['steps']} steps, loss {history['loss']:.4g}" if history.get("loss") is not None else "no"
        size = f"{self.n_parameters:,}" if self.is_bound else "none yet: they are created for its first model"
        facts = {
            **self.settings(),
            "parameters": size,
            "made for": self.provenance.get("model"),
            "trained": trained,
        }
        return card(type(self).__name__, facts)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the class that build the prompt again; its numbers are saved separately."""

    def _network_settings(self) -> dict[str, Any]:
        return {} if self.reparameterisation is None else {"reparameterisation": self.reparameterisation.settings()}

    @abstractmethod
    def place(self, model: HookedModel) -> Placement:
        """Bind the prompt to *model* and return its vectors, or keys and values, at k positions, with gradient.

        Hooks, prefix cache and packed passes are all made from this placement.
        """

    def slots(self, model: HookedModel) -> dict[str, int]:
        """Return the number of prompt positions before each stream (`encoder`, `decoder`) of *model*."""
        return self.place(model).slots(model)

    def hooks(self, model: HookedModel) -> list[Hook]:
        """Return the prompt as `(hook point, function)` pairs for the positions `[k prompt positions | text]`.

        >>> import promptscope as ps
        >>> (point, write), *_ = ps.SoftPrompt(4).hooks(ps.load_model("embedded-causal"))
        >>> point
        'embed.hook_out'"""
        return hooks_of(self.place(model), model)

    def prefix(self, model: HookedModel) -> Prefix:
        """Return the prompt as keys and values in every layer of a causal model.

        Raises:
            PromptError: the model is not causal.
            ModelError: hooks are attached to the model, which this pass would ignore.

        >>> import promptscope as ps
        >>> ps.SoftPrompt(4).prefix(ps.load_model("embedded-causal")).length
        4"""
        return prefix_of(self.place(model), model)

    def inputs_embeds(
        self, model: HookedModel, ids: Int[Tensor, "B n"], mask: Int[Tensor, "B n"] | None = None
    ) -> dict[str, Tensor]:
        """Return prompt and texts as arguments of a plain transformers model: `hf_model.generate(**arguments)`.

        They are `inputs_embeds (B, k + n, d_embed)` and `attention_mask (B, k + n)`, on causal models also
        `position_ids (B, k + n)`, with gradient to the prompt. *ids* may be padded on either side. Rows are `[padding |
        prompt | text]` on causal models, so that new tokens come after the text, and `[prompt | text | padding]` on
        others. Results for a row do not depend on the other rows.

        Raises:
            PromptError: it is a deep prompt, or prompt and text exceed the model's context.
            ModelError: *ids* or *mask* have the wrong type or shape.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> arguments = ps.SoftPrompt(4).inputs_embeds(model, torch.tensor([[5, 6, 7]]))
        >>> model.twin.generate(**arguments, max_new_tokens=2, do_sample=False, eos_token_id=None).shape
        torch.Size([1, 2])
        """
        return leaving.inputs_embeds(self.place(model), model, ids, mask)

    def past_key_values(self, model: HookedModel, batch: Any, copies: int = 1) -> dict[str, Any]:
        """Return a prompt and texts as arguments of a plain causal model: `hf_model.generate(**arguments)`.

        They are `past_key_values` (a `DynamicCache` with k positions, for a single call), `input_ids (B, n)` padded on
        the left, `attention_mask (B, k + n)` and `position_ids (B, n)`. It works for input-level and deep prompts.

        Args:
            model: a causal hooked model, whose weights `hf_model` shares or equals.
            batch: what a tokenizer returns, padded on either side, or token ids.
            copies: the number of rows that `generate` makes of each text: that of `num_beams` or
                `num_return_sequences`.

        Raises:
            PromptError: the model is not causal, some layers do not attend to the prompt, or prompt and text exceed the
                context.
            ModelError: ids have the wrong type or shape.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> arguments = ps.DeepPrompt(4).past_key_values(model, torch.tensor([[5, 6, 7]]))
        >>> model.twin.generate(**arguments, max_new_tokens=2, do_sample=False, eos_token_id=None).shape
        torch.Size([1, 5])
        """
        if copies < 1:
            raise PromptError(f"copies must be at least 1, got {copies}")
        return leaving.past_key_values(self.place(model), model, batch, copies)

    def penalty(self, model: HookedModel) -> Float[Tensor, ""] | None:
        """Return a term that training adds to the task's loss for this prompt, with gradient, or None."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the prompt's vectors, or keys and values, by name, with gradient.

        They are the parameters of a plain prompt, and the output of a prompt's network."""
        return dict(self.named_parameters())

    def stated_tensors(self) -> dict[str, Tensor]:
        """Return `tensors()`, for measurements of a prompt without a model.

        Raises:
            PromptError: the prompt's class does not define `tensors()`.
        """
        if type(self).tensors is Prompt.tensors:
            raise PromptError(
                f"the vectors of {self!r} are not its parameters, and only place(model) computes them: use "
                f"place(model), or define tensors() on {type(self).__name__} to return its vectors by name"
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
