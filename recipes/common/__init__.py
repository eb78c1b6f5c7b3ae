"""What all recipes share: command line, tasks, kept computations, findings, published numbers, results folder.

A recipe is a folder with `run.py`, `published.csv` and a README; it imports `promptscope` and this folder, never
another recipe. README.md shows the whole of it in one page.
"""

from recipes.common.command import add_recipe_options, finish, recipe_parser
from recipes.common.computed import Computed, decided_by, identity_of
from recipes.common.costs import cost, counted
from recipes.common.findings import Finding, Number, absent, finding_table, judge, matched, mean_of, over_tasks
from recipes.common.presets import add_preset_options, chosen_settings
from recipes.common.published import Explanation, PublishedError, compare, explain, read_published
from recipes.common.results import Results
from recipes.common.splits import balanced_order, drawn, few_shot, with_train_and_test, with_validation
from recipes.common.tasks import folder_of, load_tasks

__all__ = [
    "Computed",
    "Explanation",
    "Finding",
    "Number",
    "PublishedError",
    "Results",
    "absent",
    "add_preset_options",
    "add_recipe_options",
    "balanced_order",
    "chosen_settings",
    "compare",
    "cost",
    "counted",
    "decided_by",
    "drawn",
    "explain",
    "few_shot",
    "finding_table",
    "finish",
    "folder_of",
    "identity_of",
    "judge",
    "load_tasks",
    "matched",
    "mean_of",
    "over_tasks",
    "read_published",
    "recipe_parser",
    "with_train_and_test",
    "with_validation",
]
