"""Prompts on disk: numbers in safetensors, settings and provenance in JSON."""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from promptscope.checks import checked
from promptscope.errors import PromptError, shortened
from promptscope.files import (
    content_hash,
    is_there,
    nearest_file,
    read_sealed,
    sha256_file,
    write_sealed,
    write_tensors,
)
from promptscope.models import HookedModel
from promptscope.models.modes import own_modes
from promptscope.prompts.deep import DeepPrompt
from promptscope.prompts.edited import EditedPrompt
from promptscope.prompts.finite import check_finite_prompt
from promptscope.prompts.hub import download_prompt, is_repository
from promptscope.prompts.peft_io import is_peft_folder, read_peft
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.soft import SoftPrompt
from promptscope.prompts.tensors import read_tensors
from promptscope.prompts.vector_files import read_vectors
from promptscope.prompts.wayward import WaywardPrompt

_FORMAT = "promptscope.prompt.v1"
_KINDS: dict[str, type[Prompt]] = {
    kind.__name__: kind for kind in (SoftPrompt, DeepPrompt, WaywardPrompt, EditedPrompt)
}
K = TypeVar("K", bound=type[Prompt])


@checked()
def register_prompt(kind: K) -> K:
    """Register a prompt class of your own, so that its prompts can be saved, loaded and trained; usable as a decorator.

    A prompt is saved as its `settings()` and its parameters. It is loaded as `kind(**settings)`, and then gets the
    saved parameters by their names, so that these two must determine everything that the prompt does.

    Raises:
        PromptError: another registered class has the same name.

    >>> import torch, promptscope as ps
    >>> @ps.register_prompt
    ... class Doubled(ps.Prompt):
    ...     def settings(self):
    ...         return {"length": self.length}
    ...     def place(self, model):
    ...         return ps.Placement(self.length, 2 * self.bind(model).directions)
    ...     def _create(self, model, generator):
    ...         self.directions = torch.nn.Parameter(torch.randn(self.length, model.shape.d_model, generator=generator))
    ...     def _check_fit(self, model):
    ...         pass
    >>> Doubled(3).hooks(ps.load_model("embedded-causal"))[0][0]
    'embed.hook_out'
    """
    known = _KINDS.setdefault(kind.__name__, kind)
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise PromptError(
            f"a prompt class with the name {kind.__name__!r} exists in {known.__module__}: choose another name"
        )
    _KINDS[kind.__name__] = kind  # a module that is loaded again defines its class again
    return kind


def need_saver(prompt: Prompt) -> None:
    """Raise PromptError if the prompt's class is not registered and could not be saved; called before training."""
    if _KINDS.get(type(prompt).__name__) is not type(prompt):
        raise PromptError(
            f"a {type(prompt).__name__} cannot be saved, as its class is not registered: save the prompt from which it "
            f"was made, or register the class with ps.register_prompt (registered: {', '.join(_KINDS)})"
        )


class OtherWeightsWarning(UserWarning):
    """A prompt is loaded with a model that has the embeddings of the prompt's model, but other weights elsewhere.

    The prompt can be used; scores that were measured on the other model do not hold for this one.

    >>> import promptscope as ps
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ps.OtherWeightsWarning)  # refuse such a prompt
    ...     _ = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
    """


@checked()
def versions() -> dict[str, str]:
    """Return the versions of the packages that determine a prompt's numbers, by name.

    >>> list(versions())
    ['promptscope', 'torch', 'transformers', 'transformer-lens']
    """
    return {name: version(name) for name in ("promptscope", "torch", "transformers", "transformer-lens")}


def save_prompt(prompt: Prompt, folder: str | os.PathLike[str]) -> dict[str, str]:
    """Write *prompt* to *folder*; `prompt.json` is written last, so that a folder with this file is complete.

    Return the SHA-256 of each file that was written, by its path within *folder*.
    """
    if not prompt.is_bound:
        raise PromptError("an unbound prompt has no numbers to save: call prompt.bind(model) or train it first")
    need_saver(prompt)
    check_finite_prompt(prompt)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise PromptError(f"a prompt is saved as a folder, and {str(folder)!r} is a file: give another path")
    sha256 = write_tensors(folder / "prompt.safetensors", dict(prompt.named_parameters()))
    written = {"prompt.safetensors": sha256}
    if prompt.reparameterisation is not None:  # for those who only want to use it
        plain = prompt.plain()
        plain.provenance = prompt.provenance | {"folded": prompt.content_hash()}
        written |= {f"folded/{name}": each for name, each in save_prompt(plain, folder / "folded").items()}
    description = {
        "format": _FORMAT,
        "type": type(prompt).__name__,
        "settings": prompt.settings(),
        "sha256": sha256,
        "provenance": prompt.provenance | {"versions": versions()},
    }
    return written | {"prompt.json": write_sealed(folder / "prompt.json", description)}


