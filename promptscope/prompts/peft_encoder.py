"""P-tuning's encoder from an adapter's folder, where its weights are saved, so that training can go on.

PEFT's `save_pretrained` stores the encoder's output alone. Whoever wants to train on adds its state dict to
`adapter_model.safetensors`, under PEFT's own names: `prompt_encoder.default.embedding.weight`, `...mlp_head.0.weight`
and so on; the words before `embedding`, `mlp_head` and `lstm_head` are free.
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
    """Take the encoder's weights out of *tensors*; they get the names they have in the encoder."""
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
        PromptError: weights that are not those of the encoder that the configuration names, or that do not compute
            the vectors that the adapter holds.
    """
    hidden, k = config.get("encoder_hidden_size"), config["num_virtual_tokens"]
    kind = config.get("encoder_reparameterization_type", "MLP")
    if config["peft_type"] != "P_TUNING" or not isinstance(hidden, int) or kind not in ("MLP", "LSTM"):
        raise PromptError(
            f"{str(path)!r} holds a prompt encoder, which only P_TUNING has, of type MLP or LSTM and a given "
            f"encoder_hidden_size; got {config['peft_type']}, {kind!r}, {hidden!r}"
        )
    how = Mlp(hidden) if kind == "MLP" else Lstm(hidden, config.get("encoder_num_layers", 2))
    start = encoder.pop("embedding.weight", None)
    if start is None or start.shape != embeddings.shape:
        raise PromptError(f"{str(path)!r} holds a prompt encoder without its embedding of {len(embeddings)} vectors")
    # An encoder-decoder's file has k more rows, which nothing reads. An LSTM reads them, though: they stay.
    if isinstance(how, Lstm) and len(start) != k:
        raise PromptError(
            f"{str(path)!r}: the LSTM encoder of an encoder-decoder runs over {len(start)} vectors, of which the "
            f"model sees {k}. Delete its weights from the file to read the {k} vectors as a plain prompt"
        )
    prompt = SoftPrompt(length=k, reparameterisation=how)
    prompt.embedding = nn.Parameter(start[:k].clone())
    prompt._build_network()
    assert prompt.network is not None
    weights = {name.removeprefix("mlp_head.") if kind == "MLP" else name: x for name, x in encoder.items()}
    try:
        prompt.network.load_state_dict(weights)
    except RuntimeError as error:
        raise PromptError(f"{str(path)!r} does not hold the {kind} encoder of its configuration: {error}") from error
    with torch.no_grad():
        distance = (prompt.vectors() - embeddings[:k]).abs().max().item()
    if distance > 1e-4 * max(1.0, embeddings[:k].abs().max().item()):
        raise PromptError(
            f"the encoder in {str(path)!r} computes other vectors than the adapter's, by up to {distance:.2g}: the two "
            "are not of the same training step"
        )
    return prompt


def has_encoder(prompt: Prompt, model: HookedModel) -> bool:
    """Whether the prompt's network is one that PEFT has as P-tuning's encoder."""
    kinds = isinstance(prompt.reparameterisation, Mlp | Lstm)
    return kinds and isinstance(prompt, SoftPrompt) and prompt.is_bound and model.family.kind != "seq2seq"


def written_encoder(prompt: SoftPrompt) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of the prompt's network under PEFT's names, and its settings; nothing for a plain prompt."""
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
