"""The figures of an account, made from its parts alone."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from promptscope.account.part import Part
from promptscope.plots.shares import bars, cells, grid, hover, is_share, lines
from promptscope.probes import ProbeResult

Figure = tuple[go.Figure, str]
"""A figure and its caption."""


def figures_of(part: Part) -> list[Figure]:
    """Return the figures of a part."""
    make = {
        "answers": _answers,
        "tokens": _tokens,
        "layers": _layers,
        "routes": _routes,
        "direction": _direction,
        "words": _words,
        "readings": _readings,
        "neurons": _neurons,
    }.get(part.key)
    return list(make(part)) if make is not None else []


def _answers(part: Part) -> Iterator[Figure]:
    table = part.tables["scores"]
    yield (
        bars(table["condition"], table["log_p"], table["log_p_low"], table["log_p_high"],
             "How likely the right answer is", "log-probability of the right answer (nats)", highlight="the prompt"),
        ('Mean over inputs with its 95 % interval; further right is better. All prompts are scored on '
        'the same inputs, so two of them can differ clearly although their intervals overlap: the '
        'p-values in the table are from paired tests.'),
    )  # fmt: skip


def _tokens(part: Part) -> Iterator[Figure]:
    table = part.tables.get("tokens")
    if table is not None:
        order = table.sort_values("difference", ascending=False).head(20)
        yield (
            bars([f"token {i}" for i in order["token"]], order["difference"], order["difference_low"],
                 order["difference_high"], 'Increase of the loss when a token is zeroed', "nats per answer token"),
            ("The 20 tokens whose zeroing raises the loss most, with 95 % intervals over inputs. The "
            "account's folder has the table of all tokens, with other measures of importance."),
        )  # fmt: skip
    kept = part.tables.get("kept")
    if kept is not None and kept["share"].notna().any():
        bands = {
            {"importance": "most important", "greedy": "greedy", "random": "random choice"}[str(way)]: (
                rows["size"].tolist(), rows["share"].tolist(), rows["low"].tolist(), rows["high"].tolist()
            )
            for way, rows in kept.sort_values("size").groupby("way", sort=False)
        }  # fmt: skip
        yield (
            lines(bands, "How few tokens keep the effect", "number of tokens kept", "share of the effect"),
            (
                "No position attends to any other prompt token; positions stay as they are. Bands: 95 % "
                "intervals over inputs; for random choices, the lowest and highest of the draws."
            ),
        )


def _layers(part: Part) -> Iterator[Figure]:
    names = {
        "cut_from": "cut from this layer up",
        "cut_up_to": "cut up to this layer",
        "cut_window": "cut in a window from here",
    }
    shown = {label: part.results[key] for key, label in names.items() if key in part.results}
    if shown:
        yield _along_layers(shown, "Effect that is kept when the text cannot attend to the prompt in some layers")
    if "swap" in part.results:
        swap = part.results["swap"]
        by_role = {str(role): _select(swap, role=role) for role in swap.data["role"].values}
        yield _along_layers(
            by_role, "Effect that is lost when a layer's keys or values come from another prompt", skip=-1
        )


def _routes(part: Part) -> Iterator[Figure]:
    for key in ("heads_restore", "heads_restore_estimate"):
        if key in part.results:
            yield from _heads(part.results[key], exact=key == "heads_restore")
            break
    if "heads_destroy" in part.results:
        yield from _heads(part.results["heads_destroy"], exact=True)
    sets = part.tables.get("sets")
    if sets is not None and len(sets) > 1:
        bands = {"best heads": (sets["size"], sets["share"], sets["low"], sets["high"]),
                 "random heads": (sets["size"], sets["random"], sets["random_low"], sets["random_high"])}  # fmt: skip
        yield (
            lines(bands, "Heads patched together", "number of heads", "share of the effect"),
            (
                "Heads are added in the order of their own shares, largest first, and compared with "
                "random sets of the same size (grey; band: lowest and highest of the draws)."
            ),
        )
    if "places" in part.results:
        yield (
            _grid(part.results["places"], "place", "layer", "At which text positions the effect is, layer by layer"),
            (
                "Share of the effect that comes back when the residual stream after a layer, at these "
                "positions of the text, is copied from the run with the prompt into the run without it."
            ),
        )
    if "paths" in part.results:
        paths = part.results["paths"]
        yield (
            _grid(
                _drop(paths, token=-1),
                "token",
                "head",
                "From prompt tokens to heads: effect lost when a head cannot attend to a token",
            ),
            (
                "In one head, no text position attends to one prompt token; everything else runs as "
                "before. Larger = the answer depends more on this head reading this token."
            ),
        )


def _direction(part: Part) -> Iterator[Figure]:
    if "shift" in part.results:
        result = part.results["shift"]
        by_name = {str(name): _select(result, shift=name) for name in result.data["shift"].values}
        yield _along_layers(by_name, "Effect recovered by adding a vector to the residual stream", bands=("rank 1",))


def _words(part: Part) -> Iterator[Figure]:
    cosine = part.tables.get("cosine")
    if cosine is not None:
        bands = {
            str(words): (rows["layer"].tolist(), rows["cosine"].tolist(), None, None)
            for words, rows in cosine.groupby("words", sort=False)
        }
        one = cosine[cosine["words"] == cosine["words"].iloc[0]]
        bands["random prompt"] = (one["layer"].tolist(), one["random_prompt"].tolist(), None, None)
        yield (
            lines(
                bands,
                "How similar the shifts of the residual stream are",
                "layer",
                "cosine with the prompt's shift",
                is_percent=False,
            ),
            (
                "Cosine of mean shifts of the residual stream at the position that predicts the answer: "
                "1 = the same direction, 0 = orthogonal."
            ),
        )
    if "substitution" in part.results:
        result = part.results["substitution"]
        by_name = {str(name): _select(result, shift=name) for name in result.data["shift"].values}
        by_name["the prompt's own"] = by_name.pop("rank 1")
        yield _along_layers(by_name, "Effect of the prompt recovered by the shifts of texts", bands=())


def _readings(part: Part) -> Iterator[Figure]:
    table = part.tables.get("faithfulness")
    if table is not None:
        nothing = [float("nan")] * len(table)
        yield (
            bars(table["reading"], table["kl"], nothing, nothing, "How far the output is from the prompt's",
                 "KL (nats)", highlight="the prompt"),
            "KL divergence of the next-token distribution at the first answer token; 0 = the same output as with the "
            "prompt.",
        )  # fmt: skip


def _neurons(part: Part) -> Iterator[Figure]:
    table = part.tables.get("accuracy")
    if table is not None:
        bands = {
            "best neuron": (table["layer"], table["best"], None, None),
            "mean": (table["layer"], table["mean"], None, None),
        }
        yield (
            lines(
                bands,
                "How well single neurons predict the label",
                "layer",
                "accuracy on held-out inputs",
                reference=False,
            ),
            (
                "A neuron predicts one label above a threshold on its activation and the other below; "
                "thresholds are fitted on training inputs. 50 % is chance for two equally frequent "
                "labels."
            ),
        )


def _heads(result: ProbeResult, exact: bool) -> Iterator[Figure]:
    how = "exact" if exact else "first-order estimate"
    parts = result.data["part"].values.tolist() if "part" in result.dims else [None]
    for part in parts:
        one = result if part is None else _select(result, part=part)
        title = (
            result.title.removeprefix("First-order estimate of ")
            if exact
            else "Share of the effect that a head's output brings back"
        )
        yield (
            _grid(one, "head", "layer", title + (f" ({part})" if part else "")),
            f"Each head patched by itself, {how}; {result.direction}.",
        )


def _along_layers(
    shown: dict[str, ProbeResult], title: str, skip: int | None = None, bands: tuple[str, ...] | None = None
) -> Figure:
    share = all(is_share(result) for result in shown.values())
    drawn = {}
    for name, result in shown.items():
        values = cells(result)
        layers = result.data["layer"].values
        kept = layers != skip
        banded = bands is None or name in bands
        low, high = (values[v][kept].tolist() if banded else None for v in ("low", "high"))
        drawn[name] = (layers[kept].tolist(), values["values"][kept].tolist(), low, high)
    about = (
        "Bands: 95 % intervals over inputs."
        if share
        else "In nats: the effect is too small for shares of it to be defined."
    )
    return lines(drawn, title, "layer", "share of the effect" if share else "nats", share), about


def _grid(result: ProbeResult, x: str, y: str, title: str) -> go.Figure:
    share = is_share(result)
    order = [result.dims.index(y), result.dims.index(x)]
    values = {name: np.transpose(array, order) for name, array in cells(result).items()}
    return grid(
        values["values"], result.data[x].values.tolist(), result.data[y].values.tolist(), title if share else
        f"{title} (nats)", x, y, hover(values["values"], values["low"], values["high"], share), share,
    )  # fmt: skip


def _select(result: ProbeResult, **where: object) -> ProbeResult:
    from dataclasses import replace

    return replace(result, data=result.data.sel(where).drop_vars(list(where)))


def _drop(result: ProbeResult, **where: object) -> ProbeResult:
    from dataclasses import replace

    return replace(result, data=result.data.drop_sel(where))


def frame(result: ProbeResult) -> pd.DataFrame:
    """Return a result as the table that is written to the folder."""
    return result.to_dataframe()
