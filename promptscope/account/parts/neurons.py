"""Part 8: skill neurons."""

import pandas as pd

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import is_clear, nats, p_words, too_few
from promptscope.causal.skill_neurons import skill_neurons
from promptscope.errors import PromptscopeError


def neurons_part(subject: Subject) -> Findings:
    """Find neurons that tell the label, and disturb them."""
    found, s = Findings(), subject.settings
    if subject.task.verbalizer is None:
        found.omit("The task has no labels for a neuron to tell: skill neurons are for classification.")
        return found
    if subject.fitted is None:
        found.omit(f"Thresholds are fitted on other inputs than they are tried on, and {subject.why_not_fitted}.")
        return found
    try:
        skill = skill_neurons(
            subject.model, subject.prompt, subject.task, fit=s.fit, split=s.split, limit=s.limit, n_random=s.n_random,
            batch_size=s.batch_size, seed=s.seed,
        )  # fmt: skip
    except PromptscopeError as error:
        found.omit(f"{error}.")
        return found
    found.tables["disturbed"] = skill.table
    per_layer = pd.DataFrame(
        {"layer": range(len(skill.accuracy)), "best": skill.accuracy.max(1), "mean": skill.accuracy.mean(1)}
    )
    found.tables["accuracy"] = per_layer
    best = skill.accuracy.max()
    verdict = "more than" if best > skill.chance + 0.02 else "no more than"
    found.say(
        f"The best neuron tells {skill.labels[0]!r} from {skill.labels[1]!r} on {best:.0%} of held-out inputs, "
        f"{verdict} the "
        f"{skill.chance:.0%} that the best of as many neurons reaches with shuffled labels.".replace("%", " %")
    )
    of = skill.table.set_index("disturbed")
    top, random = of.loc["top"], of.loc["random"]
    clear = top["low"] > 0 and is_clear(float(top["low"]), float(top["high"]), float(top["p_value"]))
    if clear and top["lost"] > random["high"]:
        said = "the answers need them, more than others"
    elif clear:
        said = "the answers need them no more than others"
    else:
        said = "the answers do not need them"
    few = too_few(len(subject.effect.inputs)) if top["low"] > 0 else ""
    found.say(
        f"Disturbing the {len(skill.top)} best costs {nats(float(top['lost']))} "
        f"({p_words(float(top['p_value']))}{few}), as many "
        f"random ones {nats(float(random['lost']))}: {said}."
    )
    return found
