"""Prompts and encoded toy records for tests of interventions, and what the definition says of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from promptscope.inference.batches import encode_split
from promptscope.interventions import cut, mean, remove, zero
from promptscope.models import HookedModel
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.tasks import IGNORED, Batch, Encoded, collate
from tests.training.toy import PAD, toy_task

K = 4
PROMPTS = {
    "v1": lambda: SoftPrompt(K, seed=1),
    "v2 untied": lambda: DeepPrompt(K, seed=1),
    "v2 tied": lambda: DeepPrompt(K, tied=True, seed=1),
    "v2 in some layers": lambda: DeepPrompt(K, layers=[2, 0], seed=1),
}
HOWS = {"zero": zero, "mean": mean, "remove": remove, "cut": cut}
# Llama takes its norms in float32 whatever the dtype; the bridge and Hugging Face in another order of operations.
EXACT = {family: 1e-6 if family == "llama" else 1e-9 for family in ("gpt2", "llama", "gpt_neox", "bert", "t5")}


def examples(model: HookedModel, n: int = 3) -> list[Encoded]:
    """Encode toy records of different lengths, which begin with the same token."""
    return list(encode_split(model, None, toy_task(), "test", limit=n))


def as_batch(records: Sequence[Encoded]) -> Batch:
    return collate(list(records), PAD)


def by_hooks(model: HookedModel, records: Sequence[Encoded], prompt: Prompt | None) -> Tensor:
    """Return the logits at the targets, record by record without padding, as the hooked model gives them."""
    rows = []
    for one in records:
        decoder = None if one.decoder_input_ids is None else torch.tensor([one.decoder_input_ids])
        logits = model.logits(torch.tensor([one.input_ids]), None, prompt, via="hooks", decoder_input_ids=decoder)
        rows.append(logits[0][torch.tensor(one.targets) != IGNORED])
    return torch.cat(rows)
