"""Loading a hooked model by name, from a folder, or from a Hugging Face model."""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from promptscope.checks import checked
from promptscope.errors import ModelError, PromptscopeError, nearest, shortened
from promptscope.files import is_there
from promptscope.models.architectures import check_supported, class_of_checkpoint
from promptscope.models.attached import attached_everywhere
from promptscope.models.checkpoints import (
    check_counts,
    check_sizes,
    check_total,
    check_types,
    check_weights,
    weight_files,
)
from promptscope.models.elsewhere import load_elsewhere
from promptscope.models.handed_in import changed_attributes, unwrapped
from promptscope.models.hooked import HookedModel
from promptscope.models.making import Backend, hooked_model
from promptscope.models.modes import own_modes
from promptscope.models.twin import share_weights

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
_LONGEST_NAME = 500
_LOADING = RLock()

EMBEDDED_MODELS: dict[str, str] = {
    "embedded-causal": "causal",
    "embedded-seq2seq": "seq2seq",
    **{f"embedded-masked-{seed}": f"masked-{seed}" for seed in range(5)},
}
"""Names of the small models inside the package and their folders."""


@checked(
    hints={
        "model": "Give a name, a folder, or a Hugging Face PreTrainedModel.",
        "tokenizer": "Load it first: AutoTokenizer.from_pretrained(...).",
    }
)
def load_model(
    model: str | os.PathLike[str] | nn.Module,
    tokenizer: PreTrainedTokenizerBase | str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    backend: Backend = "transformer_lens",
    remote: bool | str = False,
    device_map: str | Mapping[str, Any] | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
) -> HookedModel:
    """Load a frozen transformer with hook points, and test that the hook points act as documented.

    Args:
        model: the name of an embedded model (`ps.EMBEDDED_MODELS`), a local folder, a Hugging Face Hub name, or a
            loaded transformers model. The weights of a loaded model are shared, not copied, and are frozen; its modules
            and config stay unchanged. Wrappers of `torch.compile` and data parallelism are removed.
        tokenizer: a tokenizer, or the folder or name to load one from; by default the one in the model's folder.
        device: by default the device of a loaded model; otherwise the GPU if there is one, and the CPU if not.
        dtype: by default the dtype of a loaded model; otherwise float32 on the CPU, and the checkpoint's dtype on a
            GPU.
        revision: branch, tag or commit of a Hub model.
        backend: the library that runs the model with hooks: `transformer_lens`, or `nnsight` (GPT-2, Llama and BERT
            families). Both have the same hook points and give the same numbers.
        remote: True runs the model on the server of NDIF (the key is stored by `nnsight login`), a string on the server
            at this address; needs `backend="nnsight"`. Only configuration, tokenizer and embeddings are loaded here.
            Every pass is a request to the server; each hook that edits and each `backward` costs one more.
        device_map: where accelerate places the weights (`"auto"`, or a dict from module to GPU number, `"cpu"` or
            `"disk"`), for models larger than the memory of one device; needs `backend="nnsight"`.
        offload_folder: for `device_map`, the folder for weights placed on disk that are not in safetensors files.

    Raises:
        ModelError: the name is unknown, the architecture is not supported, files are damaged, the self-test failed, or
            a loaded model has hooks, adapters, a replaced `forward` or missing weights.

    >>> model = load_model("embedded-causal")
    >>> model.hook_points().head(1)["name"].item()
    'embed.hook_out'
    """
    elsewhere = bool(remote) or device_map is not None
    if elsewhere and (backend != "nnsight" or not isinstance(model, str | os.PathLike)):
        raise ModelError(
            "remote and device_map need backend='nnsight' and the name or folder of a checkpoint, got "
            f"backend={backend!r} and model of type {type(model).__name__}"
        )
    if remote and device_map is not None:
        raise ModelError("give remote (the model runs on a server) or device_map (it runs on this machine), not both")
    if everywhere := attached_everywhere():
        raise ModelError(
            f"a global PyTorch hook is registered for all modules ({everywhere[0].kind}: "
            f"{getattr(everywhere[0].function, '__qualname__', everywhere[0].function)}), which would change the "
            "measurements at loading: remove it (handle.remove()), load the model, and register it again"
        )
    if isinstance(dtype, str):
        dtype = _dtype(dtype)
    if device is not None:
        device = _device(device)
    # Building a model draws numbers, which are not the caller's concern; nor are the modes of the caller the model's.
    # One thread at a time: transformers and we change settings of the whole process meanwhile.
    with _LOADING, torch.random.fork_rng(), own_modes(), _default_dtype(torch.float32):
        if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer = _named_tokenizer(tokenizer)
        if elsewhere:
            where = _resolve(str(model))
            config = _config(where, str(model), revision)
            tokenizer = tokenizer or _load_tokenizer(where, revision)
            return load_elsewhere(
                where, config, str(model), tokenizer, dtype, revision, remote, device_map, offload_folder
            )
        if isinstance(model, str | os.PathLike):
            return _load_files(str(model), tokenizer, device, dtype, revision, backend)
        model = unwrapped(model)
        hooked = _take(model, tokenizer, device, dtype, revision, backend)
        hooked.changed_attributes = changed_attributes(model)
        return hooked


