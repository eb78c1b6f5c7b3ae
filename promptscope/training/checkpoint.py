"""Checkpoints: one file from which a run continues as if it had not been interrupted."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from promptscope.errors import RunError
from promptscope.files import content_hash, tensor_hash, write_tensors


def write_checkpoint(path: Path, prompt: nn.Module, optimizer: Optimizer, progress: dict[str, Any]) -> None:
    """Write parameters, optimiser state and *progress* to one file, atomically, so that they belong together."""
    tensors: dict[str, Tensor] = {f"prompt/{name}": value for name, value in prompt.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    # Training itself draws nothing at random (the order of records follows from seed and step, the model is in
    # evaluation mode); torch's state is kept for hooks of the user's that do.
    tensors["rng/torch"] = torch.get_rng_state()
    device = next(prompt.parameters()).device
    if device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(device)
    written = json.dumps(progress)
    write_tensors(path, tensors, {"progress": written, "checksum": _checksum(tensors, written)})


def _checksum(tensors: dict[str, Tensor], progress: str) -> str:
    return content_hash({"progress": progress, "tensors": {name: tensor_hash(t) for name, t in tensors.items()}})


def read_checkpoint(path: Path, prompt: nn.Module, optimizer: Optimizer, run: str | None = None) -> dict[str, Any]:
    """Restore parameters, optimiser and random state from a checkpoint, and return its *progress*.

    Raises:
        RunError: the file is damaged, or belongs to a prompt of another shape or to another run than *run*.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata = file.metadata()
            progress = json.loads(metadata["progress"])
            if metadata["checksum"] != _checksum(tensors, metadata["progress"]):
                raise ValueError("its content does not agree with its checksum")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{str(path)!r} is damaged ({error}): delete the run's folder and train again") from error
    if run is not None and progress.get("run", run) != run:
        raise RunError(
            f"{str(path)!r} is of another run than the config.json beside it: put the right one back, or delete the "
            "run's folder and train again"
        )
    with torch.no_grad():
        for name, parameter in prompt.named_parameters():
            saved = tensors.get(f"prompt/{name}")
            if saved is None or saved.shape != parameter.shape:
                raise RunError(
                    f"{str(path)!r} does not hold {name} of shape {tuple(parameter.shape)}: delete the run's folder "
                    "and train again"
                )
            parameter.copy_(saved)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, *rest = key.split("/")
        if kind == "optimizer":
            state.setdefault(int(rest[0]), {})[rest[1]] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["rng/torch"])
    device = next(prompt.parameters()).device
    if device.type == "cuda" and "rng/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng/cuda"], device)
    return progress
