"""The site: `make docs`. MyST Markdown, notebooks with kept output, an API reference from docstrings."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "promptscope"
author = "the promptscope authors"
release = version = installed("promptscope")
html_title = f"promptscope {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "_ext.api_examples",
    "_ext.api_links",
    "_ext.api_pages",
    "_ext.cli_page",
    "_ext.mathml",
    "_ext.repository_pages",
    "_ext.table_breaks",
]
exclude_patterns = ["_build", "_ext", "notebooks/_run"]

# tests/test_notebooks.py executes notebooks; what they printed is kept in them, so that the site builds in a minute.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # the interactive form of a figure, kept with its picture

# Docstrings are plain text with `code` in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False  # "init, seed: ..." stays one entry
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_math_renderer = "mathml"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
