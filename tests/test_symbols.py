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

INSTRUCTION_SETS = ("avx512", "avx2", "neon", "sse2", "emulated")

# nm's letters for what other units can see and the linker may merge: text, data, read-only, bss,
# weak, unique, common.
VISIBLE = set("TDRBWVuCi")


def kernel_objects(tree: Path) -> dict[str, Path]:
    found = {}
    for name in INSTRUCTION_SETS:
        objects = [path for path in tree.rglob(f"{name}.cpp.o*") if "flatstep_kernels" in str(path)]
        if objects:
            (found[name],) = objects
    return found


def visible_symbols(unit: Path) -> list[str]:
    """The demangled names of the symbols that an object file defines for others."""
    lines = run("nm", "--defined-only", "--demangle", unit).splitlines()
    symbols = [re.fullmatch(r"[0-9a-f]* *(\S) (.+)", line) for line in lines]
    return [symbol[2] for symbol in symbols if symbol and symbol[1] in VISIBLE]


def test_every_unit_defines_its_own_symbols_only() -> None:
    require_tools("nm")
    objects = kernel_objects(build_cpp_tests())
    assert {"emulated"} < set(objects), "at least one native instruction set must be built"
    for name, unit in objects.items():
        symbols = visible_symbols(unit)
        assert any(f"flatstep::{name}::" in symbol for symbol in symbols), name
        strangers = [symbol for symbol in symbols if f"flatstep::{name}::" not in symbol]
        if strangers:
            pytest.fail(f"{unit.name} defines what other units may define too: {strangers}")
