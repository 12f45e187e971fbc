"""Builds the C++ unit tests and runs them; the same as `ctest --preset release`."""

from __future__ import annotations

import re

from cpp_project import build_cpp_tests, run


def test_cpp_unit_tests_pass() -> None:
    tree = build_cpp_tests()
    printed = run("ctest", "--test-dir", tree, "--output-on-failure", "--no-tests=error")
    passed = re.search(r"100% tests passed.* out of (\d+)", printed)
    assert passed, printed
    assert int(passed[1]) > 0
