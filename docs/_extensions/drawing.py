"""Pictures and examples of the documentation, without Sphinx: the tests use this as well."""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib.util
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

DOCS = Path(__file__).parent.parent
PICTURES = DOCS / "_pictures"
EXAMPLES = DOCS.parent / "examples"
MODEL = DOCS.parent / "tests" / "goldens" / "zips" / "iris_mlp_adam_clip.zip"

#: flatstep's own colours of plots, and what stands for them on a dark page.
DARK = {
    "#ffffff": "#131416",
    "#30363d": "#d0d7de",
    "#8b949e": "#8b949e",
    "#e3e6ea": "#2d333b",
    "#000000": "#f0f0f0",
    "#0072b2": "#4da3dd",
    "#f3f4f6": "#23272e",
}


# ---- Pictures


def draw(name: str) -> str:
    """The picture of a script, as SVG: the same text each time. Empty where what it shows is not
    installed."""
    figure = load(PICTURES / f"{name}.py").draw()
    return "" if figure is None else svg(figure)


def svg(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "flatstep", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def dark(picture: str) -> str:
    """The same picture for a dark page."""
    pattern = re.compile("|".join(DARK), re.IGNORECASE)
    return pattern.sub(lambda found: DARK[found[0].lower()], picture)


def width(picture: str) -> float:
    """In points."""
    found = re.search(r'<svg[^>]* width="([\d.]+)pt"', picture)
    return float(found[1]) if found else 0.0


class Session(NamedTuple):
    """A page whose blocks were run: the pictures that they wrote, by name, and what was wrong."""

    pictures: dict[str, str]
    failures: str


def session(page: Path) -> Session:
    """Run a page's ``>>>`` blocks, as the tests run them."""
    text = re.sub(r"^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = {"__name__": "__main__"}
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    report: list[str] = []
    with in_a_new_folder() as folder:
        (folder / "model.zip").write_bytes(MODEL.read_bytes())
        doctest.DocTestRunner().run(test, out=report.append)
        written = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.svg"))}
    return Session(written, "".join(report))


# ---- Examples


class Ran(NamedTuple):
    """An example that was run: what its main returned, and what it printed."""

    result: Any
    printed: str


@functools.cache
def run_example(name: str, arguments: str = "") -> Ran:
    """Run an example as a user does; the gallery and its pictures share one run."""
    module = load(EXAMPLES / f"{name}.py")
    printed = io.StringIO()
    with in_a_new_folder(), contextlib.redirect_stdout(printed):
        result = module.main(shlex.split(arguments))
    return Ran(result, printed.getvalue())


# ---- What both need


def load(path: Path) -> ModuleType:
    """A script as a module. Those of pictures may import each other."""
    sys.path[:0] = [str(PICTURES), str(Path(__file__).parent)]
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        del sys.path[:2]


@contextlib.contextmanager
def in_a_new_folder() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
