"""The pictures of the gallery are drawn from tables that are kept, and are those that its page shows."""

import re
from pathlib import Path

import pytest

from docs.make_gallery import FOLDER, PICTURES

PAGE = FOLDER.parent / "gallery.md"


def test_the_page_shows_the_pictures_that_are_made() -> None:
    shown = re.findall(r":img-top: gallery/(\w+)\.png", PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(PICTURES) == sorted(path.stem for path in Path(FOLDER).glob("*.png"))


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_has_numbers_and_fits_800_pixels(name: str) -> None:
    figure = PICTURES[name]()
    assert figure.data and all(len(trace.y) for trace in figure.data)
    assert figure.layout.width < 800
