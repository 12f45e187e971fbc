"""Builds the C++ unit tests and runs them; the same as `ctest --preset release`."""

from __future__ import annotations

import re
from typing import NoReturn

import cpp_project
import pytest
from cpp_project import CommandFailed, build_cpp_tests, run


def test_cpp_unit_tests_pass() -> None:
    tree = build_cpp_tests()
    printed = run("ctest", "--test-dir", tree, "--output-on-failure", "--no-tests=error")
    passed = re.search(r"100% tests passed.* out of (\d+)", printed)
    assert passed, printed
    assert int(passed[1]) > 0


@pytest.mark.parametrize("under_ci", [False, True])
def test_a_missing_googletest_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, under_ci: bool
) -> None:
    def fail(*command: object, **environment: str) -> NoReturn:
        log = "\n".join(["Each download failed!", "cmake -P googletest-download.cmake"] * 30)
        raise CommandFailed(f"cmake\nexited with 1:\n{log}")

    monkeypatch.setattr(cpp_project, "run", fail)
    monkeypatch.setattr(cpp_project, "require_tools", lambda: None)
    monkeypatch.setattr(cpp_project, "UNDER_CI", under_ci)
    outcome = pytest.fail.Exception if under_ci else pytest.skip.Exception
    with pytest.raises(outcome) as refused:
        build_cpp_tests.__wrapped__("release", "none")
    assert "libgtest-dev" in str(refused.value)
    assert "\n" not in str(refused.value)
