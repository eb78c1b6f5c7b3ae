"""The truth for training and scoring: bare Hugging Face models, `inputs_embeds`, and their own loss."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from tests.training.toy import BOS, EOS, KINDS, MASK, SEP, WORD, word_id


def text_ids(text: str) -> list[int]:
    return [word_id(word) for word in text.split()]


def encode(family: str, text: str, word: str) -> tuple[list[int], list[int]]:
    """Return the ids of one record and its labels in Hugging Face's sense (aligned with the token itself)."""
    target = text_ids(word)
    kind = KINDS.get(family, "causal")
    if kind == "seq2seq":
        return [*text_ids(text), EOS], [*target, EOS]
    source = [BOS, *text_ids(text), SEP]
    if kind == "masked":
        return [*source, MASK], [-100] * len(source) + target
    return [*source, *target, EOS], [-100] * len(source) + [*target, EOS]


def loss(model: PreTrainedModel, family: str, rows: Sequence[dict[str, str]], prompt: Tensor | None) -> Tensor:
    """Return the mean loss over all target tokens, row by row without padding, by the model's own loss."""
    total, count = torch.zeros((), dtype=model.dtype), 0
    for row in rows:
        ids, labels = encode(family, row["text"], WORD[row["label"]])
        embeds = model.get_input_embeddings()(torch.tensor([ids]))
        if prompt is not None:
            embeds = torch.cat([prompt[None], embeds], dim=1)
            if KINDS.get(family) != "seq2seq":
                labels = [-100] * len(prompt) + labels
        n = sum(label != -100 for label in labels)
        out = model(inputs_embeds=embeds, labels=torch.tensor([labels]))
        total = total + n * own_loss(out, labels, family)
        count += n
    return total / count


def own_loss(out: ModelOutput, labels: list[int], family: str) -> Tensor:
    """Return the model's own loss; in float64 from its logits, because it rounds them to float32 first."""
    if out.logits.dtype != torch.float64:
        return out.loss
    shift = 1 if KINDS.get(family, "causal") == "causal" else 0
    logits, targets = out.logits[0, : out.logits.shape[1] - shift], torch.tensor(labels)[shift:]
    ours = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(ours.float(), out.loss.float(), rtol=1e-6, atol=0)
    return ours


def label_score(model: PreTrainedModel, family: str, text: str, word: str, prompt: Tensor | None) -> float:
    """Return the log-probability of *word* after *text*, from the logits of the record alone."""
    ids, labels = encode(family, text, word)
    kind = KINDS.get(family, "causal")
    embeds = model.get_input_embeddings()(torch.tensor([ids]))
    if prompt is not None:
        embeds = torch.cat([prompt[None], embeds], dim=1)
        if kind != "seq2seq":
            labels = [-100] * len(prompt) + labels
    with torch.no_grad():
        out = model(inputs_embeds=embeds, labels=torch.tensor([labels]))
    log_p = out.logits[0].double().log_softmax(-1)
    targets = [(t, label) for t, label in enumerate(labels) if label != -100]
    shift = 1 if kind == "causal" else 0
    return sum(log_p[t - shift, label].item() for t, label in targets[: len(text_ids(word))])
