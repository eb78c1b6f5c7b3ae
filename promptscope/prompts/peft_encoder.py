"""P-tuning's encoder in the folder of a PEFT adapter, if its weights are saved there, so that training can continue.

PEFT's `save_pretrained` stores the encoder's output only. To train further, its state dict has to be added to
`adapter_model.safetensors`, under PEFT's own names: `prompt_encoder.default.embedding.weight`, `...mlp_head.0.weight`
and so on; the words before `embedding`, `mlp_head` and `lstm_head` do not matter.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts.prompt import Prompt
from promptscope.prompts.reparameterisation import Lstm, Mlp
from promptscope.prompts.soft import SoftPrompt

_PARTS = ("embedding", "mlp_head", "lstm_head")


def take_encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the encoder's weights from *tensors* and return them under their names in the encoder."""
    encoder = {}
    for name in list(tensors):
        words = name.split(".")
        start = next((i for i, word in enumerate(words) if word in _PARTS), None)
        if "prompt_encoder" in words[:start] and start is not None:
            encoder[".".join(words[start:])] = tensors.pop(name).float()
    return encoder


def encoded_prompt(
    encoder: dict[str, Tensor], embeddings: Float[Tensor, "rows d_model"], config: dict[str, Any], path: Path
) -> SoftPrompt:
    """Return the reparameterised prompt of a P-tuning adapter.

    Raises:
        PromptError: the weights do not belong to the encoder that the configuration names, or do not compute the
            vectors in the adapter.
    """
    hidden, k = config.get("encoder_hidden_size"), config["num_virtual_tokens"]
    kind = config.get("encoder_reparameterization_type", "MLP")
    if config["peft_type"] != "P_TUNING" or not isinstance(hidden, int) or kind not in ("MLP", "LSTM"):
        raise PromptError(
            f"{str(path)!r} holds a prompt encoder, so that its configuration must have peft_type P_TUNING, encoder "
            f"type MLP or LSTM and an encoder_hidden_size, got {config['peft_type']}, {kind!r}, {hidden!r}: the "
            "adapter is damaged"
        )
    how = Mlp(hidden) if kind == "MLP" else Lstm(hidden, config.get("encoder_num_layers", 2))
    start = encoder.pop("embedding.weight", None)
    if start is None or start.shape != embeddings.shape:
        raise PromptError(
            f"{str(path)!r} holds a prompt encoder without its embedding of {len(embeddings)} vectors: add "
            "embedding.weight"
        )
    # An encoder-decoder's file has k more rows, which nothing reads. An LSTM reads them, though: they stay.
    if isinstance(how, Lstm) and len(start) != k:
        raise PromptError(
            f"{str(path)!r}: the LSTM encoder of an encoder-decoder runs over {len(start)} vectors, of which the model "
            f"uses {k}, and cannot be read. Delete the encoder's weights from the file to read the {k} vectors as a "
            "plain prompt"
        )
    prompt = SoftPrompt(length=k, reparameterisation=how)
    prompt.embedding = nn.Parameter(start[:k].clone())
    prompt._build_network()
    assert prompt.network is not None
    weights = {name.removeprefix("mlp_head.") if kind == "MLP" else name: x for name, x in encoder.items()}
    try:
        prompt.network.load_state_dict(weights)
    except RuntimeError as error:
        raise PromptError(
            f"{str(path)!r} does not hold the {kind} encoder that its configuration describes: {error}"
        ) from error
    with torch.no_grad():
        distance = (prompt.vectors() - embeddings[:k]).abs().max().item()
    if distance > 1e-4 * max(1.0, embeddings[:k].abs().max().item()):
        raise PromptError(
            f"the encoder in {str(path)!r} computes vectors that differ from the adapter's by up to {distance:.2g}: "
            "save both at the same training step"
        )
    return prompt


def has_encoder(prompt: Prompt, model: HookedModel) -> bool:
    """Return whether the prompt's network is one that PEFT supports as P-tuning's encoder."""
    kinds = isinstance(prompt.reparameterisation, Mlp | Lstm)
    return kinds and isinstance(prompt, SoftPrompt) and prompt.is_bound and model.family.kind != "seq2seq"


def written_encoder(prompt: SoftPrompt) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights (under PEFT's names) and settings of the prompt's network; both are empty for a plain prompt."""
    how = prompt.reparameterisation
    if not isinstance(how, Mlp | Lstm):
        return {}, {}
    assert prompt.network is not None
    before = "prompt_encoder.default."
    inside = before + ("mlp_head." if isinstance(how, Mlp) else "")
    weights = {
        inside + name: number.detach().float().contiguous() for name, number in prompt.network.state_dict().items()
    }
    weights[before + "embedding.weight"] = prompt.embedding.detach().float().clone()
    settings = {
        "peft_type": "P_TUNING",
        "encoder_reparameterization_type": "MLP" if isinstance(how, Mlp) else "LSTM",
        "encoder_hidden_size": how.hidden or prompt.embedding.shape[1],
        "encoder_num_layers": how.layers if isinstance(how, Lstm) else 2,
        "encoder_dropout": 0.0,
    }
    return weights, settings
