"""All prompts below a folder, in any known format; files that cannot be read are named, and the others are read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from promptscope.comparison.vectors import PromptVectors, vectors_of
from promptscope.errors import PromptError, PromptscopeError
from promptscope.prompts import load_prompt, read_torch
from promptscope.prompts.peft_io import is_peft_folder
from promptscope.prompts.tensors import check_archive, read_tensors
from promptscope.training import Run
from promptscope.training.folder import is_finished

_TORCH = (".pt", ".pth", ".bin")
SUFFIXES = (".npy", ".npz", ".safetensors", *_TORCH)


def read_vectors(folder: str | os.PathLike[str]) -> tuple[list[PromptVectors], dict[str, str]]:
    """Return the prompts below *folder* by their paths, and name -> reason for each file that was left out.

    What is read:

    - saved prompts and runs of promptscope (of a run, its last prompt), and PEFT adapters;
    - `.npy`, `.npz`, `.safetensors`, and those `.pt`, `.pth` and `.bin` files that PyTorch reads without running code:
      every array (k, d) in them, also inside lists and dicts. Of a file with several arrays, each gets the name
      `FILE:KEY`.

    A folder that is reached by several links is read once.

    Raises:
        PromptError: no such folder, or no prompt in it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "mine.npy", np.ones((4, 160), dtype=np.float32))
    ...     prompts, left_out = read_vectors(folder)
    >>> [prompt.name for prompt in prompts], left_out
    (['mine.npy'], {})
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PromptError(f"{str(folder)!r} is not a folder: name one that holds prompts ({', '.join(SUFFIXES)}, PEFT)")
    found: list[PromptVectors] = []
    left_out: dict[str, str] = {}
    for path in _places(folder):
        name = path.relative_to(folder).as_posix() if path != folder else folder.name
        name = os.fsencode(name).decode(errors="replace")  # a name may be of bytes that are no text
        try:
            found += vectors_of({name if key is None else f"{name}:{key}": value for key, value in _open(path).items()})
        except PromptscopeError as error:
            left_out[name] = str(error)
        # Files of other people can be broken in ways nobody thought of: this one is named, the others are read.
        except Exception as error:
            left_out[name] = f"cannot be read ({type(error).__name__}: {error})"
    if not found:
        reasons = " ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise PromptError(
            f"no prompt below {str(folder)!r}: expected files {', '.join(SUFFIXES)}, or folders "
            f"written by promptscope or PEFT. {reasons}"
        )
    return found, left_out


def _places(folder: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """Yield the folders and files that are prompts; what is inside a folder that is a prompt belongs to it."""
    seen = set() if seen is None else seen
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    if _is_run(folder) or (folder / "prompt.json").is_file() or is_peft_folder(folder):
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _places(path, seen)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "prompts").is_dir()


def _open(path: Path) -> dict[str | None, Any]:
    """Return what a file or folder holds; the key is None where it is one prompt."""
    if path.is_dir() and _is_run(path) and is_finished(path):
        return {None: Run(path).prompt}
    if path.is_dir():
        return {None: load_prompt(path / "prompts" / "last" if _is_run(path) else path, strict=False)}
    if not path.is_file():  # a pipe would be waited for
        raise PromptError("expected a file, got a link to nothing" if path.is_symlink() else "expected a file")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {None: np.load(path, allow_pickle=False)}
    if suffix == ".npz":
        try:
            check_archive(path)
        except zipfile.BadZipFile as error:
            raise PromptError(f"cannot be read as .npz ({error})") from error
        with np.load(path, allow_pickle=False) as arrays:
            values: dict[str, Any] = dict(arrays)
    elif suffix == ".safetensors":
        values = dict(read_tensors(path))
    else:
        values = _flat(read_torch(path))
    matrices = {str(key): value for key, value in values.items() if getattr(value, "ndim", 0) in (1, 2, 3)}
    if not matrices:
        kinds = ", ".join(f"{key or 'a'}: {type(value).__name__}" for key, value in values.items())
        raise PromptError(f"expected at least one array (tokens, width), found only {kinds or 'nothing'}")
    return {None if len(matrices) == 1 else key: value for key, value in matrices.items()}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return what nested dicts and lists hold, by keys such as `a.0`."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = dict(enumerate(value)).items()
    else:
        return {key: value}
    return {name: one for k, v in inner for name, one in _flat(v, f"{key}.{k}" if key else str(k)).items()}
