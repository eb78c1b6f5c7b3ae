"""Prompts on the Hugging Face Hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from promptscope.errors import PromptError

if TYPE_CHECKING:
    from promptscope.prompts.prompt import Prompt

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_FILES = ["*.json", "*.safetensors"]


def is_repository(name: str) -> bool:
    """Return whether *name* has the form of a Hub repository: `user/name`, or `user/name@revision`.

    >>> is_repository("me/my-prompt"), is_repository("runs/a/prompt"), is_repository("./here")
    (True, False, False)
    """
    return _REPOSITORY.fullmatch(name) is not None and not name.startswith(".")


def download_prompt(name: str) -> Path:
    """Download the prompt of a Hub repository, unless it is in the local cache, and return its folder.

    Raises:
        PromptError: there is no such repository, it may not be read, or there is no network.
    """
    from huggingface_hub import snapshot_download

    repo_id, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=_FILES))
    except Exception as error:  # whatever the network, the Hub or its client says
        raise PromptError(
            f"there is no prompt folder {name!r} here, and {name!r} could not be downloaded from the Hugging Face Hub "
            f"({_said(error)}). Check the name and the network; a private repository needs `hf auth login`"
        ) from error


def push_prompt(prompt: Prompt, repo_id: str, private: bool, token: str | None) -> str:
    """Implement `Prompt.push_to_hub`; the arguments are the same."""
    from huggingface_hub import HfApi

    if not is_repository(repo_id) or "@" in repo_id:
        raise PromptError(f"repo_id must have the form 'user/name', got {repo_id!r}")
    with tempfile.TemporaryDirectory(prefix="promptscope-push-") as folder:
        prompt.save(folder)
        (Path(folder) / "README.md").write_text(_card(prompt, repo_id), encoding="utf-8")
        try:
            api = HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Soft prompt")
        except Exception as error:
            raise PromptError(
                f"the prompt could not be written to {repo_id!r} on the Hugging Face Hub ({_said(error)}). Check the "
                "network, and that the token of `hf auth login` may write there; prompt.save(folder) saves it locally"
            ) from error
    return f"https://huggingface.co/{repo_id}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _card(prompt: Prompt, repo_id: str) -> str:
    model = prompt.provenance.get("model")
    return (
        f"---\nlibrary_name: promptscope\nbase_model: {model}\ntags: [soft-prompt]\n---\n\n"
        f"# {repo_id.partition('/')[2]}\n\nA soft prompt for `{model}`: `{prompt!r}`.\n\n"
        "```python\nimport promptscope as ps\n\n"
        f'model = ps.load_model("{model}")\nprompt = ps.load_prompt("{repo_id}", model)\n```\n'
    )
