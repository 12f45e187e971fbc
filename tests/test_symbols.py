"""No kernel unit shares a symbol with another.

Units compiled for different instruction sets must not define the same function: the linker keeps
one of them, and if it keeps the one for AVX-512, older machines crash where they run it. So each
symbol that a unit defines for others to see must be in the namespace of its instruction set.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cpp_project import build_cpp_tests, require_tools, run

# nm's letters for what other units can see and the linker may merge: text, data, read-only, bss,
# weak, unique, common.
VISIBLE = set("TDRBWVuCi")


def targets(tree: Path) -> list[str]:
    """The instruction sets of a build, from the list that its dispatch is compiled with."""
    ranked = (tree / "flatstep_kernels" / "flatstep_targets.def").read_text()
    return re.findall(r"^FLATSTEP_TARGET\((\w+),", ranked, re.MULTILINE)


def kernel_object(tree: Path, name: str) -> Path:
    (found,) = tree.rglob(f"flatstep_kernels_{name}.dir/**/target.cpp.o*")
    return found


def visible_symbols(unit: Path) -> list[str]:
    """The demangled names of the symbols that an object file defines for others."""
    lines = run("nm", "--defined-only", "--demangle", unit).splitlines()
    symbols = [re.fullmatch(r"[0-9a-f]* *(\S) (.+)", line) for line in lines]
    return [symbol[2] for symbol in symbols if symbol and symbol[1] in VISIBLE]


@pytest.mark.parametrize("preset", ["release", "debug"])
def test_every_unit_defines_its_own_symbols_only(preset: str) -> None:
    """In a debug build nothing is inlined, and every function that is called has a symbol."""
    require_tools("nm")
    tree = build_cpp_tests() if preset == "release" else build_cpp_tests(preset, "flatstep_kernels")
    names = targets(tree)
    assert {"emulated"} < set(names), "at least one native instruction set must be built"
    for name in names:
        symbols = visible_symbols(kernel_object(tree, name))
        assert any(f"flatstep::{name}::" in symbol for symbol in symbols), name
        strangers = [symbol for symbol in symbols if f"flatstep::{name}::" not in symbol]
        if strangers:
            pytest.fail(f"the unit of {name} defines what others may define too: {strangers}")
