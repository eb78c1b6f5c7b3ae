"""Part 6: whether the prompt acts through the same heads and directions as texts do."""

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import nats, p_words, percent, signed, with_interval
from promptscope.causal.words import compare_with_words_on


def words_part(subject: Subject) -> Findings:
    """Compare heads and shifts with those of an instruction and of few-shot examples."""
    found, s, small = Findings(), subject.settings, subject.small
    if not subject.words:
        found.omit(
            "There is no text to compare with: give an instruction, or a task with training examples "
            "that fit into the context."
        )
        return found
    if subject.fitted is None:
        found.omit(f"Shifts must be fitted on other inputs than they are tested on, and {subject.why_not_fitted}.")
        return found
    layers = subject.layers(subject.model.family.stacks[-1])
    compared = compare_with_words_on(
        subject.model,
        subject.prompt,
        small,
        subject.fitted,
        subject.words,
        layers,
        batch_size=s.batch_size,
        seed=s.seed,
    )
    found.tables |= {"heads": compared.heads, "cosine": compared.cosine}
    found.results["substitution"] = compared.substitution
    for row in compared.heads.itertuples():
        if not (row.low > 0 or row.high < 0):
            found.say(
                f"The {row.words} has no clear effect of its own here ({nats(float(row.effect))}), so "
                "its heads are not compared."
            )
            continue
        verdict = "more than chance" if row.p_value < 0.05 else "no more than chance"
        found.say(
            f"{row.common} of the prompt's top {row.top} heads are also among the top {row.top} of "
            f"the {row.words} ({row.expected:.1f} expected by chance, {p_words(float(row.p_value))}): "
            f"{verdict}."
        )
        found.number(f"top heads in common with {row.words}", row.common)
    for words, rows in compared.cosine.groupby("words", sort=False):
        best = rows.loc[rows["cosine"].idxmax()]
        found.say(
            f"The shifts of the prompt and of the {words} are most similar after layer "
            f"{int(best['layer'])}: cosine {signed(best['cosine'])}, that of a random prompt "
            f"{signed(best['random_prompt'])}."
        )
        if small.size.is_clear:
            share = compared.substitution.data.sel(shift=words)
            inner = share.isel(layer=slice(None, -1)) if share.sizes["layer"] > 1 else share
            i = int(inner["values"].fillna(-9).values.argmax())
            value, low, high = (float(inner[name][i]) for name in ("values", "low", "high"))
            null = float(compared.substitution.values.sel(shift="random prompt").isel(layer=i))
            if low > 0.8 and low > null:
                verdict = "it does what the prompt does"
            elif low > max(null, 0.0):
                part = "a part" if value > 0.2 else "little"
                verdict = f"it does {part} of what the prompt does"
            else:
                verdict = "it does not do what the prompt does"
            found.say(
                f"Added to the run without a prompt, the shift of the {words} recovers at most "
                f"{with_interval(value, low, high)} of the prompt's effect (after layer "
                f"{int(inner['layer'][i])}; a random prompt's shift {percent(null)}): {verdict}."
            )
    if not small.size.is_clear:
        found.omit("What the shifts of texts recover is undefined: the effect is too small to be divided by.")
    return found
