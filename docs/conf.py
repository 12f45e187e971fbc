"""The documentation, as HTML: ``pip install '.[docs]' && sphinx-build -W docs build/docs``.

The pages are Markdown and read well without it. Sphinx adds the API, from the docstrings of the
installed package, and a search.
"""

from __future__ import annotations

import re
from typing import Any

import flatstep

project = "flatstep"
author = "The flatstep authors"
copyright = f"{author}, Apache-2.0"
version = release = flatstep.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_*"]
nitpicky = False

# Single backticks in docstrings name things of the package; what is none of these is code.
default_role = "literal"

myst_enable_extensions = []
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # The docstrings say what an argument may be; so do the stubs.
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"flatstep {version}"
html_static_path = ["_static"]
html_css_files = ["flatstep.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def _without_types(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, *parts: str
) -> Any:
    """A native function's signature as a Python function's: without self, types and result."""
    signature, result = parts
    if signature is None or result is None:
        return None
    return re.sub(r"^\(self(, )?", "(", re.sub(r": [\w.]+", "", signature)), None


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", _without_types)