@checked()
@own_modes()
def load_prompt(folder: str | os.PathLike[str], model: HookedModel | None = None, strict: bool = True) -> Prompt:
    """Load a prompt from a folder, a file or the Hugging Face Hub.

    Args:
        folder: a folder written by `Prompt.save` or by PEFT (`prompt_tuning`, `p_tuning`, `prefix_tuning`); or a file
            (`.pt`, `.npy`, `.safetensors`) with the embeddings `(k, d_model)` of an input-level prompt; or
            `"user/name"`, a repository of the Hub. Files are read without running code from them.
        model: the model to bind the prompt to; without it, the prompt is bound to the first model it is used with.
        strict: whether the model must have the embedding matrix for which the prompt was made.

    With equal embeddings and other weights elsewhere, there is an OtherWeightsWarning.

    Raises:
        PromptError: there is no prompt, a file is damaged or of another kind, the prompt was made for another model, or
            the Hub cannot be reached.

    >>> import tempfile, promptscope as ps
    >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prompt.save(folder)
    ...     ps.load_prompt(folder).content_hash() == prompt.content_hash()
    True
    """
    place, folder = os.fspath(folder), Path(folder)
    if is_there(folder) and folder.is_file():
        prompt: Prompt = read_vectors(folder)
    else:
        if not is_there(folder) and is_repository(place):
            folder = download_prompt(place)
        if not is_there(folder) or not folder.is_dir():
            raise PromptError(
                f"no prompt folder {shortened(str(folder))!r}.{nearest_file(folder)} "
                "A prompt on the Hugging Face Hub is named 'user/name'"
            )
        # A prompt saved into the adapter's folder it came from is the newer one.
        ours = (folder / "prompt.json").is_file() or not is_peft_folder(folder)
        prompt = _read(folder) if ours else read_peft(folder)
    prompt.strict = strict
    if model is None:
        return prompt
    prompt.bind(model)
    made = prompt.provenance
    same_embedding = made.get("embedding_hash") == model.embedding_hash
    if same_embedding and made.get("weights_hash", model.weights_hash) != model.weights_hash:
        warnings.warn(
            f"the prompt in {str(folder)!r} was made on other weights than {model.name!r} has now (only the embeddings "
            "are equal): scores measured with those weights do not hold here, so evaluate the prompt again",
            OtherWeightsWarning,
            stacklevel=4,
        )
    return prompt


def saved_hash(folder: Path) -> str:
    """Return what tells the prompt in *folder* from others: its kind, settings and numbers, as they were saved."""
    description = _read_description(folder)
    return content_hash({name: description[name] for name in ("type", "settings", "sha256")})


def _read(folder: Path) -> Prompt:
    description = _read_description(folder)
    tensors_path = folder / "prompt.safetensors"
    # The file's tensors begin anywhere in memory, and a matrix product of the same numbers is another in its last bits
    # there: copies begin where the allocator lets all tensors begin.
    tensors = {name: tensor.clone() for name, tensor in read_tensors(tensors_path).items()}
    if sha256_file(tensors_path) != description["sha256"]:
        raise PromptError(
            f"{str(tensors_path)!r} was altered after it was saved (its checksum does not agree): restore the folder"
        )
    if wrong := [f"{name} in {tensor.dtype}" for name, tensor in tensors.items() if not tensor.is_floating_point()]:
        raise PromptError(
            f"{str(tensors_path)!r} must hold floating-point numbers, got {', '.join(wrong)}: restore the folder"
        )
    try:
        prompt = _unbound(description["type"], description["settings"])
    except (TypeError, KeyError, PromptError) as error:
        raise PromptError(
            f"the settings {description['settings']} in {str(folder / 'prompt.json')!r} are not those of a "
            f"{description['type']}: the folder is damaged or was written by another version"
        ) from error
    _fill(prompt, tensors, tensors_path)
    prompt.provenance = dict(description["provenance"])
    return prompt


