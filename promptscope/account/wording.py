"""Numbers and conclusions in words, for the sentences of an account."""

import math

from promptscope.statistics import Effect


def percent(share: float) -> str:
    """Write a share as a percentage.

    >>> percent(0.834), percent(-0.02), percent(float("nan"))
    ('83 %', '−2 %', 'undefined')
    """
    if not math.isfinite(share):
        return "undefined"
    return f"{100 * share:.0f} %".replace("-", "−")


def with_interval(share: float, low: float, high: float) -> str:
    """Write a share with its 95 % interval.

    >>> with_interval(0.5, 0.4, 0.61)
    '50 % (40 to 61 %)'
    """
    if not math.isfinite(share):
        return "undefined"
    return f"{percent(share)} ({100 * low:.0f} to {100 * high:.0f} %)".replace("-", "−")


def nats(value: float) -> str:
    """Write a difference in nats, with its sign.

    >>> nats(-0.5)
    '−0.50 nats'
    """
    return f"{value:+.2f} nats".replace("-", "−")


def signed(value: float) -> str:
    """Write a number that may be negative.

    >>> signed(-0.351)
    '−0.35'
    """
    return f"{value:.2f}".replace("-", "−")


def p_words(p: float) -> str:
    """Write a p-value.

    >>> p_words(0.0004), p_words(0.2)
    ('p < 0.001', 'p = 0.20')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def is_clear(low: float, high: float, p: float) -> bool:
    """Return whether a difference is clear: its 95 % interval excludes 0, and the paired test gives p < 0.05.

    >>> is_clear(0.1, 0.4, 0.01), is_clear(0.1, 0.4, 0.12), is_clear(-0.1, 0.4, 0.01)
    (True, False, False)
    """
    return (low > 0 or high < 0) and p < 0.05


def too_few(n: int) -> str:
    """Say that *n* inputs cannot give p < 0.05 in a paired test; return nothing where they can.

    The smallest possible p-value is `2 / 2^n`, when all differences have one sign.

    >>> too_few(4), too_few(6)
    ('; 4 inputs cannot give less than 0.12', '')
    """
    smallest = 2.0 ** (1 - n)
    return f"; {n} inputs cannot give less than {smallest:.2g}" if smallest >= 0.05 else ""


def effect_sentence(effect: Effect) -> str:
    """Say in a sentence what the effect is, and whether shares of it are defined.

    >>> effect_sentence(Effect(1.0, 0.8, 1.2, 64))
    'The prompt raises the log-probability of the right answer by 1.00 nats (95 % interval 0.80 to 1.20, 64 inputs).'
    """
    if effect.low > 0 or effect.high < 0:
        verb = "raises" if effect.mean > 0 else "lowers"
        low, high = sorted((abs(effect.low), abs(effect.high)))
        said = (
            f"The prompt {verb} the log-probability of the right answer by {abs(effect.mean):.2f} nats "
            f"(95 % interval {low:.2f} to {high:.2f}, {effect.n} inputs)."
        )
    else:
        start, end = (f"{limit:+.2f}".replace("-", "−") for limit in (effect.low, effect.high))
        said = (
            f"The prompt has no clear effect on the log-probability of the right answer: {nats(effect.mean)} "
            f"(95 % interval {start} to {end}, {effect.n} inputs)."
        )
    if effect.is_clear:
        return said
    if not math.isfinite(effect.low):
        return f"{nats(effect.mean)} on a single input: without an interval, no share of the effect is defined."
    return f"{said} That is too small to be divided by: shares are undefined below, and numbers are in nats."


def against_null(value: float, low: float, high: float, null: float, what: str, null_name: str) -> str:
    """Compare a share and its interval with that of its null, in a sentence.

    >>> against_null(0.9, 0.8, 1.0, 0.1, "It", "a random one")
    'It has 90 % (80 to 100 %) of the effect, a random one 10 %.'
    """
    if not math.isfinite(value):
        return ""
    said = f"{what} has {with_interval(value, low, high)} of the effect, {null_name} {percent(null)}"
    if math.isfinite(null) and low <= null <= high:
        return f"{said}: no clear difference."
    return f"{said}."