def _take(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    device: torch.device | None,
    dtype: torch.dtype | None,
    revision: str | None,
    backend: Backend,
) -> HookedModel:
    """Make a hooked model of a loaded transformers model."""
    check_supported(type(model).__name__)
    name = str(model.config._name_or_path or type(model).__name__)
    types = {parameter.dtype for parameter in model.parameters()}
    if dtype is None and len(types) > 1:
        raise ModelError(
            f"the model's weights have several dtypes, {sorted(map(str, types))}: choose one, for instance "
            f"ps.load_model(model, dtype={str(model.dtype).removeprefix('torch.')!r})"
        )
    if (device or model.device) == model.device and {dtype or model.dtype} == types:
        return _hooked(share_weights(model), tokenizer, name, revision, backend, source=model)
    # .to() replaces the storage of parameters in place, so the caller's model must not be the one moved.
    twin = copy.deepcopy(model)
    nn.Module.to(twin, device=device, dtype=dtype)  # PreTrainedModel.to hides its signature
    return _hooked(twin, tokenizer, name, revision, backend)


def _load_files(
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    device: torch.device | None,
    dtype: torch.dtype | None,
    revision: str | None,
    backend: Backend,
) -> HookedModel:
    """Make a hooked model from a checkpoint's files."""
    where = _resolve(name)
    config = _config(where, name, revision)
    architecture, named = class_of_checkpoint(config), str((config.architectures or [""])[0])
    weights = weight_files(where, revision)
    check_total(architecture, config, weights, name)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    twin = _from_pretrained(where, weights, architecture, named, name, revision, dtype, device)
    return _hooked(twin, tokenizer or _load_tokenizer(where, revision), name, revision, backend)


def _hooked(
    twin: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    name: str,
    revision: str | None,
    backend: Backend,
    source: PreTrainedModel | None = None,
) -> HookedModel:
    twin = twin.eval().requires_grad_(False)
    twin.config.return_dict = True  # the twin has a configuration of its own
    inner = getattr(twin, "model", None)
    if twin.base_model is twin and isinstance(inner, PreTrainedModel):
        twin.base_model_prefix = "model"  # Llama 4 names another module, which its text models do not have
    if getattr(twin.config, "is_decoder", False) and type(twin).__name__.endswith("ForMaskedLM"):
        raise ModelError(
            f"config.json of {name!r} sets is_decoder=True, but a {type(twin).__name__} is supported as a masked model "
            "only: set is_decoder=False, or load its class for causal models"
        )
    embedding: Any = twin.get_input_embeddings()
    start, n = getattr(twin.config, "decoder_start_token_id", None), len(embedding.weight)
    # Models that only decode may have the entry too, and it says nothing there.
    decodes = bool(getattr(twin.config, "is_encoder_decoder", False)) and start is not None
    if decodes and (type(start) is not int or not 0 <= start < n):
        raise ModelError(
            f"config.json of {name!r} has decoder_start_token_id={start!r}, the token with which a decoder starts: "
            f"expected a token id, 0..{n - 1} (for T5, its pad token)"
        )
    try:
        return hooked_model(twin, tokenizer, name, revision, backend, source)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, PromptscopeError):
            raise
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ModelError(
            f"transformer-lens cannot make a bridge for {name!r} with its config.json ({said}): it does not support an "
            "option there (such as add_cross_attention, or attention_bias on GPT-NeoX), or a "
            f"{type(twin).__name__} with layers of several kinds. Use a checkpoint with the usual options"
        ) from error


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _resolve(name: str) -> str:
    if name in EMBEDDED_MODELS:
        return str(files("promptscope") / "embedded" / EMBEDDED_MODELS[name])
    path = Path(name).expanduser()
    if not is_there(path) and len(name) > _LONGEST_NAME:
        raise ModelError(
            f"no model {shortened(name)!r}: expected a name or folder of at most {_LONGEST_NAME} characters, got "
            f"{len(name)}"
        )
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"folder {name!r} holds no config.json: expected a folder that save_pretrained wrote")
        return str(path)
    if path.is_file():
        raise ModelError(f"{name!r} is a file: expected the folder that holds config.json and the weights")
    # Names that no Hub model can have: without a network, asking would take half a minute to fail.
    if name.startswith("embedded-"):
        known = ", ".join(EMBEDDED_MODELS)
        raise ModelError(f"no embedded model {name!r}.{nearest(name, EMBEDDED_MODELS)} Known: {known}")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"there is no folder {name!r}: expected one that save_pretrained wrote, with config.json and the weights"
        )
    return name


