"""Configuration of the documentation: `make docs` builds it into docs/_build/html, without a network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import example_reports
import generated_pages as pages

import lcnn_flow

project = "lcnn_flow"
author = "The lcnn_flow developers"
version = release = lcnn_flow.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx-mathjax-offline"]
exclude_patterns = ["_build", "_extra", "jupyter_execute"]
html_theme = "sphinx_book_theme"
html_title = "lcnn_flow"
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_css_files = ["wide.css"]
toc_object_entries = False
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2}

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a notebook runs again only when its code has changed
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

default_role = "code"  # docstrings write code in single backticks
autodoc_typehints = "none"  # shapes stand in the docstrings
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["config.cache", "mystnb.unknown_mime_type"]


def setup(app):
    """Pages that are written from the code at every build, and reports that are computed at the first one."""
    pages.write_pages(HERE / "reference")
    example_reports.write_reports(HERE / "_build" / "runs", HERE / "_extra" / "reports")
    app.connect("autodoc-process-docstring", pages.escape_docstring, priority=100)
    app.connect("autodoc-process-docstring", pages.docstring_of_attribute_aside, priority=200)  # napoleon comes at 500
    app.connect("autodoc-process-docstring", pages.docstring_of_attribute_back, priority=900)
