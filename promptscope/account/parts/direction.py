"""Part 5: whether adding a vector to the residual stream has the prompt's effect."""

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import percent, with_interval
from promptscope.causal.shifts import shift_on


def direction_part(subject: Subject) -> Findings:
    """Add the mean shift to the run without a prompt, at ranks 1 to 8, and compare with random shifts."""
    found, s, small = Findings(), subject.settings, subject.small
    if subject.fitted is None:
        found.omit(f"The direction must be fitted on other inputs than it is tested on, and {subject.why_not_fitted}.")
        return found
    layers = subject.layers(subject.model.family.stacks[-1])
    result = shift_on(
        subject.model,
        subject.prompt,
        small,
        subject.fitted,
        layers,
        others=subject.others,
        batch_size=s.batch_size,
        seed=s.seed,
    )
    found.results["shift"] = result
    if not small.size.is_clear:
        found.omit("Shares are undefined: the effect is too small to be divided by; the table has nats.")
        return found
    data = result.data
    one = data.sel(shift="rank 1")
    # The last layer is left out: after it nothing happens but the reading itself.
    inner = one.isel(layer=slice(None, -1)) if len(layers) > 1 else one
    i = int(inner["values"].fillna(-9).values.argmax())
    layer = int(inner["layer"].values[i])
    share, low, high = (float(inner[v][i]) for v in ("values", "low", "high"))
    nulls = {str(name): float(data["values"].sel(shift=name, layer=layer)) for name in data["shift"].values
             if not str(name).startswith("rank")}  # fmt: skip
    if low >= s.wanted:
        verdict = "here the prompt acts, for the most part, as one direction"
    elif low > max(nulls.values()) and low > 0:
        verdict = "one direction has a part of the effect, more than the nulls"
    else:
        verdict = "no direction has clearly more of the effect than its nulls"
    told = ", ".join(f"{name} {percent(value)}" for name, value in nulls.items())
    found.say(
        f"One vector added to the residual stream after layer {layer}, at the position that predicts "
        f"the answer, recovers {with_interval(share, low, high)} of the effect on held-out inputs "
        f"({told}): {verdict}."
    )
    eight = data.sel(shift="rank 8") if "rank 8" in data["shift"].values else None
    if eight is not None:
        found.say(
            "A combination of 8 directions, with other coefficients for each input, recovers at most "
            f"{percent(float(eight['values'].sel(layer=layer)))} there."
        )
    found.number("best share of one direction", share, low, high)
    found.about["layer"] = layer
    return found
