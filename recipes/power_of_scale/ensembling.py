"""Prompt ensembling: the majority vote of several prompts over one model, compared with its members."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

import promptscope as ps
from promptscope.inference import batches, encode_split, target_logits
from promptscope.tasks import IGNORED, concatenate
from recipes.common.grids import Planned, best_prompt


def majority(votes: Sequence[str]) -> str:
    """Return the most frequent vote; if several are, the one that comes first.

    >>> majority(["a", "b", "b"]), majority(["a", "b"])
    ('b', 'a')
    """
    counts = Counter(votes)
    return max(votes, key=lambda vote: (counts[vote], -votes.index(vote)))


@torch.no_grad()
def labels_in_one_batch(
    model: ps.HookedModel, task: ps.Task, prompts: Sequence[ps.Prompt], limit: int | None, batch_size: int = 16
) -> list[list[str]]:
    """Return each prompt's label of each test record; every pass holds each record once for each prompt.

    Needs label words of one token, whose logits decide.
    """
    words = list(task.scored_ids(model.tokenizer, model.family.kind).values())
    assert task.verbalizer is not None and max(map(len, words)) == 1
    tokens = torch.tensor([word[0] for word in words], device=model.device)
    examples = encode_split(model, prompts[0], task, "test", limit=limit)
    found: list[list[str]] = [[] for _ in prompts]
    for batch in batches(model, examples, batch_size):
        every = concatenate([batch] * len(prompts))
        which = torch.arange(len(prompts), device=model.device).repeat_interleave(len(batch))
        logits = target_logits(model, every, prompts, which)
        counts = (every.targets != IGNORED).sum(dim=1)
        first = logits[counts.cumsum(0) - counts]  # (prompts x B, V): the token of the label
        chosen = first[:, tokens].argmax(dim=1).view(len(prompts), len(batch)).tolist()
        for mine, row in zip(found, chosen, strict=True):
            mine += [task.verbalizer.labels[i] for i in row]
    return found


def member_answers(
    model: ps.HookedModel, task: ps.Task, prompts: Sequence[ps.Prompt], limit: int | None
) -> list[list[str]]:
    """Return each prompt's answer to each test record: in one batch where labels are one token, else one by one."""
    if task.verbalizer is not None and max(map(len, task.scored_ids(model.tokenizer, model.family.kind).values())) == 1:
        return labels_in_one_batch(model, task, prompts, limit)
    return [ps.predict(model, prompt, task, limit=limit, progress=False) for prompt in prompts]


def ensemble_table(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    limit: int | None,
) -> pd.DataFrame:
    """Return, for each task, the score of the vote and of its members: their mean and the best of them."""
    lines = []
    for name, task in tasks.items():
        members = [
            best_prompt(runs[o.name]) for o in planned if o.group == "members" and o.task == name and o.name in runs
        ]
        if not members:
            continue
        for prompt in members:
            prompt.bind(model)
        answers = member_answers(model, task, members, limit)
        single = [next(iter(task.score(mine, "test").values())) for mine in answers]
        voted = [majority(votes) for votes in zip(*answers, strict=True)]
        vote = next(iter(task.score(voted, "test").values()))
        lines.append(
            (name, len(members), vote, sum(single) / len(single), max(single), vote - sum(single) / len(single))
        )
    return pd.DataFrame(lines, columns=["task", "members", "vote", "mean_member", "best_member", "gain"])
