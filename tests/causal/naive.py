"""Patching written out: one whole hooked forward for each component and input, one row at a time, unpadded."""

import torch

from promptscope.causal.running import Condition
from promptscope.tasks import IGNORED, collate


def gold_of(model, example, condition, hooks=()):
    """Return log p(gold) of one record run alone, with every position's logits."""
    batch = collate([example], 0)
    offset = condition.offsets(model)["decoder" if batch.decoder_input_ids is not None else "encoder"]
    with torch.no_grad():
        logits = model.forward_hooked(
            batch.input_ids,
            batch.attention_mask,
            condition.prompt,
            [*condition.hooks, *hooks],
            decoder_input_ids=batch.decoder_input_ids,
            position_offset=condition.shared,
            unseen=batch.unseen,
        )[0, offset:]
    at = [i for i, target in enumerate(example.targets) if target != IGNORED]
    return sum(float(logits[i].log_softmax(-1)[example.targets[i]]) for i in at)


def captured(model, example, condition, point):
    """Return what passes *point* in the run of one record."""
    kept = []

    def keep(x, hook):
        kept.append(x.clone())

    gold_of(model, example, condition, [(point, keep)])
    return kept[0]


def patched_gold(model, example, base: Condition, source: Condition, component):
    """Return log p(gold) of *base* with one component's output taken from *source*, at all text positions."""
    to, of = base.offsets(model)[component.stream], source.offsets(model)[component.stream]
    theirs = captured(model, example, source, component.point)

    def write(x, hook):
        x = x.clone()
        if component.head is None:
            x[:, to:] = theirs[:, of:]
        else:
            x[:, to:, component.head] = theirs[:, of:, component.head]
        return x

    return gold_of(model, example, base, [(component.point, write)])
