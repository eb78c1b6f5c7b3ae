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
from recipes.token_splitting.figures import alignment_figure

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
    """Nearest words of prompt tokens compared with the model that needs the token, on the authors' prompts."""
    return alignment_figure(pd.read_csv(ROOT / "recipes/token_splitting/results/tables/alignment.csv"))


def explosive_prompts() -> go.Figure:
    """Norms along training on SmolLM2, two tasks."""
    norms = pd.read_csv(ROOT / "recipes/explosive_prompts/results/smollm2/norms.csv")
    norms = norms[norms["task"].isin(["fv/antonym", "fv/present-past"])]
    about = "L2 norm, mean over seeds · SmolLM2-135M"
    return curve_figure(norms, "step", "norm", "method", "Norm along training (Figures 2, 11)", about, log_y=True)


def power_of_scale() -> go.Figure:
    """Scores by prompt length on SmolLM2, two tasks."""
    scores = pd.read_csv(ROOT / "recipes/power_of_scale/results/smollm2/scores.csv")
    part = scores[(scores["group"] == "lengths") & scores["task"].isin(["fv/antonym", "fv/singular-plural"])]
    part = part.assign(tokens=part["variant"].astype(int), model="SmolLM2-135M")
    about = "test score · bars: range over seeds"
    return curve_figure(part, "tokens", "score", "model", "Prompt length", about, log_x=True)


PICTURES: dict[str, Callable[[], go.Figure]] = {
    draw.__name__: draw
    for draw in (attention_and_neurons, prompt_geometry, token_splitting, explosive_prompts, power_of_scale)
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        draw().write_image(FOLDER / f"{name}.png")
        print(FOLDER / f"{name}.png")
