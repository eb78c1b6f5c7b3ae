"""Keeping the weights of the plain model and the bridge equal after a user has edited some."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.files import fingerprint
from promptscope.models.attached import Bridge
from promptscope.models.modules import Modules

Places = Iterator[tuple[str, nn.Module, str, Tensor]]


def _tensors(root: nn.Module) -> Places:
    """Yield name, module, name in the module, and tensor of every parameter and buffer; shared ones occur repeatedly.

    `named_parameters` is not used, since the bridge overrides it.
    """
    for path, module in nn.Module.named_modules(root):
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    yield f"{path}.{name}", module, name, tensor


class Weights:
    """Brings edits of the plain model's weights to the bridge, which holds copies of some of them.

    *boot* makes a new bridge from the plain model, which splits and copies the weights again. *source* is the caller's
    own model, if the plain model shares its parameters.
    """

    def __init__(
        self,
        twin: PreTrainedModel,
        bridge: Bridge,
        boot: Callable[[], Bridge],
        source: PreTrainedModel | None = None,
    ) -> None:
        self._twin, self._bridge, self._boot = twin, bridge, boot
        self._source = source
        self._of_source = {} if source is None else {name: tensor for name, _, _, tensor in _tensors(source)}
        self._modules = [Modules(bridge, "model.bridge"), Modules(twin, "model.twin")]
        handed_in = "the model that was handed in"
        self._source_modules = None if source is None else Modules(source, handed_in, is_source=True)
        self._take_stock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Weights":
        # The copied model has weights of its own, and nothing to do with the caller's.
        twin, bridge, boot = copy.deepcopy((self._twin, self._bridge, self._boot), memo)
        return Weights(twin, bridge, boot)

    def _take_stock(self) -> None:
        self._types, self._storages = self._look_at_types(), self._twin_storages()
        self._copies = self._copied()
        self.fingerprints = self._look()  # last: if Ctrl-C comes before, the edit is noticed again

    def _look(self) -> dict[str, str]:
        seen: dict[int, str] = {}  # tied weights are read once
        return {
            name: seen.get(id(tensor)) or seen.setdefault(id(tensor), fingerprint(tensor))
            for name, _, _, tensor in _tensors(self._twin)
        }

    def _look_at_types(self) -> dict[str, torch.dtype]:
        return {name: tensor.dtype for name, _, _, tensor in _tensors(self._twin)}

    def _check_types(self) -> None:
        """Raise ModelError if weights were added, removed, or changed in dtype since the model was loaded."""
        now, before = self._look_at_types(), self._types
        for name in [name for name in {**before, **now} if now.get(name) != before.get(name)][:1]:
            is_, was = (str(found.get(name, "not there")).removeprefix("torch.") for found in (now, before))
            raise ModelError(
                f"the weight {name.strip('.')!r} of model.twin is {is_}, and was {was} when the model was loaded: make "
                "the change on the transformers model before ps.load_model(model); for another dtype, use "
                "ps.load_model(model, dtype=...)"
            )

    def _twin_storages(self) -> set[int]:
        return {tensor.untyped_storage().data_ptr() for *_, tensor in _tensors(self._twin)}

    def _copied(self) -> dict[str, str]:
        """Return fingerprints of the bridge's tensors that are copies, by name."""
        return {
            name: fingerprint(tensor)
            for name, _, _, tensor in _tensors(self._bridge)
            if tensor.untyped_storage().data_ptr() not in self._storages
        }

    def follow_edits(self) -> bool:
        """Bring edits of the plain model's weights to the bridge; return whether there were any.

        Raises:
            ModelError: the bridge's own copy of a weight was edited, a parameter of the caller's own model was replaced
                by another tensor, or something other than weights was changed.
        """
        for modules in self._modules:
            modules.check()
        self._check_source()
        self._check_types()
        now, storages = self._look(), self._twin_storages()
        if now == self.fingerprints and storages == self._storages:
            edited = [name for name, print_ in self._copied().items() if self._copies.get(name) != print_]
            if edited:
                name = edited[0].replace("._original_component", "").strip(".")
                raise ModelError(
                    f"{name!r} of model.bridge was edited, which is a copy of a weight of model.twin, so that the "
                    "two would compute different things. Edit the weight on model.twin instead; the bridge then gets "
                    "the edit too"
                )
            return False
        self._twin.requires_grad_(False)  # a parameter that was put in place of another asks for a gradient
        fresh = {name: tensor for name, _, _, tensor in _tensors(self._boot())}
        for name, module, attribute, _ in list(_tensors(self._bridge)):
            held: dict[str, Any] = module._parameters if attribute in module._parameters else module._buffers
            held[attribute] = fresh[name]  # not its data: the caller's own model may hold the old tensor
        self._take_stock()
        return True

    def _check_source(self) -> None:
        if self._source is None or self._source_modules is None:
            return
        self._source_modules.check()
        for name, _, _, tensor in _tensors(self._source):
            if self._of_source.get(name, tensor) is not tensor:
                raise ModelError(
                    f"the model that was handed in has another parameter at {name.strip('.')!r} than when it was "
                    "loaded, which has no effect on the hooked model: edit the numbers of the parameter in place, "
                    "replace the parameter of model.twin instead, or load the model again"
                )
