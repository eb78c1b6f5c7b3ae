"""Part 4: through which heads, FFNs and positions the effect passes."""

import numpy as np
import pandas as pd

from promptscope.account.part import Findings, best_cell, names
from promptscope.account.subject import Subject
from promptscope.account.wording import percent, with_interval
from promptscope.causal.attribution import attribution_on, patch_error
from promptscope.causal.carriers import carriers_on
from promptscope.causal.patching import DIRECTIONS, patch_on, patch_places
from promptscope.causal.paths import paths_on
from promptscope.errors import ProbeError
from promptscope.prompts import random_like


def routes_part(subject: Subject) -> Findings:
    """Patch heads, FFNs and the residual stream; find the smallest sufficient set of heads; cut tokens from heads."""
    found, s = Findings(), subject.settings
    model, prompt, effect, small = subject.model, subject.prompt, subject.effect, subject.small
    # One way over all inputs ranks the heads; the other way, over few, says how necessary they are.
    on = {"restore": effect, "destroy": small}
    estimates = {d: attribution_on(model, prompt, on[d], "heads", d, s.batch_size) for d in DIRECTIONS}
    order = estimates["restore"]
    for direction, estimate in estimates.items():
        found.results[f"heads_{direction}_estimate"] = estimate
    if s.exact:
        errors = []
        for direction in DIRECTIONS:
            exact = patch_on(model, prompt, on[direction], "heads", direction, batch_size=s.batch_size)
            found.results[f"heads_{direction}"] = exact
            errors.append({"direction": direction, **patch_error(exact, estimates[direction])})
        order = found.results["heads_restore"]
        found.tables["estimate_error"] = pd.DataFrame(errors)
        null = random_like(prompt, s.seed).bind(model, strict=False)
        found.results["heads_random"] = attribution_source_null(subject, null)
    else:
        found.omit(
            "Exact patching of heads: it is switched off (exact=False); heads are ranked by "
            "attribution patching, a first-order estimate."
        )
    try:
        ffn = patch_on(model, prompt, small, "ffn", "restore", batch_size=s.batch_size, layers=subject.layers())
        found.results["ffn_restore"] = ffn
    except ProbeError as error:
        found.omit(f"FFN outputs: {error}.")
    found.results["places"] = patch_places(model, prompt, small, "restore", subject.layers(), s.batch_size)
    if not effect.size.is_clear:
        found.omit(
            "Shares, sets of heads and paths are undefined: the effect is too small to be divided by; the tables "
            "have nats."
        )
        return found
    _heads(found, order, s.exact)
    if not small.size.is_clear:
        found.omit(
            f"Sets of heads, positions and paths: they are measured on the first {len(small.inputs)} "
            "inputs, on which the effect is too small to be divided by; raise few in the settings."
        )
        return found
    sets = carriers_on(model, prompt, small, order, s.wanted, n_random=s.n_random, batch_size=s.batch_size, seed=s.seed)
    found.tables["sets"] = sets.table
    _set(found, sets, s.wanted)
    _places(found)
    best = sets.heads[:6] if sets.heads else ()
    try:
        heads = [head for head in best] or _top(subject, order)
        found.results["paths"] = paths_on(model, prompt, small, heads[:6], batch_size=s.batch_size)
        _paths(found)
    except ProbeError as error:
        found.omit(f"Paths from tokens to heads: {error}.")
    return found


def attribution_source_null(subject: Subject, null):
    """Patch head outputs of a run with a random prompt into the run without one: what any prompt would bring."""
    return patch_on(
        subject.model, subject.prompt, subject.small, "heads", "restore", source=null,
        layers=subject.layers(), batch_size=subject.settings.batch_size,
    )  # fmt: skip


def _top(subject: Subject, order):
    from promptscope.causal.carriers import ranked_heads

    return ranked_heads(subject.model, order, subject.effect)[:6]