def _config(where: str, name: str, revision: str | None) -> PreTrainedConfig:
    try:
        check_counts(PreTrainedConfig.get_config_dict(where, revision=revision)[0], name)
        config = AutoConfig.from_pretrained(where, revision=revision)
    except ModelError:
        raise
    except Exception as error:  # transformers checks the entries by classes of errors that it does not export
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{name!r} needs code from its repository, which promptscope does not run: load it yourself, with "
                "AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True), and pass the model, "
                "ps.load_model(model, tokenizer). Its class must be one of ps.supported_architectures()"
            ) from error
        if is_there(where):
            raise ModelError(
                f"config.json of {name!r} is damaged or does not describe a model ({_said(error)}): restore it, or "
                "save the model again with save_pretrained"
            ) from error
        raise ModelError(
            f"no model {shortened(name)!r}: it is not an embedded model ({', '.join(EMBEDDED_MODELS)}) and not a "
            f"folder, and the Hub did not give it.{nearest(name, EMBEDDED_MODELS)} Original error: {_first_line(error)}"
        ) from error
    if not isinstance(config.architectures, list) or not config.architectures:
        raise ModelError(
            f"config.json of {name!r} has no entry 'architectures' that lists the model's class: add it, such as "
            "['GPT2LMHeadModel']"
        )
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else type(quantised).__name__
        raise ModelError(
            f"the weights of {name!r} are quantised ({method}), but promptscope needs float32, bfloat16 or float16: "
            "load the checkpoint from which it was made, or dequantise it with model.dequantize() and save the result"
        )
    return config


def _from_pretrained(
    where: str,
    weights: list[Path],
    architecture: Any,
    named: str,
    name: str,
    revision: str | None,
    dtype: torch.dtype | None,
    device: torch.device,
) -> PreTrainedModel:
    # Half precision on a CPU is slow and loses a quarter of the prompt's gradient: only if asked for.
    wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
    try:
        # Attention that is chosen once and for all is the eager one, which is what hook points show.
        fixed = {} if architecture._can_set_attn_implementation() else {"attn_implementation": "eager"}
        model, report = architecture.from_pretrained(
            where,
            revision=revision,
            dtype=wanted,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **fixed,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the weights of {name!r} cannot be read: {str(error).splitlines()[0]} If a download was interrupted, "
            "delete the damaged file and load the model again"
        ) from error
    except Exception as error:  # a class of transformers makes what it can of any entry of its configuration
        raise ModelError(
            f"no {architecture.__name__} can be made of {name!r} ({_said(error)}): "
            "restore the JSON files that were saved with the weights (config.json, generation_config.json, the index "
            "of the weights); if a download was interrupted, delete the damaged file and load the model again"
        ) from error
    check_types(weights, model, name)
    check_sizes(report["mismatched_keys"], architecture.__name__, name)
    check_weights(report["missing_keys"], report["unexpected_keys"], model, named, name)
    if damaged := next((key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()), None):
        raise ModelError(
            f"the weight {damaged} of {name!r} holds NaN or infinity: the checkpoint is damaged, or its numbers are "
            f"too large for {model.dtype} (then load it with dtype='float32')"
        )
    # transformers keeps some weights of T5 in float32, the others in float16; the bridge needs one type for all.
    nn.Module.to(model, device=device, dtype=model.dtype)
    return model


def _load_tokenizer(where: str, revision: str | None) -> PreTrainedTokenizerBase | None:
    # Models without a tokenizer are useful (token ids in, logits out); text then raises ModelError.
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
        tokenizer("a")  # some entries of its configuration show only now
    except Exception as error:  # the tokenizers library raises plain Exception for a damaged file
        if there := [file for file in _TOKENIZER_FILES if (Path(where) / file).is_file()]:
            raise ModelError(
                f"the tokenizer in {where!r} ({', '.join(there)}) cannot be read: {_first_line(error)} Restore its "
                "files, or pass tokenizer=..."
            ) from error
        return None
    # Where there are no tokenizer files, transformers makes one that knows special tokens (T5: and "▁") only.
    words = len(tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens))
    return tokenizer if words > 1 else None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _said(error: BaseException) -> str:
    return shortened(f"{type(error).__name__}: {' '.join(str(error).split())}", 200)


def _named_tokenizer(name: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    where = _resolve(str(name)) if str(name) in EMBEDDED_MODELS else str(name)
    found = _load_tokenizer(where, None)
    if found is None:
        raise ModelError(
            f"no tokenizer at {str(name)!r}: give a folder or Hub name that has one, or a tokenizer, such as "
            "AutoTokenizer.from_pretrained(...)"
        )
    return found


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.empty(0, device=name).device
        if device.type == "meta":
            raise ModelError(
                "a model cannot run on the device 'meta', whose tensors have no values: use 'cpu' or 'cuda'"
            )
        return device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"there is no device {str(name)!r} on this machine: {str(error).splitlines()[0]}") from error


def _dtype(name: str) -> torch.dtype:
    value = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise ModelError(f"dtype must be 'float32', 'bfloat16', 'float16' or 'float64', got {name!r}")
    return value
