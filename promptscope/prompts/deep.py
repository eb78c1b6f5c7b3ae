"""Deep prompts: keys and values at k positions of each chosen layer (prefix tuning, P-tuning v2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import HookedModel, KeysValues, Placement
from promptscope.models.samples import why_no_keys
from promptscope.prompts.initialisation import FromPrompt, Initialisation, TokenInitialisation, Uniform
from promptscope.prompts.inner import keys_and_values
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.reparameterisation import Reparameterisation, draw_weights
from promptscope.prompts.soft import SoftPrompt


class DeepPrompt(Prompt):
    """Trainable keys and values at k positions before the text, in each chosen layer.

    *Untied*: separate keys and values, 2 x k x L x d_kv parameters (Li & Liang 2021; Liu et al. 2022). *Tied*: one
    vector per position and layer serves as key and as value, k x L x d_kv parameters (the multilingual-GPT paper,
    section 3.1). `d_kv` is kv_heads x d_head: `d_model`, or less with grouped-query attention.

    Keys are those *before* the rotary embedding, at prompt positions 0..k-1; text starts at position k. Layers that
    are not chosen do not see the prompt positions at all.

    Args:
        length: the number of prompt positions k.
        tied: one vector for key and value.
        layers: the chosen layers, counted from 0, the same in every attention of *parts*; all by default, also of
            encoder and decoder of different depth.
        parts: attentions to write to: `("self",)` on causal and masked models; on encoder-decoders any of `encoder`,
            `decoder` and `cross`, all by default.
        reparameterisation: a network that makes the vectors from the parameters (`ps.reparameterise`).
        init, seed: see `ps.init`; token initialisations give the keys and values that those tokens have inside the
            model (untied), or the token vectors themselves (tied).

    >>> prompt = DeepPrompt(length=20, tied=True, layers=[0, 1])
    >>> prompt.tied
    True
    """

    @checked(error=PromptError)
    def __init__(
        self,
        length: int = 20,
        tied: bool = False,
        layers: Sequence[int] | None = None,
        parts: Sequence[str] | None = None,
        init: str | Initialisation = "uniform",
        seed: int = 0,
        reparameterisation: Reparameterisation | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(length, init, seed, reparameterisation)
        self.tied = tied
        self.layers = None if layers is None else tuple(sorted(set(layers)))
        self.parts = None if parts is None else tuple(parts)
        self.numbers = nn.ParameterDict()  # "<part>_keys"/"<part>_values", tied: "<part>_both"; [layer, k, d_kv]
        self.networks = nn.ModuleDict()  # one for each of `numbers` of a reparameterised prompt
        # Keys imported from PEFT stay as they are in a cache: turned back and forth they would lose their last bits,
        # and 30 layers make a difference of 5e-4 of that.
        self.keys_after_rotary = False

    def settings(self) -> dict[str, Any]:
        """Length, layers, initialisation and the like: all that is not trained."""
        settings: dict[str, Any] = {"length": self.length, "tied": self.tied}
        settings["layers"] = None if self.layers is None else list(self.layers)
        settings["parts"] = None if self.parts is None else list(self.parts)
        if self.keys_after_rotary:
            settings["keys_after_rotary"] = True
        if self.reparameterisation is not None:
            settings["reparameterisation"] = self.reparameterisation.settings()
        return settings

    def chosen_layers(self, model: HookedModel, part: str | None = None) -> tuple[int, ...]:
        """Return the layers that the prompt is written to, in the stack of *part* or (None) in any.

        Raises:
            PromptError: the stack of a chosen part has no such layer.
        """
        if part is None:
            every = {layer for one in self.chosen_parts(model) for layer in self.chosen_layers(model, one)}
            return tuple(sorted(every))
        stack = model.family.attentions[part].stack
        n_layers = model.layers[stack]
        layers = tuple(range(n_layers)) if self.layers is None else self.layers
        if not layers or not all(0 <= layer < n_layers for layer in layers):
            raise PromptError(
                f"layers must name some of 0..{n_layers - 1}, the layers of {stack} (attention {part!r}) in "
                f"{model.name!r}, got {list(layers)}"
            )
        return layers

    def chosen_parts(self, model: HookedModel) -> tuple[str, ...]:
        """Return the attentions that the prompt is written to.

        Raises:
            PromptError: the model has no such attention, or none whose keys and values can be written.
        """
        known = tuple(model.family.attentions)
        parts = known if self.parts is None else self.parts
        if not parts or not set(parts) <= set(known):
            raise PromptError(
                f"parts must name some of {list(known)} for a {model.family.name} model, got {list(parts)}"
            )
        if (why := why_no_keys(model, parts)) is not None:
            raise PromptError(
                f"a deep prompt writes keys and values, and {model.family.name} models have none that can be written "
                f"({why}): use ps.SoftPrompt"
            )
        return parts

    def keys(self, part: str = "self") -> Float[Tensor, "L k d_kv"]:
        """Return the keys of the chosen layers, before the rotary embedding (after it: `keys_after_rotary`)."""
        return self._vectors(f"{part}_both" if self.tied else f"{part}_keys")

    def values(self, part: str = "self") -> Float[Tensor, "L k d_kv"]:
        """Return the values of the chosen layers."""
        return self._vectors(f"{part}_both" if self.tied else f"{part}_values")

    def _both(self, part: str) -> tuple[Tensor, Tensor]:
        keys = self.keys(part)
        return keys, keys if self.tied else self.values(part)

    def tensors(self) -> dict[str, Tensor]:
        """Return keys and values by the names of their parameters."""
        return {f"numbers.{name}": self._vectors(name) for name in self.numbers}

    def _vectors(self, name: str) -> Float[Tensor, "L k d_kv"]:
        return self.networks[name](self.numbers[name]) if name in self.networks else self.numbers[name]

    def _set_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.networks = nn.ModuleDict()
        for name, number in tensors.items():
            self.numbers[name.removeprefix("numbers.")] = nn.Parameter(number)

    def _build_network(self) -> None:
        if self.reparameterisation is not None:
            for name, number in self.numbers.items():
                self.networks[name] = self.reparameterisation.network(self.length, number.shape[-1])

    def place(self, model: HookedModel) -> Placement:
        """Put keys and values before the text, in the chosen layers of the chosen attentions."""
        self.bind(model)
        heads = (model.shape.n_kv_heads, model.shape.d_head)
        parts = {}
        for part in self.chosen_parts(model):
            keys, values = (x.unflatten(-1, heads).transpose(1, 2) for x in self._both(part))
            parts[part] = KeysValues(keys, values, self.chosen_layers(model, part), self.keys_after_rotary)
        return Placement(self.length, None, parts)

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        self._create_numbers(model, generator)
        self._build_network()
        for network in self.networks.values():
            draw_weights(network, generator)

    def _create_numbers(self, model: HookedModel, generator: torch.Generator) -> None:
        parts = self.chosen_parts(model)
        layers = {part: self.chosen_layers(model, part) for part in parts}
        d_kv = model.shape.n_kv_heads * model.shape.d_head
        if isinstance(self.init, FromPrompt) and isinstance(self.init.prompt, DeepPrompt):
            self._copy_from(self.init.prompt.bind(model), model)
            return
        if isinstance(self.init, Uniform):
            for name, part in self._names(parts).items():
                start = torch.empty(len(layers[part]), self.n_rows, d_kv, dtype=torch.float32)
                self.numbers[name] = nn.Parameter(start.uniform_(self.init.low, self.init.high, generator=generator))
            return
        vectors = self._start_vectors(model, generator)
        if self.tied:
            if vectors.shape[1] != d_kv:
                raise PromptError(
                    f"a tied prompt cannot start from token vectors here: they have {vectors.shape[1]} numbers, keys "
                    f"and values of {model.name!r} {d_kv} (grouped-query attention). Use init='uniform' or tied=False"
                )
            for name, part in self._names(parts).items():
                self.numbers[name] = nn.Parameter(vectors.expand(len(layers[part]), -1, -1).clone())
            return
        for part in parts:
            keys, values = keys_and_values(model, vectors, part)
            self.numbers[f"{part}_keys"] = nn.Parameter(keys[list(layers[part])].float())
            self.numbers[f"{part}_values"] = nn.Parameter(values[list(layers[part])].float())

    def _start_vectors(self, model: HookedModel, generator: torch.Generator) -> Float[Tensor, "k d_model"]:
        if isinstance(self.init, TokenInitialisation):
            return self.init.vectors(model, self.n_rows, generator).float()
        assert isinstance(self.init, FromPrompt)
        source = self.init.prompt.bind(model)
        if not isinstance(source, SoftPrompt) or source.length != self.n_rows:
            raise PromptError(
                f"a deep prompt of {self.n_rows} parameter vectors cannot start from {source!r}: lengths differ"
            )
        return source.vectors().detach().float()

    def _copy_from(self, source: DeepPrompt, model: HookedModel) -> None:
        mine = (self.n_rows, self.tied, self.chosen_layers(model), self.chosen_parts(model))
        theirs = (source.length, source.tied, source.chosen_layers(model), source.chosen_parts(model))
        if mine != theirs:
            raise PromptError(
                f"(length, tied, layers, parts) must agree to start from a deep prompt: {mine} != {theirs}"
            )
        self.keys_after_rotary = source.keys_after_rotary
        for name, number in source.tensors().items():
            self.numbers[name.removeprefix("numbers.")] = nn.Parameter(number.detach().clone())

    def _names(self, parts: Sequence[str]) -> dict[str, str]:
        """Return the names of the parameters, each with its part."""
        roles = ("both",) if self.tied else ("keys", "values")
        return {f"{part}_{role}": part for part in parts for role in roles}

    def _check_fit(self, model: HookedModel) -> None:
        d_kv = model.shape.n_kv_heads * model.shape.d_head
        names = self._names(self.chosen_parts(model))
        if set(self.numbers) != set(names):
            raise PromptError(f"the prompt holds {sorted(self.numbers)}, on {model.name!r} it needs {list(names)}")
        for name, number in self.numbers.items():
            expected = (len(self.chosen_layers(model, names[name])), self.n_rows, d_kv)
            if tuple(number.shape) != expected:
                raise PromptError(
                    f"{name} of the prompt has shape {tuple(number.shape)}, {model.name!r} needs {expected} "
                    "(layers, k, kv_heads x d_head)"
                )
