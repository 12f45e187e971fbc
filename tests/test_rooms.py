"""The rooms of the Python package: arrows go one way, and there is no circle."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
grimp = pytest.importorskip("grimp")
cli = pytest.importorskip("importlinter.cli")


def test_contracts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of pyproject.toml, as ``lint-imports`` checks them."""
    monkeypatch.chdir(ROOT)
    kept = cli.lint_imports(config_filename="pyproject.toml", no_cache=True) == 0
    assert kept, capsys.readouterr().out


def test_no_module_imports_itself_by_others() -> None:
    """Not even a package and what is in it, which no contract of import-linter looks at."""
    graph = grimp.build_graph("flatstep", cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module) - {"flatstep"}
        for module in graph.modules - {"flatstep"}
    }
    TopologicalSorter(imports).prepare()  # raises CycleError


def test_who_imports_the_package_itself() -> None:
    """The demo and the command line do, as its users; nothing that it is made of."""
    graph = grimp.build_graph("flatstep", cache_dir=None)
    for module in graph.find_modules_that_directly_import("flatstep"):
        if module.startswith(("flatstep.demo.", "flatstep.cli")):
            continue
        for each in graph.get_import_details(importer=module, imported="flatstep"):
            assert "_core" in each["line_contents"], f"{module}: {each['line_contents']}"
