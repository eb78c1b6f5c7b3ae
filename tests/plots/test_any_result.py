"""`result.plot()` draws a result of any dimensions: probes of one's own have what dimensions they like."""

import numpy as np
import pytest
import xarray as xr

import promptscope as ps


def result(**sizes: int) -> ps.ProbeResult:
    shape = tuple(sizes.values())
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    coords = {
        name: [f"{name} {i}" for i in range(n)] if name not in ("layer", "head") else range(n)
        for name, n in sizes.items()
    }
    data = {name: (tuple(sizes), values + shift) for name, shift in (("values", 0.0), ("low", -1.0), ("high", 2.0))}
    return ps.ProbeResult("mine", xr.Dataset(data, coords), title="Mine", units="nats", n_examples=3)


SIZES = (
    {},
    {"edit": 3},
    {"edit": 3, "prompt": 2},
    {"edit": 2, "prompt": 2, "task": 2},
    {"layer": 3},
    {"shift": 4, "layer": 3},
    {"prompt": 2, "edit": 2, "layer": 3},
    {"layer": 3, "head": 2},
)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(sizes) or "none")
def test_every_number_is_drawn(sizes: dict[str, int]) -> None:
    found = result(**sizes)
    figure = found.plot()
    drawn = np.concatenate(
        [np.ravel(values).astype(float) for trace in figure.data for values in _numbers(trace) if values is not None]
    )
    assert set(found.values.to_numpy().ravel()) <= set(drawn)


def _numbers(trace):
    return (
        (trace.x, None)
        if trace.type == "bar"
        else (getattr(trace, "z", None), trace.y if trace.type == "scatter" else None)
    )


def test_bars_have_intervals_and_names() -> None:
    (trace,) = result(edit=3).plot().data
    assert list(trace.y) == ["edit 0", "edit 1", "edit 2"]
    assert (trace.error_x.array == 2.0).all() and (trace.error_x.arrayminus == 1.0).all()


def test_a_causal_result_has_a_figure() -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    found = ps.causal.shift(model, ps.SoftPrompt(2).bind(model), task, layers=[2, 5], ranks=(1,), limit=4)
    names = {trace.name for trace in found.plot().data}
    assert {"rank 1", "random prompt", "random direction"} <= names
