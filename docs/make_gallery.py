"""Draw the pictures of the gallery, docs/gallery/NAME.png, from the tables that are kept with the recipes.

Run from the root of the repository: `python docs/make_gallery.py`. It needs `promptscope[figures]`, and seconds.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder that holds `recipes`

import pandas as pd
import plotly.graph_objects as go

import promptscope as ps
from promptscope.plots import layer_curve
from recipes.common.curves import curve_figure
from recipes.prompt_geometry.figures import pairs_along_figure
from recipes.token_splitting.train_figures import transfer_figure

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/gallery"


def attention_and_neurons() -> go.Figure:
    """Attention KL by layer on Gemma 3 270M, trained prompts and random ones."""
    table = pd.read_csv(ROOT / "recipes/attention_and_neurons/results/gemma/figure_5.csv")
    data = table.rename(columns={"value": "values"}).set_index(["prompt", "group", "layer"]).to_xarray()
    data = data.sel(prompt=list(table["prompt"].unique()), group="en", drop=True)
    result = ps.ProbeResult(
        "attention_kl",
        data,
        title="Attention KL on Gemma 3 270M, English tasks",
        units="nats",
        direction="higher = the prompt moves attention more",
        range=(0.0, None),
    )
    return layer_curve(result)


def prompt_geometry() -> go.Figure:
    """Distances of vectors of one word and of one task along training, on SmolLM2."""
    return pairs_along_figure(pd.read_csv(ROOT / "recipes/prompt_geometry/results/smollm2/pairs_along.csv"))


def token_splitting() -> go.Figure:
    """The loss of prompts for one, two and five models on every model, on the masked models inside the package."""
    transfer = pd.read_csv(ROOT / "recipes/token_splitting/results/smoke/transfer.csv")
    names = {f"continent_en_1_model_{i}": f"for model {i}" for i in range(5)}
    names |= {f"continent_en_2_model_{i}": f"for two ({'ab'[i]})" for i in range(2)}
    names |= {f"continent_en_5_model_{i}": f"for all five ({'ab'[i]})" for i in range(2)}
    part = transfer[transfer["run"].isin(names)].replace({"run": names})
    figure = transfer_figure(part.assign(model=part["model"].str.removeprefix("embedded-masked-")), "continent_en")
    figure.update_xaxes(title_text="model", type="category")
    return figure.update_layout(title_text=figure.layout.title.text.replace("continent_en: e", "E"))


def explosive_prompts() -> go.Figure:
    """Norms along training on SmolLM2."""
    norms = pd.read_csv(ROOT / "recipes/explosive_prompts/results/smollm2/norms.csv")
    norms = norms[norms["task"] == "fv/antonym"]
    about = "L2 norm, mean over seeds · SmolLM2-135M"
    return curve_figure(norms, "step", "norm", "method", "Norm along training (Figure 2)", about, log_y=True)


def power_of_scale() -> go.Figure:
    """Scores by prompt length on SmolLM2."""
    scores = pd.read_csv(ROOT / "recipes/power_of_scale/results/smollm2/scores.csv")
    part = scores[(scores["group"] == "lengths") & (scores["task"] == "fv/singular-plural")]
    part = part.assign(tokens=part["variant"].astype(int), model="SmolLM2-135M")
    about = "test score · bars: range over seeds · SmolLM2-135M"
    figure = curve_figure(part, "tokens", "score", "model", "Prompt length", about, log_x=True)
    return figure.update_layout(showlegend=False)


PICTURES: dict[str, Callable[[], go.Figure]] = {
    draw.__name__: draw
    for draw in (attention_and_neurons, prompt_geometry, token_splitting, explosive_prompts, power_of_scale)
}


def card(figure: go.Figure) -> go.Figure:
    """Return the figure in the size of a card of the page, so that its letters are read there."""
    figure.update_layout(width=480, height=360, margin={"b": 90, "r": 20}, title_font_size=15)
    figure.update_annotations(font_size=12)
    return figure.update_layout(legend={"y": -0.24, "yanchor": "top", "font": {"size": 11}})


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        card(draw()).write_image(FOLDER / f"{name}.png", scale=2)
        print(FOLDER / f"{name}.png")
