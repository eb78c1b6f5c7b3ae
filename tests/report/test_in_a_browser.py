"""A page as a browser lays it out: nothing reaches beyond a window 800 pixels wide."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import promptscope as ps
from promptscope.plots import heatmap
from promptscope.report import Report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), "")
MEASURE = """
<script>
const box = e => [e.clientWidth, e.scrollWidth];
const found = {page: box(document.documentElement), boxes: [...document.querySelectorAll(".scroll")].map(box)};
const drawn = document.querySelector(".fixed > .plotly");
found.figure = [drawn.offsetWidth, drawn.getBoundingClientRect().width, drawn.getBoundingClientRect().height];
found.card = drawn.parentElement.getBoundingClientRect().height;
document.body.insertAdjacentHTML("beforeend", `<pre id="found">${JSON.stringify(found)}</pre>`);
</script></body>"""


def laid_out(page: Report, width: int, folder: Path) -> dict:
    """Return the sizes that a browser gives the page, its boxes and its first figure in a window of *width* pixels."""
    path = folder / "page.html"
    path.write_text(page.html().replace("</body>", MEASURE), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=4000"]
    command = [BROWSER, *options, f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout)
    return json.loads(html.unescape(found[-1]))


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome")
def test_figures_and_tables_fit_a_narrow_window(tmp_path: Path) -> None:
    numbers = {f"task_{i}": np.random.default_rng(i).random((3, 6, 5)) for i in range(4)}  # inputs, layers, heads
    figure = heatmap(ps.ProbeResult.from_examples(numbers))
    interval = "-0.0098 [-0.049, 0.03]"
    row = {"claim": "v2 prompts cluster by kind of task, v1 do not", "where": "same_country_en", "number": interval}
    table = pd.DataFrame([row | {"verdict": "does not hold", "random": -0.1, "beyond": interval, "size": 0.5}])
    page = Report("Page").section("One").figure(figure).table(table)
    narrow = laid_out(page, 800, tmp_path)
    assert all(inner <= outer for outer, inner in [narrow["page"], *narrow["boxes"]])
    own, shown, height = narrow["figure"]
    assert own == figure.layout.width > 800 > shown > 0.6 * own
    assert narrow["card"] == pytest.approx(height, abs=20)  # no empty place below a smaller figure
    wide = laid_out(page, 1280, tmp_path)
    assert all(inner <= outer for outer, inner in [wide["page"], *wide["boxes"]])
    assert wide["figure"][1] == pytest.approx(own, abs=1)
