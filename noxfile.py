"""The jobs: what every commit must pass, and what takes too long for that.

    nox                  lint and tests, each in an environment of its own
    nox -s tidy          one job; nox --list shows them all
    nox --no-venv -s lint tests    in the environment that is active, with what is installed there

.ci/run and .ci/nightly call these sessions, so a job is written down here and nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False  # of `pythons`: those that the machine has

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


# What touches memory in every way there is, and takes minutes under a sanitizer.
HOSTILE = (
    "tests/test_hostile.py",
    "tests/test_memory_safety.py",
    "tests/test_zero_copy.py",
    "tests/test_state_doors.py",
    "tests/test_as_views.py",
    "tests/test_nonfinite.py",
    "tests/test_serialization.py",
    "tests/test_sequences.py",
    "tests/test_narrow_storage.py",
)


@nox.session
def sanitize_python(session: nox.Session) -> None:
    """The Python module under AddressSanitizer and UndefinedBehaviorSanitizer (GCC, Linux).

    Once with the machine's own vectors and once with the emulated ones: a masked load that reads
    too far touches nothing, a plain loop does. The interpreter itself is not instrumented, so the
    runtime is loaded first, and C++'s with it, whose exceptions it wants to see. Leaks are not
    looked for: the interpreter keeps what it likes.
    """
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["checkpoint"]]
    install(session, *tools("hypothesis", "ml_dtypes", "mpmath", "pytest"), *needed)
    # In the tree of `sanitize`, so that the kernels, which take minutes, are compiled once.
    session.run(
        "python", "-m", "pip", "install", "--no-deps", "--force-reinstall", ".",
        "-Cbuild-dir=build/sanitize", "-Ccmake.args=--preset=sanitize",
        "-Ccmake.build-type=RelWithDebInfo", "-Cinstall.strip=false",
        "-Ccmake.define.FLATSTEP_BUILD_PYTHON=ON", "-Ccmake.define.FLATSTEP_BUILD_TESTS=OFF",
    )  # fmt: skip
    compiler = os.environ.get("CXX", "g++")
    libraries = [
        str(session.run(compiler, f"-print-file-name={name}", silent=True, external=True)).strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    environment = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # or the interpreter's own allocator hides what is freed
        "PYTHONFAULTHANDLER": "1",
    }
    # The sanitizer's own memory is resident, too.
    pytest = (
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not resident_bytes",
        *HOSTILE, *session.posargs,
    )  # fmt: skip
    for isa in ("", "emulated"):
        session.run(*pytest, env={**environment, "FLATSTEP_ISA": isa})


@nox.session
def thread(session: nox.Session) -> None:
    """Threads, stages, exchange, same bits and a stress program under ThreadSanitizer."""
    install(session, *tools("cmake", "ninja"))
    programs = ("threads_test", "stages_test", "exchange_test", "same_bits_test", "stress_test")
    session.run("cmake", "--fresh", "--preset", "thread")
    session.run("cmake", "--build", "--preset", "thread", "--target", *programs)
    for program in programs:
        # One by one and whole: ctest would start a program for each test in it.
        session.run(
            f"build/thread/cpp/tests/{program}",
            "--gtest_brief=1",
            env={"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"},
            external=True,
        )


@nox.session
def fuzz(session: nox.Session) -> None:
    """The fuzzers, for so many seconds each: nox -s fuzz -- 600 (default 60). Needs Clang."""
    seconds = session.posargs[0] if session.posargs else "60"
    compiler = next(filter(shutil.which, ("clang++", "clang++-19", "clang++-16", "clang++-14")), "")
    if not compiler:
        session.error("not installed: clang++ with libFuzzer (Debian: clang, libclang-rt-dev)")
    install(session, *tools("cmake", "ninja"))
    compilers = {"CXX": compiler}
    session.run("cmake", "--fresh", "--preset", "fuzz", env=compilers)
    session.run("cmake", "--build", "--preset", "fuzz")
    for fuzzer in sorted(Path("cpp/fuzz").glob("*_fuzzer.cpp")):
        corpus = Path("build/fuzz/corpus") / fuzzer.stem
        corpus.mkdir(parents=True, exist_ok=True)
        session.run(
            f"build/fuzz/cpp/fuzz/{fuzzer.stem}", str(corpus),
            f"-max_total_time={seconds}", "-print_final_stats=1",
            # Short cases, which are quick, come first. By default they are all that is tried: after
            # 50 000 cases libFuzzer still kept to 25 bytes.
            "-max_len=160", "-len_control=10",
            f"-artifact_prefix=build/fuzz/{fuzzer.stem}-",
            external=True,
        )  # fmt: skip


# What depends on the interpreter: its end, its lock, interrupts, memory, frames, threads.
INTERPRETER = (
    "tests/test_process_exit.py",
    "tests/test_interrupts.py",
    "tests/test_memory_safety.py",
    "tests/test_memory_errors.py",
    "tests/test_hostile.py",
    "tests/test_zero_copy.py",
    "tests/test_checkpoint.py",
    "tests/test_files.py",
)


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """What depends on the interpreter, on each CPython that is here."""
    needed = PROJECT["optional-dependencies"]["checkpoint"]
    session.install(".", *tools("hypothesis", "ml_dtypes", "mpmath", "pytest"), *needed)
    session.run("pytest", "-q", *INTERPRETER, *session.posargs, env={"FLATSTEP_EXITS": "100"})


@nox.session
def sequences(session: nox.Session) -> None:
    """Random sequences of calls, points against mpmath, damaged files and ends of the interpreter,
    many of each: nox -s sequences -- 20000 (default 2000)."""
    number = session.posargs[0] if session.posargs else "2000"
    install(session, ".[test]")
    session.run(
        "pytest", "-q", "tests/test_sequences.py", "tests/test_mpmath.py",
        "tests/test_reader_fuzz.py", "tests/test_process_exit.py",
        env={"FLATSTEP_FUZZ": number, "FLATSTEP_EXITS": "400"},
    )  # fmt: skip


@nox.session
def peers(session: nox.Session) -> None:
    """The presets against PyTorch, optax and Keras: every option with every other."""
    install(session, ".[peers,test]")
    session.run(
        "pytest", "-q", *sorted(str(path) for path in Path("tests").glob("test_peer*.py")),
        env={"FLATSTEP_PEER_PAIRS": "all"},
    )  # fmt: skip
    session.run("pytest", "-q", "tests/test_docs.py", "-k", "test_examples_of_pages and interop")


@nox.session
def mpi(session: nox.Session) -> None:
    """All rows of the tables of test_mpi.py, under every MPI, on 1 to 4 ranks.

    FLATSTEP_MPI names the MPIs, as `.ci/run` makes them; else it is the system's.
    """
    install(session, ".[mpi,test]")
    session.run(
        "pytest", "-q", "tests/test_mpi.py", "-k", "on_every_number_of_ranks or narrow_storage",
        env={"FLATSTEP_MPI_ROWS": "all"},
    )  # fmt: skip


# What they reach is in programs and processes of their own and not counted, or, of test_interrupts,
# what others reach, too, but at every opcode and traced twice. A process that is killed while it
# writes its counts would spoil those of all others.
UNCOUNTED = ("bench", "consumer", "cpp", "examples", "interrupts", "process_exit", "symbols")
UNCOUNTED_TESTS = "not cpp_program and not cpp_page and not a_kill and not resident_bytes"


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines of cpp/include and python/flatstep no test reaches (GCC): at least 97 % of each.

    The C++ tests and the module are built to count, pytest runs on that module, and what both have
    counted is added up (.ci/cpp-lines). The counts are in build/coverage.
    """
    # What the tests need, without the package: it is built below, to count.
    extras = PROJECT["optional-dependencies"]
    wanted = ("checkpoint", "demo", "mpi", "peers", "tensorboard", "test")
    needed = [*PROJECT["dependencies"], *(each for name in wanted for each in extras[name])]
    needed = [requirement for requirement in needed if not requirement.startswith("flatstep")]
    install(session, *needed, "coverage>=7.10")
    # One tree for both, so that the kernels are compiled once.
    session.run(
        "python", "-m", "pip", "install", "--no-deps", "--force-reinstall", ".",
        "-Cbuild-dir=build/coverage", "-Ccmake.args=--preset=coverage",
        "-Ccmake.build-type=Debug", "-Cinstall.strip=false",
    )  # fmt: skip
    for counts in Path("build/coverage").rglob("*.gcda"):
        counts.unlink()  # an earlier run's, to which this one's would be added
    session.run("ctest", "--preset", "coverage")
    # gcov does not add pytest's own counts to those of the processes that it started: when it ends
    # it writes them apart.
    apart = Path("build/coverage/pytest.counts").resolve()
    program = (
        "import atexit, os, sys; from coverage.cmdline import main; "
        f"atexit.register(os.putenv, 'GCOV_PREFIX', {str(apart)!r}); "
        f"atexit.register(os.putenv, 'GCOV_PREFIX_STRIP', '{len(apart.parent.parts) - 1}'); "
        "sys.exit(main())"
    )
    session.run(
        "python", "-c", program,
        "run", "--source=flatstep", "-m", "pytest", "-q",
        *(session.posargs or [f"--ignore=tests/test_{name}.py" for name in UNCOUNTED]),
        "-k", UNCOUNTED_TESTS,
        env={
            "COVERAGE_FILE": "build/coverage/lines.python",
            "FLATSTEP_SLOWER": "10",
        },
    )  # fmt: skip
    lines = {"COVERAGE_FILE": "build/coverage/lines.python"}
    session.run("coverage", "combine", env=lines)  # pytest's and those of processes it started
    session.run(
        "coverage", "report", "--show-missing", "--skip-covered", "--fail-under=97",
        env=lines,
    )  # fmt: skip
    session.run(
        ".ci/cpp-lines", "build/coverage", "97", "cpp/include", "python/bindings", external=True,
    )  # fmt: skip


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
    """The documentation as HTML, in build/docs; a warning is an error, and so is a dead link."""
    install(session, ".[docs]")
    for builder, folder in (("html", "build/docs"), ("linkcheck", "build/links")):
        session.run(
            "sphinx-build", "-W", "-b", builder, "-d", "build/doctrees", "docs", folder,
            env={"OPENBLAS_NUM_THREADS": "1"},  # the matrices of examples are small
        )  # fmt: skip


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """The sdist and the wheel in dist/, checked and tested; .ci/wheel makes its environments."""
    session.run(".ci/wheel", external=True)


@nox.session(venv_backend="none")
def other_machines(session: nox.Session) -> None:
    """The C++ tests and the wheel on emulated machines; after `wheel`. For Linux, with qemu."""
    session.run(".ci/other-machines", external=True)


@nox.session(venv_backend="none")
def cross_wheels(session: nox.Session) -> None:
    """Wheels for Linux on aarch64 and for musl, cross-compiled and tested. For Debian on x86-64.

    One alone: nox -s cross_wheels -- musllinux-x86_64.
    """
    session.run(".ci/cross-wheels", *session.posargs, external=True)
