"""The jobs: what every commit must pass, and what takes too long for that.

    nox                  lint and tests, each in an environment of its own
    nox -s tidy          one job; nox --list shows them all
    nox --no-venv -s lint tests    in the environment that is active, with what is installed there

.ci/run and .ci/nightly call these sessions, so a job is written down here and nowhere else.
"""

from __future__ import annotations

import re
import subprocess

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]


def install(session: nox.Session, *what: str) -> None:
    """Into the session's own environment; with --no-venv what is there is used as it is.

    Building the package takes minutes, and .ci/run has already done it as the README says.
    """
    if session.venv_backend != "none":
        session.install(*what)


def tools(*names: str) -> list[str]:
    """The requirements of these names in pyproject.toml's extras, with their pins."""
    extras = PROJECT["optional-dependencies"]
    found = {
        re.split(r"[^\w.-]", requirement)[0]: requirement
        for extra in ("test", "dev")
        for requirement in extras[extra]
    }
    return [found[name] for name in names]


def tracked(*patterns: str) -> list[str]:
    """The files of the tree that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], check=True, capture_output=True, text=True
    )
    return listed.stdout.splitlines()


def ctest(session: nox.Session, preset: str) -> None:
    """Build a preset and run its tests. An earlier cache may name a Ninja that is gone: --fresh."""
    install(session, *tools("cmake", "ninja"))
    session.run("cmake", "--fresh", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Format of C++ and Python, ruff, types, the stub of the native module."""
    install(session, ".[test]")
    session.run("clang-format", "--dry-run", "-Werror", *tracked("*.hpp", "*.cpp"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy", "--strict", "python/")
    session.run(".ci/stubs", "--check", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """What the README promises: pip install '.[test]' && pytest. It runs the C++ tests too."""
    install(session, ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def cpp(session: nox.Session) -> None:
    """The C++ tests alone, without Python."""
    ctest(session, "release")


@nox.session
def sanitize(session: nox.Session) -> None:
    """The C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    ctest(session, "sanitize")


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy (.clang-tidy says what for) over the kernels, the C++ tests and the module."""
    install(session, *tools("clang-tidy", "cmake", "ninja", "pybind11"))
    pybind11 = session.run("python", "-m", "pybind11", "--cmakedir", silent=True)
    python = session.run("python", "-c", "import sys; print(sys.executable)", silent=True)
    found = {"pybind11_DIR": pybind11, "Python_EXECUTABLE": python}
    options = [f"-D{name}={str(path).strip()}" for name, path in found.items()]
    session.run("cmake", "--fresh", "--preset", "tidy", *options)
    # Every finding, not those of the first unit alone.
    session.run("cmake", "--build", "--preset", "tidy", *session.posargs, "--", "-k", "0")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as HTML, in build/docs; a warning is an error."""
    install(session, ".[docs]")
    session.run("sphinx-build", "-W", "docs", "build/docs")


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """The sdist and the wheel in dist/, checked and tested; .ci/wheel makes its environments."""
    session.run(".ci/wheel", external=True)


@nox.session(venv_backend="none")
def other_machines(session: nox.Session) -> None:
    """The C++ tests and the wheel on emulated machines; after `wheel`. For Linux, with qemu."""
    session.run(".ci/other-machines", external=True)
