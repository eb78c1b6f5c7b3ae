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
from promptscope.prompts.initialisation import FromPrompt, Initialisation, Uniform
from promptscope.prompts.inner import keys_and_values
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.reparameterisation import Reparameterisation, draw_weights
from promptscope.prompts.soft import start_vectors


class DeepPrompt(Prompt):
    """Trainable keys and values at k positions before the text, in each chosen layer (prefix tuning, P-tuning v2).

    In an attention head of a chosen layer, with queries q and the text's own keys K and values V `(n, d_head)`,
    `head(q) = softmax(q [P_K; K]^T / sqrt(d_head)) [P_V; V]`, where `P_K` and `P_V (k, d_head)` are trained
    (He et al. 2022, section 3.1).

    *Untied*: separate keys and values, 2 k L d_kv parameters for L layers (Li and Liang 2021; Liu et al. 2022). *Tied*:
    one vector for each position and layer is both key and value, k L d_kv parameters (*Toward the explainable soft
    prompts*, section 3.1). `d_kv` is n_kv_heads x d_head, which is less than d_model with grouped-query attention.

    Keys are those *before* the rotary embedding, which the model applies at positions 0..k-1; the text starts at
    position k. In layers that are not chosen, no query attends to the prompt positions.

    Args:
        length: the number of prompt positions k.
        tied: whether one vector is both key and value.
        layers: the chosen layers, counted from 0, the same in every attention of *parts*; by default all layers.
        parts: the attentions with a prompt: `("self",)` on causal and masked models; on encoder-decoders some of
            `encoder`, `decoder` and `cross`, by default all.
        init: the values at the start of training, see `ps.init`. From tokens: the keys and values that these tokens
            have inside the model (untied), or the token embeddings themselves (tied).
        seed: of the random numbers of *init*.
        reparameterisation: a network that computes the vectors from the parameters, see `ps.reparameterise`.

    Raises:
        PromptError: an argument has another type, or length is below 1.

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
        """Return the arguments that build the prompt again, without its numbers and its initialisation."""
        layers, parts = (None if chosen is None else list(chosen) for chosen in (self.layers, self.parts))
        settings = {"length": self.length, "tied": self.tied, "layers": layers, "parts": parts}
        return settings | ({"keys_after_rotary": True} if self.keys_after_rotary else {}) | self._network_settings()

    def chosen_layers(self, model: HookedModel, part: str | None = None) -> tuple[int, ...]:
        """Return the layers with a prompt, of the attention *part*, or (None) of any attention.

        Raises:
            PromptError: a chosen layer does not exist in the model.
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
        """Return the attentions with a prompt.

        Raises:
            PromptError: the model has no such attention, or keys and values cannot be written on it.
        """
        known = tuple(model.family.attentions)
        parts = known if self.parts is None else self.parts
        if not parts or not set(parts) <= set(known):
            raise PromptError(
                f"parts must name some of {list(known)} for a {model.family.name} model, got {list(parts)}"
            )
        if (why := why_no_keys(model, parts)) is not None:
            raise PromptError(
                f"a deep prompt needs hook points where keys and values can be written, which {model.family.name} "
                f"models do not have ({why}): use ps.SoftPrompt"
            )
        return parts

    def keys(self, part: str = "self") -> Float[Tensor, "L k d_kv"]:
        """Return the keys of the chosen layers, before the rotary embedding (after it with `keys_after_rotary`)."""
        return self._vectors(f"{part}_both" if self.tied else f"{part}_keys")

    def values(self, part: str = "self") -> Float[Tensor, "L k d_kv"]:
        """Return the values of the chosen layers."""
        return self._vectors(f"{part}_both" if self.tied else f"{part}_values")

    def _both(self, part: str) -> tuple[Tensor, Tensor]:
        keys = self.keys(part)
        return keys, keys if self.tied else self.values(part)

    def tensors(self) -> dict[str, Tensor]:
        """Return keys and values by the names of their parameters, each `(L, k, d_kv)`, with gradient."""
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
        """Return the keys and values of the chosen layers and attentions as a placement, with gradient."""
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
        shapes = self._shapes(model)
        if isinstance(self.init, FromPrompt) and isinstance(self.init.prompt, DeepPrompt):
            self._copy_from(self.init.prompt.bind(model), model)
            return
        if isinstance(self.init, Uniform):
            for name, shape in shapes.items():
                start = torch.empty(shape, dtype=torch.float32)
                self.numbers[name] = nn.Parameter(start.uniform_(self.init.low, self.init.high, generator=generator))
            return
        vectors = start_vectors(self, model, generator).float()
        if self.tied:
            *_, d_kv = next(iter(shapes.values()))
            if vectors.shape[1] != d_kv:
                raise PromptError(
                    f"a tied prompt cannot start from token vectors here: they have {vectors.shape[1]} numbers, keys "
                    f"and values of {model.name!r} {d_kv} (grouped-query attention). Use init='uniform' or tied=False"
                )
            for name, shape in shapes.items():
                self.numbers[name] = nn.Parameter(vectors.expand(shape).clone())
            return
        for part in self.chosen_parts(model):
            layers = list(self.chosen_layers(model, part))
            for role, numbers in zip(("keys", "values"), keys_and_values(model, vectors, part), strict=True):
                self.numbers[f"{part}_{role}"] = nn.Parameter(numbers[layers].float())

    def _copy_from(self, source: DeepPrompt, model: HookedModel) -> None:
        mine = (self.n_rows, self.tied, self.chosen_layers(model), self.chosen_parts(model))
        theirs = (source.length, source.tied, source.chosen_layers(model), source.chosen_parts(model))
        if mine != theirs:
            raise PromptError(
                f"to start from a deep prompt, (length, tied, layers, parts) must be equal: this prompt has {mine}, "
                f"the other {theirs}"
            )
        self.keys_after_rotary = source.keys_after_rotary
        self._set_tensors({name: number.detach().clone() for name, number in source.tensors().items()})

    def _shapes(self, model: HookedModel) -> dict[str, tuple[int, int, int]]:
        """Return the names of the parameters, each with its shape."""
        d_kv = model.shape.n_kv_heads * model.shape.d_head
        roles = ("both",) if self.tied else ("keys", "values")
        rows = {part: (len(self.chosen_layers(model, part)), self.n_rows, d_kv) for part in self.chosen_parts(model)}
        return {f"{part}_{role}": shape for part, shape in rows.items() for role in roles}

    def _check_fit(self, model: HookedModel) -> None:
        shapes = self._shapes(model)
        if set(self.numbers) != set(shapes):
            raise PromptError(
                f"the prompt holds {sorted(self.numbers)}, and {model.name!r} needs {list(shapes)}: it was made for "
                "another kind of model"
            )
        for name, number in self.numbers.items():
            if tuple(number.shape) != shapes[name]:
                raise PromptError(
                    f"{name} of the prompt has shape {tuple(number.shape)}, and {model.name!r} needs {shapes[name]} "
                    "(layers, k, n_kv_heads x d_head): a deep prompt fits models of equal sizes only"
                )
