"""Part 3: in which layers the text reads the prompt, and whether the effect is in the prompt's keys or its values."""

import numpy as np

from promptscope.account.part import Findings, best_cell
from promptscope.account.subject import Subject
from promptscope.account.wording import percent, with_interval
from promptscope.causal.cuts import cut_layers_on
from promptscope.causal.swaps import check_swap, swap_layers_on
from promptscope.errors import PromptError
from promptscope.prompts import DeepPrompt, random_like


def layers_part(subject: Subject) -> Findings:
    """Cut attention to the prompt in some layers; in deep prompts, replace keys and values by another prompt's."""
    found, s, small = Findings(), subject.settings, subject.small
    model, prompt = subject.model, subject.prompt
    n = sum(model.layers[stack] for stack in model.family.stacks)
    layers = sorted(set(np.linspace(0, n - 1, min(n, s.layers)).round().astype(int).tolist()))
    width = max(1, round(n / 6))
    for span in ("from", "up_to", "window"):
        found.results[f"cut_{span}"] = cut_layers_on(model, prompt, small, span, width, layers, s.batch_size)
    if small.size.is_clear:
        _where(found, layers, n, s.wanted, width)
    else:
        found.omit("Shares by layer are undefined: the effect is too small to be divided by; the tables have nats.")
    _swap(subject, found)
    return found


def _where(found: Findings, layers: list[int], n: int, wanted: float, width: int) -> None:
    kept = found.results["cut_from"].values.values  # reading below the layer is enough
    needed = [layer for layer, share in zip(layers, kept, strict=True) if share >= wanted]
    late = found.results["cut_up_to"].values.values
    spared = [layer for layer, share in zip(layers, late, strict=True) if share >= wanted]
    if needed:
        found.say(
            f"If the text attends to the prompt in the lowest {needed[0]} of {n} layers only, at "
            f"least {percent(wanted)} of the effect is kept."
        )
        found.number("layers from below that are enough", needed[0])
    else:
        found.say(
            "The text reads the prompt up to the top layers: without attention to it from layer "
            f"{layers[-1]} on, {percent(kept[-1])} of the effect is left."
        )
        found.number("layers from below that are enough", n)
    if spared:
        found.say(
            f"The lowest {spared[-1] + 1} layers need not attend to the prompt: without that, "
            f"{percent(late[layers.index(spared[-1])])} of the effect is kept."
        )
    else:
        found.say(
            "Already the lowest layer that was tested matters: without attention to the prompt "
            f"there, {percent(late[0])} of the effect is kept."
        )
    place, share, low, high = best_cell(found.results["cut_window"], highest=False)
    first = int(place["layer"])
    found.say(
        f"Of all windows of {width} layer{'s' * (width > 1)}, the one that begins at layer {first} "
        f"matters most: without attention to the prompt there, {with_interval(share, low, high)} of "
        "the effect is kept."
    )


def _swap(subject: Subject, found: Findings) -> None:
    if not isinstance(subject.prompt, DeepPrompt):
        found.omit("Keys against values: only a deep prompt has keys and values of its own that can be replaced.")
        return
    other, name = subject.untrained, "the untrained prompt's"
    if other is None:
        other, name = random_like(subject.prompt, subject.settings.seed), "a random prompt's of the same norms"
    try:
        check_swap(subject.model, subject.prompt, other.bind(subject.model, strict=False))
    except PromptError as error:
        found.omit(f"Keys against values: {error}.")
        return
    swapped = swap_layers_on(
        subject.model, subject.prompt, subject.small, other, subject.layers(), subject.settings.batch_size
    )
    found.results["swap"] = swapped
    if not subject.small.size.is_clear:
        return
    lost = {role: swapped.data.sel(role=role, layer=-1) for role in ("keys", "values")}
    keys, values = (lost[role] for role in ("keys", "values"))
    if float(values["low"]) > float(keys["high"]):
        verdict = "the effect is in the values, less in the keys"
    elif float(keys["low"]) > float(values["high"]):
        verdict = "the effect is in the keys, less in the values"
    else:
        verdict = "no clear difference between keys and values"
    shares = [with_interval(*(float(one[v]) for v in ("values", "low", "high"))) for one in (keys, values)]
    found.say(
        f"If all keys are replaced by {name}, {shares[0]} of the effect is lost; if all values "
        f"are, {shares[1]}: {verdict}."
    )
