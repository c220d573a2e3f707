"""The site of these pages, `make docs`: Sphinx over Markdown, API pages from docstrings; every warning is an error."""

import importlib.util

from ddnn import __version__

project = "ddnn"
version = release = __version__
copyright = "the authors of ddnn, Apache-2.0"

exclude_patterns = ["results/serving/targets.md"]  # a table of performance.md
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # JSON with … in it is for readers

default_role = "code"  # a single backtick in a docstring
autodoc_default_options = {"members": True, "member-order": "bysource"}
TRAINING = (
    "torch",
    "onnx",
    "onnxscript",
    "safetensors",
    "sklearn",
    "mlxtend",
)  # named by their types alone, if need be
autodoc_mock_imports = [name for name in TRAINING if not importlib.util.find_spec(name)]

html_theme = "furo"
html_title = "ddnn"
html_copy_source = False
html_show_sphinx = False
