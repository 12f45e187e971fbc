"""What the installed package carries besides Python: headers, CMake package, types, one version."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from importlib.resources import files
from pathlib import Path

import flatstep as fs
from flatstep import _core

INCLUDE = Path(fs.get_include())
CMAKE = Path(fs.get_cmake_dir())


def test_one_version() -> None:
    header = (INCLUDE / "flatstep" / "version.hpp").read_text()
    config = (CMAKE / "flatstepConfigVersion.cmake").read_text()
    assert fs.__version__ == importlib.metadata.version("flatstep")
    assert re.findall(r'version = "(.*)"', header) == [fs.__version__]
    assert re.findall(r'set\(PACKAGE_VERSION "([\d.]+)"\)', config) == [fs.__version__]


def test_headers_are_complete() -> None:
    """Each header that a header includes is there too."""
    headers = sorted(INCLUDE.rglob("*.hpp"))
    assert INCLUDE / "flatstep" / "flatstep.hpp" in headers
    for header in headers:
        for included in re.findall(r"#include <(flatstep/.+)>", header.read_text()):
            assert (INCLUDE / included).is_file(), f"{header} includes {included}"


def test_cmake_package_has_the_kernels() -> None:
    for name in ("flatstepConfig.cmake", "flatstepTargets.cmake"):
        assert (CMAKE / name).is_file()
    kernels = CMAKE / "kernels"
    for name in ("flatstepKernels.cmake", "targets.cmake", "target.cpp", "dispatch.cpp"):
        assert (kernels / name).is_file()
    targets = re.findall(
        r"^flatstep_target\((\w+)", (kernels / "targets.cmake").read_text(), re.MULTILINE
    )
    assert "emulated" in targets
    for target in targets:
        assert (INCLUDE / "flatstep" / "simd" / f"{target}.hpp").is_file()


def test_package_is_typed() -> None:
    package = files("flatstep")
    assert (package / "py.typed").is_file()
    stub = ast.parse((package / "_core.pyi").read_text())
    declared = {
        node.target.id if isinstance(node, ast.AnnAssign) else node.name
        for node in stub.body
        if (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
        or isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert public <= declared, f"run .ci/stubs: {public - declared} are not in the stub"