def _unbound(kind: str, settings: dict[str, Any]) -> Prompt:
    """Return a prompt without its numbers; the settings may contain those of prompts from which it is made."""
    arguments: dict[str, Any] = {name: value for name, value in settings.items() if name != "keys_after_rotary"}
    for name in ("prompt", "other"):
        if isinstance(settings.get(name), dict):
            arguments[name] = _unbound(settings[name]["type"], settings[name]["settings"])
    prompt = _KINDS[kind](**arguments)
    if isinstance(prompt, DeepPrompt):
        prompt.keys_after_rotary = bool(settings.get("keys_after_rotary"))
    return prompt


def _fill(prompt: Prompt, tensors: dict[str, Tensor], path: Path) -> None:
    """Set the parameters of a prompt and of the prompts from which it is made."""
    for name, part in prompt.named_children():
        if isinstance(part, Prompt):
            mine = [one for one in tensors if one.startswith(f"{name}.")]
            _fill(part, {one.removeprefix(f"{name}."): tensors.pop(one) for one in mine}, path)
    if isinstance(prompt, SoftPrompt | DeepPrompt):
        _fill_known(prompt, tensors, path)
        return
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        setattr(prompt.get_submodule(owner), last, nn.Parameter(tensor))


def _fill_known(prompt: SoftPrompt | DeepPrompt, tensors: dict[str, Tensor], path: Path) -> None:
    networks = {name: tensors.pop(name) for name in list(tensors) if name.startswith(("network.", "networks."))}
    if isinstance(prompt, DeepPrompt):
        for name, tensor in tensors.items():
            if tensor.ndim != 3:
                raise PromptError(
                    f"{name} in {str(path)!r} has the shape {tuple(tensor.shape)}, expected (layer, position, "
                    "key or value): the folder is damaged"
                )
    elif set(tensors) != {"embedding"} or tensors["embedding"].shape[:-1] != (prompt.n_rows,):
        raise PromptError(
            f"{str(path)!r} must hold one tensor 'embedding' with {prompt.n_rows} rows, got {sorted(tensors)}: the "
            "folder is damaged"
        )
    prompt._set_tensors(tensors)
    prompt._build_network()
    mine = {name: number for name, number in prompt.named_parameters() if name.startswith(("network.", "networks."))}
    if {name: x.shape for name, x in mine.items()} != {name: x.shape for name, x in networks.items()}:
        raise PromptError(
            f"{str(path)!r} does not hold the network of {prompt.reparameterisation}: the folder is damaged"
        )
    for name, number in mine.items():
        number.data = networks[name]


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "prompt.json"
    if not path.is_file():
        run = (folder / "prompts").is_dir()
        hint = f": it is a run, give {str(folder / 'prompts' / 'last')!r} or use ps.load_run" if run else ""
        raise PromptError(f"{str(folder)!r} holds neither prompt.json (ours) nor adapter_config.json (PEFT){hint}")
    try:
        description = read_sealed(path, lambda found: found.get("format") == _FORMAT)
    except (OSError, ValueError) as error:
        raise PromptError(f"{str(path)!r} cannot be read ({error}): the folder is damaged") from error
    kinds = {"format": str, "type": str, "settings": dict, "sha256": str, "provenance": dict}
    if not isinstance(description, dict) or not set(kinds) <= set(description) or description["format"] != _FORMAT:
        raise PromptError(
            f"{str(path)!r} does not describe a prompt of promptscope (expected format {_FORMAT!r}): give another "
            "folder"
        )
    wrong = [name for name, kind in kinds.items() if not isinstance(description[name], kind)]
    if wrong:
        raise PromptError(f"{wrong[0]} in {str(path)!r} is {description[wrong[0]]!r}: the folder is damaged")
    if description["type"] not in _KINDS:
        raise PromptError(f"{str(path)!r} has the unknown type {description['type']!r}: expected one of {list(_KINDS)}")
    return description