def _heads(found: Findings, order, exact: bool) -> None:
    place, share, low, high = best_cell(order)
    where = names([f"{dim} {value}" for dim, value in place.items()]).replace(" and ", ", ")
    clear = int((order.data["low"] > 0).sum())
    how = "" if exact else " (first-order estimate)"
    found.say(
        f"One head by itself brings back at most {with_interval(share, low, high)} of the "
        f"effect{how}: {where}. {clear} of {int(np.isfinite(order.values.values).sum())} heads bring "
        "back a part of it (interval above zero; not corrected for the number of heads)."
    )
    found.number("largest share of one head", share, low, high)
    if "heads_random" in found.results and np.isfinite(found.results["heads_random"].values.values).any():
        null = float(np.nanmax(found.results["heads_random"].values.values))
        verdict = "the prompt's own head brings back clearly more" if low > null else "no clear difference"
        found.say(
            "If the outputs come from a run with a random prompt instead, the best of the heads that "
            f"were tried brings back {percent(null)}: {verdict}."
        )
    if "estimate_error" in found.tables:
        row = found.tables["estimate_error"].iloc[0]
        found.say(
            "Attribution patching ranks heads "
            f"{('well' if row['spearman'] > 0.8 else 'roughly' if row['spearman'] > 0.5 else 'poorly')} "
            f"here (rank correlation with exact patching {row['spearman']:.2f}; mean error "
            f"{row['mean_error']:.3f} nats)."
        )


def _set(found: Findings, sets, wanted: float) -> None:
    if sets.heads is None:
        most = sets.table.loc[sets.table["share"].idxmax()]
        found.say(
            f"No set of heads that was tried brings back {percent(wanted)}: {int(most['size'])} of "
            f"{sets.n_heads} bring "
            f"{percent(most['share'])}."
        )
        found.number("heads that carry 80 %", float("nan"))
        return
    size = len(sets.heads)
    row = sets.table.set_index("size").loc[size]
    whole = f"One of {sets.n_heads} heads brings" if size == 1 else f"{size} of {sets.n_heads} heads together bring"
    random = "one random head brings" if size == 1 else f"{size} random heads bring"
    null = f"; {random} {percent(row['random'])}" if np.isfinite(row["random"]) else ""
    top = names([str(head) for head in sets.heads], 4).replace(", head", " head")
    found.say(f"{whole} back {with_interval(row['share'], row['low'], row['high'])}{null}: {top}.")
    found.number("heads that carry 80 %", size)
    found.about["carriers"] = [str(head) for head in sets.heads]


def _places(found: Findings) -> None:
    places = found.results["places"].values
    last = places.sel(place="answer") if "answer" in places["place"].values else None
    if last is None:
        return
    reached = [int(layer) for layer in last["layer"].values if float(last.sel(layer=layer)) >= 0.5]
    early = places.isel(layer=0)
    most = str(early["place"].values[int(early.fillna(-9).values.argmax())])
    if reached:
        found.say(
            f"By layer {reached[0]}, half of the effect is at the position that predicts the answer; "
            f"after layer {int(places['layer'].values[0])} it is mostly at the {most} positions."
        )


def _paths(found: Findings) -> None:
    paths = found.results["paths"]
    whole = paths.data.sel(token=-1)
    i = int(whole["values"].fillna(-9).values.argmax())
    head = str(whole["head"].values[i])
    edges = paths.data.sel(head=head).drop_sel(token=-1)
    j = int(edges["values"].fillna(-9).values.argmax())
    found.say(
        f"Of these heads, {head} depends most on the prompt: when the text cannot attend to the "
        "prompt in this head alone, "
        f"{with_interval(*(float(whole[v][i]) for v in ('values', 'low', 'high')))} of the effect is "
        f"lost; of single prompt tokens, most with token {int(edges['token'].values[j])} "
        f"({percent(float(edges['values'][j]))})."
    )
