"""Draw the picture of the front page, docs/front.png: one prompt, what it does and through what, on the embedded model.

Run from the root of the repository: `python docs/make_front.py`. It needs `promptscope[figures]`, and a few minutes.
"""

from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

import promptscope as ps
from promptscope.plots import CATEGORICAL, DIVERGING, SEQUENTIAL, titled_figure

PAGE = Path(__file__).parent / "front.png"
TITLES = ("Does it help?", "Where does it move attention?", "Through which heads does it act?")


def measured() -> tuple[dict[str, float], ps.ProbeResult, ps.ProbeResult]:
    """Train the prompts of README, and return right answers, attention KL and the share of the effect by head."""
    model, task = ps.load_model("embedded-causal"), ps.load_task("capital_en")
    config = ps.TrainConfig(steps=200, learning_rate=2e-2)
    runs = {
        "v1": ps.train(model, ps.SoftPrompt(length=20, init="vocab", seed=0), task, config),
        "v2": ps.train(model, ps.DeepPrompt(length=20, init="vocab", seed=0), task, config),
    }
    prompts: dict[str, ps.Prompt | None] = {"none": None, "random": ps.random_like(runs["v2"].prompt, seed=0)}
    prompts |= {name: run.prompt for name, run in runs.items()}
    right = {name: ps.evaluate(model, prompt, task)["exact_match"] for name, prompt in prompts.items()}
    kl = ps.probe(model, {"v2": runs["v2"].prompt}, task, [ps.probes.AttentionKL()])["attention_kl"]
    return right, kl, ps.causal.patch(model, runs["v2"].prompt, task, limit=64)


def figure(right: dict[str, float], kl: ps.ProbeResult, heads: ps.ProbeResult) -> go.Figure:
    """Put the three answers into one picture."""
    subplots = make_subplots(1, 3, subplot_titles=TITLES, column_widths=[0.26, 0.37, 0.37], horizontal_spacing=0.11)
    about = "v1: 20 embeddings · v2: keys and values at 20 positions of each layer (maps: v2) · random: v2's norms"
    drawn = titled_figure(1060, 300, "A trained prompt makes a frozen model name capitals. How?", about, subplots)
    colours = ["#9AA0AC", "#C9CDD5", CATEGORICAL[0], CATEGORICAL[1]]
    drawn.add_bar(
        x=list(right), y=list(right.values()), marker={"color": colours}, text=[f"{x:.0%}" for x in right.values()],
        textposition="outside", cliponaxis=False, row=1, col=1,
    )  # fmt: skip
    tables = (kl.values.sel(prompt="v2").values, heads.values.values)
    for column, table in enumerate(tables, 2):
        top, signed = float(abs(table).max()), column == 3
        bar = {"title": {"text": "share of<br>the effect" if signed else "nats", "font": {"size": 11}}, "thickness": 9}
        drawn.add_heatmap(
            z=table, xgap=1, ygap=1, colorscale=list(DIVERGING if signed else SEQUENTIAL), zmin=-top if signed else 0,
            zmax=top, colorbar=bar | {"x": 1.005 if signed else 0.605}, row=1, col=column,
        )  # fmt: skip
        drawn.update_xaxes(title_text="head", row=1, col=column)
        drawn.update_yaxes(title_text="layer", autorange="reversed", row=1, col=column)
    drawn.update_yaxes(
        title_text="right answers", range=[0, 1.12], tickvals=[0, 0.5, 1], tickformat=".0%", showgrid=True, row=1, col=1
    )
    drawn.update_layout(showlegend=False, margin={"r": 90})
    return drawn


if __name__ == "__main__":
    figure(*measured()).write_image(PAGE, scale=2)
    print(PAGE)
