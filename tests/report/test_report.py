"""Pages: whole, self-contained, escaped."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from promptscope.report import Report
from promptscope.report.table import cell_text, make_table

EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser makes of a page: elements, their attributes, text outside and inside of scripts."""

    VOID = ("meta", "link", "img", "br", "hr", "input", "wbr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[tuple[str | None, str]] = []
        self.styles = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well formed: every element ends where it should

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        elif self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.text += data

    def figures(self) -> list[dict]:
        """Return the figures' JSON."""
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def full_report() -> Report:
    page = Report(f"Title {EVIL}", f"Lead {EVIL}")
    page.number("label", "+84 points", "detail")
    page.section(f"One {EVIL}").text("first & second", EVIL).bullets("a < b")
    page.table(pd.DataFrame({"name": [EVIL], "score": [0.5]}), caption=EVIL)
    page.section("Two").figure(
        go.Figure(go.Bar(x=[EVIL], y=[1.5]), layout={"title": "</script><!-- 한국어"}), "caption"
    )
    page.figure(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])))
    return page.provenance({"model": {"name": EVIL, "deep": {"hash": "abc"}}, "seed": 3})


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(full_report().html())


def test_elements_are_closed(page: Page) -> None:
    assert page.open == []


def test_text_stays_text(page: Page) -> None:
    """One script of plotly.js, one that draws, one of JSON per figure: nothing that came in as text became one."""
    assert [kind for kind, _ in page.scripts] == ["application/json", "application/json", None, None]
    for place in ("Title", "Lead", "One"):
        assert f"{place} {EVIL}" in page.text
    assert page.text.count(EVIL) >= 6
    assert "first & second" in page.text
    assert "a < b" in page.text


def test_figures_arrive_as_they_were(page: Page) -> None:
    first, second = page.figures()
    assert first["data"][0]["x"] == [EVIL]
    assert first["layout"]["title"]["text"] == "</script><!-- 한국어"
    assert second["data"][0]["type"] == "scatter"


def test_nothing_is_fetched(page: Page) -> None:
    loading = {"src", "href", "srcset", "data", "action", "poster"}
    addresses = [
        value or "" for _, attributes in page.elements for name, value in attributes.items() if name in loading
    ]
    assert all(address.startswith("#") for address in addresses)
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    own = page.scripts[-1][1]
    assert "Plotly.newPlot" in own
    assert not re.search(r"https?://|fetch\(|import\(", own)


def test_plotly_stands_once_and_only_where_it_is_needed(page: Page) -> None:
    html = full_report().html()
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html) > 3_000_000
    assert len(Report("No figures", "at all").section("S").text("t").html()) < 20_000


def test_provenance_names_versions(page: Page) -> None:
    for name in ("promptscope", "torch", "transformers", "python", "deep.hash", "seed"):
        assert name in page.text


def test_numbers_stand_to_the_right() -> None:
    columns = {"task": ["a", "b"], "n": [1200, 7], "share": [0.25, float("nan")]}
    table = pd.DataFrame(columns | {"range": ["0.2 (0.1–0.3)", "−1"], "3d": ["x", "1"]})
    made = make_table(table, formats={"share": ".0%"})
    assert dict(zip(made.columns, made.numeric, strict=True)) == {
        "task": False, "n": True, "share": True, "range": True, "3d": False,
    }  # fmt: skip
    assert made.rows[0] == ("a", "1,200", "25%", "0.2 (0.1–0.3)", "x")
    assert made.rows[1][2] == ""
    html = Report("t").table(table).html()
    assert '<td class="number">1,200</td>' in html
    assert "<td>a</td>" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (1e-9, "1e-09"), (0.0, "0.000"), (123456.7, "1.23e+05"), (None, ""), (True, "yes"), (5, "5")],
)
def test_cells(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_sections_have_addresses(page: Page) -> None:
    report = Report("t")
    for name in ("Scores on test", "어텐션", "Three"):
        report.section(name).text("x")
    found = Page(report.html())
    links = {attributes["href"] for tag, attributes in found.elements if tag == "a"}
    anchors = {f"#{attributes['id']}" for tag, attributes in found.elements if tag == "h2"}
    assert links == anchors
    assert len(anchors) == 3


def test_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.html"
    Report("first").write(path)
    Report("second 둘").write(path)
    assert "second 둘" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_the_long_text_of_a_wide_table_is_written_below_its_row() -> None:
    numbers = {f"n{i}": [i, i + 1] for i in range(8)}
    table = make_table(pd.DataFrame({"claim": ["a", "b"], **numbers, "meaning": ["long " * 20, ""]}))
    assert "meaning" not in table.columns and [len(row) for row in table.rows] == [9, 9]
    assert table.notes == ("long " * 20, "")
    html = Report("Page").table(pd.DataFrame({"claim": ["a", "b"], **numbers, "meaning": ["long " * 20, ""]})).html()
    assert html.count('<td class="note" colspan="9">') == 1
    narrow = make_table(pd.DataFrame({"claim": ["a"], "meaning": ["long " * 20]}))
    assert narrow.columns == ("claim", "meaning") and not narrow.notes


def test_a_table_wider_than_a_narrow_window_is_said_to_be_broad() -> None:
    """Seven columns, 890 pixels: small letters where there are 800, and texts do not take one line for each word."""
    claim, interval = "v2 prompts cluster by kind of task, v1 prompts do not", "-0.0098 [-0.049, 0.03]"
    columns = {"claim": claim, "where": "same_country_en", "verdict": "does not hold", "number [95 %]": interval}
    frame = pd.DataFrame([columns | {"random": -0.1, "beyond [95 %]": interval, "size": 0.5}])
    made = make_table(frame)
    assert (made.size, made.long) == ("broad", (True, *[False] * 6))
    html = Report("t").table(frame).html()
    assert '<div class="card scroll broad">' in html and '<th class="long">claim</th>' in html
    assert "-0.0098 [-0.049,\u00a00.03]" in html  # an interval is not parted between two lines
    assert make_table(frame[["claim", "where", "random"]]).size == ""
    assert make_table(pd.DataFrame({str(i): [i] for i in range(9)})).size == "wide"


def test_the_page_has_the_rules_that_make_wide_and_broad_tables_fit() -> None:
    """The layout is measured in a browser, which takes long; here: each size has its rules, and they are used."""
    frames = {
        "wide": {str(i): [i] for i in range(9)},
        "broad": {f"a column with a long name {i}": [i] for i in range(6)},
    }
    html = Report("t").table(pd.DataFrame(frames["wide"])).table(pd.DataFrame(frames["broad"])).html()
    style, script = html[html.index("<style>") : html.index("</style>")], html[html.rindex("<script>") :]
    for size in frames:
        assert f'<div class="card scroll {size}"><table>' in html
        rules = re.findall(rf"\.{size} table {{ font-size: ([\d.]+)rem; }}", style)
        assert rules and max(map(float, rules)) < 0.92  # smaller than other tables
        assert f".{size} td.number {{ white-space: normal; }}" in style  # an interval may take two lines
        assert f".{size} > table" in script[: script.index(".forEach(shrink)")]
    assert "overflow-x: auto" in style[style.index(".scroll {") :].split("}")[0]  # what is wider still can be reached
    assert "table.style.zoom = Math.max(box.clientWidth / box.scrollWidth" in script
    assert script.count(".forEach(shrink)") == 2  # at once, and when the window changes
