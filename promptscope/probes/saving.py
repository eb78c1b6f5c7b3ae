"""Probe results on disk: numbers as safetensors, everything else as JSON."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from promptscope.errors import ProbeError
from promptscope.files import read_sealed, write_sealed, write_tensors
from promptscope.probes.result import ProbeResult

_TENSORS, _ABOUT = "result.safetensors", "result.json"
_FIELDS = ("name", "title", "units", "direction", "range", "n_examples", "n_skipped", "provenance")


def save_result(result: ProbeResult, folder: str | os.PathLike[str]) -> dict[str, str]:
    """Write *result* to *folder*; the JSON is written last, so that a folder that has it is complete.

    Return the SHA-256 of each file that was written, by its name.
    """
    folder = Path(folder)
    data = result.data
    sha256 = write_tensors(
        folder / _TENSORS,
        {str(name): torch.from_numpy(np.array(array.values)) for name, array in data.data_vars.items()},
    )
    about = {name: getattr(result, name) for name in _FIELDS}
    about["dims"] = {str(name): list(map(str, array.dims)) for name, array in data.data_vars.items()}
    about["coords"] = {str(name): array.values.tolist() for name, array in data.indexes.items()}
    about["labels"] = {  # coordinates along another's dimension, such as each prompt's task
        str(name): [list(map(str, array.dims)), array.values.tolist()]
        for name, array in data.coords.items()
        if name not in data.indexes
    }
    about["attrs"] = {name: attrs for name, attrs in _attributes(data).items() if attrs}
    about["sha256"] = sha256
    return {_TENSORS: sha256, _ABOUT: write_sealed(folder / _ABOUT, about)}


def load_probe_result(folder: str | os.PathLike[str]) -> ProbeResult:
    """Read a result that `result.save(folder)` wrote.

    Raises:
        ProbeError: *folder* holds no result, or one that is incomplete or was changed; the message names the file.
    """
    folder = Path(folder)
    if not (folder / _ABOUT).is_file():
        raise ProbeError(f"{folder} holds no probe result: expected {_ABOUT} and {_TENSORS}, as result.save() writes")
    try:
        about = read_sealed(folder / _ABOUT, lambda found: set(_FIELDS) <= set(found))
        content = (folder / _TENSORS).read_bytes()
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            raise ProbeError(f"{folder / _TENSORS} was truncated or changed since it was saved: save the result again")
        tensors = load_safetensors(content)
        variables = {name: (tuple(dims), tensors[name]) for name, dims in about["dims"].items()}
        fields = {name: about[name] for name in _FIELDS}
        labels = {name: (tuple(dims), values) for name, (dims, values) in about.get("labels", {}).items()}
        data = xr.Dataset(variables, coords=about["coords"] | labels)
        for name, attrs in about.get("attrs", {}).items():
            (data[name] if name else data).attrs.update(attrs)
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise ProbeError(f"the probe result in {folder} is damaged ({error!r}): save it again") from error
    return ProbeResult(data=data, **(fields | {"range": tuple(fields["range"])}))


def _attributes(data: xr.Dataset) -> dict[str, dict[str, object]]:
    """Return name -> attributes of the variables and coordinates; "" stands for those of the whole."""
    return {"": dict(data.attrs), **{str(name): dict(array.attrs) for name, array in data.variables.items()}}
