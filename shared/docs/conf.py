"""The site of these pages, `make docs`: Sphinx over Markdown, API pages from docstrings; every warning is an error."""

import re
from typing import Any

from ddnn import __version__

project = "ddnn"
version = release = __version__
copyright = "the authors of ddnn, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["results/serving/lean/lean.md", "results/serving/targets.md"]  # tables of performance.md
myst_heading_anchors = 3
suppress_warnings = [
    "misc.highlighting_failure",  # JSON with … in it is for readers
    "ref.python",  # a name that two classes have
]

default_role = "code"  # a single backtick in a docstring
autodoc_default_options = {"member-order": "bysource", "exclude-members": "model_config"}

html_theme = "furo"
html_title = "ddnn"
html_copy_source = False
html_show_sphinx = False


ARRAY = re.compile(r"~?[\w.]*ndarray\[~?tuple\[~?[\w.]*Any, \.\.\.\], ~?[\w.]*dtype\[~?(?:\w+\.)?(\w+)\]\]")
NAMES = {"float32": "Floats", "int64": "Ints", "bool": "Bools", "uint8": "Bits"}


def short(*event: Any) -> tuple[str | None, str | None]:
    """Arrays in a signature by their names in `ddnn.types`."""
    signature, returned = (text and ARRAY.sub(lambda found: NAMES.get(found[1], "Array"), text) for text in event[-2:])
    return signature, returned


def plain(*event: Any) -> None:
    """Take a docstring's sentences as they stand: outside of backticks, `*` and `|` are no marks."""
    lines = event[-1]
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", re.sub(r"^(\w+)\.$", r"\1\.", line))  # "K." alone would be a list
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", short)
