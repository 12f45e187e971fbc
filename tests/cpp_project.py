"""Configures and builds CMake projects for the tests that need a C++ compiler."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

UNDER_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


class CommandFailed(Exception):
    """A command that exited with an error; says which, and what it printed."""


def run(*command: str | os.PathLike[str], **environment: str) -> str:
    """Runs a command and returns what it printed on either stream."""
    words = [os.fspath(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}\nexited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def skip_unless_ci(missing: str) -> None:
    """Skips the running test; under CI, where everything must be there, fails it."""
    if UNDER_CI:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def require_tools(*others: str) -> None:
    """Skips or fails the running test where a C++ compiler, CMake, Ninja or another tool is
    missing.
    """
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++")
    for choices in (compilers, ("cmake",), ("ninja",), *((other,) for other in others)):
        if not any(map(shutil.which, choices)):
            skip_unless_ci(f"not installed: {' or '.join(choices)}")


def build(configure: list[str | os.PathLike[str]], directory: Path, target: str = "all") -> Path:
    """Configures a CMake project with the given arguments and builds it in `directory`."""
    run("cmake", *configure, "-B", directory)
    run("cmake", "--build", directory, "--target", target)
    return directory


@functools.cache
def build_cpp_tests(preset: str = "release", target: str = "all") -> Path:
    """A build tree of flatstep's own C++ tests: built once, kept while the tests run."""
    require_tools()
    warnings_as_errors = f"-DFLATSTEP_WERROR={'ON' if UNDER_CI else 'OFF'}"
    tree = _build_tree(preset)
    try:
        run("cmake", "-S", ROOT, "--preset", preset, warnings_as_errors, "-B", tree)
    except CommandFailed as failure:
        if "googletest" not in str(failure):
            raise
        # CMake's own account of it is sixty lines about a download.
        skip_unless_ci(
            "not installed: GoogleTest, which CMake could not fetch either; install it (Debian: "
            "libgtest-dev)"
        )
    run("cmake", "--build", tree, "--target", target)
    return tree


@functools.cache
def _build_tree(preset: str) -> Path:
    tree = tempfile.mkdtemp(prefix=f"flatstep-cpp-tests-{preset}-")
    atexit.register(shutil.rmtree, tree, ignore_errors=True)
    return Path(tree)
