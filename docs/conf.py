"""The documentation, as HTML: ``pip install '.[docs]' && sphinx-build -W docs build/docs``.

The pages are Markdown and read well without it. Sphinx adds the API, from the docstrings of the
installed package, pictures and what the examples print, which are made when the pages are
(`_extensions/pages.py`), and a search.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import sphinx.ext.napoleon
from sphinx.ext.napoleon import GoogleDocstring

import flatstep

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "flatstep"
author = "The flatstep authors"
copyright = f"{author}, Apache-2.0"
version = release = flatstep.__version__

extensions = ["myst_parser", "pages", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_*"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(collections|numpy)\..*")]  # not pages of this documentation

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

linkcheck_ignore = ["https?://"]  # links between pages only: it needs no network

html_theme = "furo"
html_title = f"flatstep {version}"
html_static_path = ["_static"]
html_css_files = ["flatstep.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def _arguments(signature: str) -> list[str]:
    """What stands between the commas that are in no brackets of a type."""
    parts, depth = [""], 0
    for character in signature:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _without_types(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, *parts: str
) -> Any:
    """A native function's signature as a Python function's: without self, types and result."""
    signature, result = parts
    if signature is None or result is None:
        return None
    shown = []
    for argument in _arguments(signature[1:-1]):
        name, _, type_and_default = argument.partition(":")
        _, equals, default = type_and_default.partition(" = ")
        if name and name != "self":
            shown.append(f"{name}={default}" if equals else argument if "=" in name else name)
    return f"({', '.join(shown)})", None


def _skip(_app: Any, _what: str, name: str, value: Any, skip: bool, _options: Any) -> bool | None:
    """Of an updater that is shipped in NumPy, what CustomUpdater says of all of them."""
    if name in ("choices", "initial_state", "ranges"):
        return True
    if name in ("get_gradient", "state_shapes"):
        return not value.__qualname__.startswith("CustomUpdater.")
    return None


class _WholeDocstring(GoogleDocstring):
    """Properties and attributes have docstrings like those of methods.

    Napoleon takes what stands before the first colon for a type, and cuts the sentence there.
    """

    def _parse(self) -> None:
        if self._what in ("attribute", "property"):
            self._what = "method"
        super()._parse()


sphinx.ext.napoleon.GoogleDocstring = _WholeDocstring  # type: ignore[misc]


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", _without_types)
    app.connect("autodoc-skip-member", _skip)
