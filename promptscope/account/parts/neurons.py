"""Part 8: skill neurons, whose activation predicts the label."""

import pandas as pd

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import is_clear, nats, p_words, too_few
from promptscope.causal.skill_neurons import skill_neurons
from promptscope.errors import PromptscopeError


def neurons_part(subject: Subject) -> Findings:
    """Find the neurons that predict the label, and add noise to them."""
    found, s = Findings(), subject.settings
    if subject.task.verbalizer is None:
        found.omit("The task has no labels that a neuron could predict: skill neurons are for classification.")
        return found
    if subject.fitted is None:
        found.omit(f"Thresholds must be fitted on other inputs than they are tested on, and {subject.why_not_fitted}.")
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
        (
            f"The best neuron distinguishes {skill.labels[0]!r} from {skill.labels[1]!r} on {best:.0%} of "
            f"held-out inputs, {verdict} the {skill.chance:.0%} that the best of as many neurons reaches "
            "with shuffled labels."
        ).replace("%", " %")
    )
    of = skill.table.set_index("disturbed")
    top, random = of.loc["top"], of.loc["random"]
    clear = top["low"] > 0 and is_clear(float(top["low"]), float(top["high"]), float(top["p_value"]))
    if clear and top["lost"] > random["high"]:
        said = "the answers depend on them, more than on random neurons"
    elif clear:
        said = "the answers depend on them no more than on random neurons"
    else:
        said = "the answers do not depend on them"
    few = too_few(len(subject.effect.inputs)) if top["low"] > 0 else ""
    found.say(
        f"Noise on the {len(skill.top)} best neurons lowers the log-probability of the right answer "
        f"by {nats(float(top['lost']))} ({p_words(float(top['p_value']))}{few}), noise on as many "
        f"random ones by {nats(float(random['lost']))}: {said}."
    )
    return found
