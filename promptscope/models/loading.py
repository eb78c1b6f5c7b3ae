"""From a name, a folder or a Hugging Face model to a hooked model."""

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
from promptscope.models.checkpoints import check_weights
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
    """Load a frozen, hooked model and test it.

    Args:
        model: an embedded model's name, a local folder, a Hugging Face Hub name, or a loaded model. The weights of
            a loaded model are shared, not copied, and frozen; its modules and config are left alone. `torch.compile`
            and data-parallel wrappers are taken off; one with hooks, adapters or missing weights is refused.
        tokenizer: overrides the one that lies with the weights; a tokenizer, or a folder or name to load it from.
        device: default: where a loaded model is, else the GPU if there is one, else the CPU.
        dtype: default: the dtype of a loaded model; else float32 on the CPU and the checkpoint's own elsewhere.
        revision: of a Hub model.
        backend: what runs the model under hooks: `transformer_lens`, or `nnsight` (GPT-2, Llama and BERT families),
            with the same hook points, prompts, probes and numbers.
        remote: the model runs on a server of NDIF (`nnsight login` keeps the key), or on that of an address; needs
            `backend="nnsight"`. Only configuration, tokenizer and embeddings are loaded. Every pass is a request; a
            hook that edits costs one more, `backward` too.
        device_map: where accelerate puts the weights (`"auto"`, or module -> GPU, `"cpu"`, `"disk"`), for models that
            are larger than one memory; needs `backend="nnsight"`.
        offload_folder: for `device_map`, where weights go that lie on disk and not in safetensors.

    Raises:
        ModelError: unknown name, unsupported architecture, damaged files, a failed self-test, or a model that carries
            what would go on acting here (hooks, adapters, a replaced `forward`).

    >>> model = load_model("embedded-causal")
    >>> model.hook_points().head(1)["name"].item()
    'embed.hook_out'
    """
    elsewhere = bool(remote) or device_map is not None
    if elsewhere and (backend != "nnsight" or not isinstance(model, str | os.PathLike)):
        raise ModelError(
            "remote and device_map need backend='nnsight' and the name or folder of a checkpoint: TransformerLens' "
            "bridges, and models that are loaded already, have their weights here"
        )
    if remote and device_map is not None:
        raise ModelError("remote runs the model on a server, device_map here: give one of them")
    if everywhere := attached_everywhere():
        raise ModelError(
            f"a hook is attached to all modules there are ({everywhere[0].kind}: "
            f"{getattr(everywhere[0].function, '__qualname__', everywhere[0].function)}), under which a model would be "
            "measured: take it off while the model is loaded (handle.remove()), and attach it afterwards"
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
    """Make a hooked model of a loaded one."""
    check_supported(type(model).__name__)
    name = str(model.config._name_or_path or type(model).__name__)
    types = {parameter.dtype for parameter in model.parameters()}
    if dtype is None and len(types) > 1:
        raise ModelError(
            f"the model's weights are of several types, {sorted(map(str, types))}: choose one, "
            f"dtype={str(model.dtype)!r}"
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
    """Make a hooked model of files."""
    where = _resolve(name)
    config = _config(where, name, revision)
    architecture, named = class_of_checkpoint(config), str((config.architectures or [""])[0])
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    twin = _from_pretrained(where, architecture, named, name, revision, dtype, device)
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
            f"config.json of {name!r} says is_decoder: as a causal model, {type(twin).__name__} is not supported"
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
            f"transformer-lens has no bridge for {name!r} as its config.json says ({said}): an option of it, such as "
            "add_cross_attention, or attention_bias on GPT-NeoX, is not the usual one, or the layers of a "
            f"{type(twin).__name__} are of several kinds"
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
        raise ModelError(f"no model {shortened(name)!r}: a name or a folder is shorter than {len(name)} characters")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"folder {name!r} holds no config.json: expected one written by save_pretrained")
        return str(path)
    if path.is_file():
        raise ModelError(f"{name!r} is a file: expected the folder that holds config.json and the weights")
    # Names that no Hub model can have: without a network, asking would take half a minute to fail.
    if name.startswith("embedded-"):
        known = ", ".join(EMBEDDED_MODELS)
        raise ModelError(f"no embedded model {name!r}.{nearest(name, EMBEDDED_MODELS)} There are: {known}")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"no folder {name!r}: expected one written by save_pretrained, with config.json and the weights"
        )
    return name


def _config(where: str, name: str, revision: str | None) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(where, revision=revision)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{name!r} comes with code of its own, which promptscope does not run: load it yourself, "
                "AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True), and pass the model, "
                "ps.load_model(model, tokenizer); its class must be one that transformer-lens has a bridge for"
            ) from error
        if is_there(where):
            raise ModelError(
                f"config.json of {name!r} is damaged or not a model's: {_first_line(error)} Restore it, or save the "
                "model again with save_pretrained"
            ) from error
        raise ModelError(
            f"no model {shortened(name)!r}: not an embedded model ({', '.join(EMBEDDED_MODELS)}), not a folder here, "
            f"and the Hub did not give it.{nearest(name, EMBEDDED_MODELS)} Original error: {_first_line(error)}"
        ) from error
    if not config.architectures:
        raise ModelError(f"config.json of {name!r} names no architecture; expected one like 'GPT2LMHeadModel'")
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else type(quantised).__name__
        raise ModelError(
            f"the weights of {name!r} are quantised ({method}): hooks and packed passes need float32, bfloat16 or "
            "float16. Load the checkpoint that it was made from, or dequantise it, model.dequantize(), and save that"
        )
    return config


def _from_pretrained(
    where: str,
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
            where, revision=revision, dtype=wanted, output_loading_info=True, **fixed
        )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the weights of {name!r} cannot be read: {str(error).splitlines()[0]} If a download was interrupted, "
            "delete the damaged file and load again."
        ) from error
    check_weights(report["missing_keys"], report["unexpected_keys"], model, named, name)
    if damaged := next((key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()), None):
        raise ModelError(
            f"{damaged} of {name!r} holds NaN or infinity: the checkpoint is damaged, or its numbers are too large for "
            f"{model.dtype} (load it with dtype='float32')"
        )
    # transformers keeps some weights of T5 in float32, the others in float16; the bridge needs one type for all.
    nn.Module.to(model, device=device, dtype=model.dtype)
    return model


def _load_tokenizer(where: str, revision: str | None) -> PreTrainedTokenizerBase | None:
    # Models without a tokenizer are useful (token ids in, logits out); text then raises ModelError.
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
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


def _named_tokenizer(name: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    where = _resolve(str(name)) if str(name) in EMBEDDED_MODELS else str(name)
    found = _load_tokenizer(where, None)
    if found is None:
        raise ModelError(
            f"no tokenizer at {str(name)!r}: give a folder or name that holds one, or "
            "AutoTokenizer.from_pretrained(...)"
        )
    return found


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.empty(0, device=name).device
        if device.type == "meta":
            raise ModelError("the device 'meta' holds no numbers, so nothing can run on it: use cpu or cuda")
        return device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"no device {str(name)!r} here: {str(error).splitlines()[0]}") from error


def _dtype(name: str) -> torch.dtype:
    value = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise ModelError(f"dtype must be float32, bfloat16, float16 or float64, not {name!r}")
    return value
