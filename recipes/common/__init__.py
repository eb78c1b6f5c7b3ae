"""What all recipes share: presets, published numbers, tables with a difference column, figures, a results folder.

A recipe is a folder with `run.py`, `published.csv` and a README; it imports `promptscope` and this folder, never
another recipe. README.md shows the whole of it in one page.
"""

from recipes.common.presets import add_preset_options, chosen_settings
from recipes.common.published import Explanation, PublishedError, compare, explain, read_published
from recipes.common.results import Results

__all__ = [
    "Explanation",
    "PublishedError",
    "Results",
    "add_preset_options",
    "chosen_settings",
    "compare",
    "explain",
    "read_published",
]
