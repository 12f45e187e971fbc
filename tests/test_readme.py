"""Every code block of the README is run, and what it says it prints is what it prints.

Python blocks run in order and share their names; ``print(…)  # text`` says what is printed, as do
whole lines of comment after it. The C++ program is compiled and run. Of the shell commands those
that would install something are checked for what they name; the others are run, the demo for one
epoch.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cpp_project import ROOT, build, require_tools, run

import flatstep as fs
from flatstep import cli

README = ROOT / "README.md"
MODEL = Path(__file__).parent / "goldens" / "zips" / "iris_mlp_adam_clip.zip"


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the README where the text starts."""

    language: str
    text: str
    line: int


def blocks(language: str) -> list[Block]:
    """All blocks of a language."""
    text = README.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in fences]
    return [block for block in found if block.language == language]


def only(language: str) -> str:
    """The text of a language's one block."""
    (block,) = blocks(language)
    return block.text


def shell_lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.text.splitlines()]


def test_every_block_is_of_a_language_that_is_run() -> None:
    text = README.read_text(encoding="utf-8")
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert set(fences[::2]) == {"python", "sh", "cpp", "cmake"}
    assert set(fences[1::2]) == {""}


# ----------------------------------------------------------------------------------------- Python


def promised(code: str) -> list[str]:
    """What the comments behind and below the prints say, in the order of the lines."""
    return re.findall(r"^(?:\s*print\(.*\)  )?# (.+)$", code, re.MULTILINE)


def test_python_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODEL, "model.zip")
    names: dict[str, Any] = {"__name__": "readme"}
    python = blocks("python")
    assert len(python) > 10
    for block in python:
        # Lines are those of the README, so that a traceback shows the place.
        padded = "\n" * (block.line - 1) + block.text
        exec(compile(padded, str(README), "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        assert printed == promised(block.text), f"README.md, block at line {block.line}"


def test_the_first_example_works_as_pasted() -> None:
    """Alone, in a fresh interpreter, and it is short."""
    first = blocks("python")[0].text
    assert len([line for line in first.splitlines() if line]) <= 14
    done = subprocess.run(
        [sys.executable, "-c", first], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines() == promised(first)


# ------------------------------------------------------------------------------------------ shell


def check_pip(words: list[str]) -> None:
    """The extra exists in the installed package."""
    assert words[:2] == ["pip", "install"]
    (extra,) = re.findall(r"^\.\[(\w+)\]$", words[2])
    assert extra in metadata("flatstep").get_all("Provides-Extra", [])


def check_flatstep(words: list[str]) -> None:
    """The command runs; the demo for one epoch."""
    for module in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(module)
    arguments = words[3:]
    if not arguments:
        arguments = ["--epochs", "1"]
    assert cli.main(arguments) == 0


def check_pytest(words: list[str]) -> None:
    """The extra that goes with it brings it along."""
    assert words == ["pytest"]
    requires = metadata("flatstep").get_all("Requires-Dist", [])
    assert any(re.match("pytest\\b.*extra == ['\"]test['\"]", each) for each in requires)


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "pip install": check_pip,
    "python -m flatstep": check_flatstep,
    "pytest": check_pytest,
}
BUILD = "cmake"  # the lines that build the C++ program; see below


@pytest.mark.parametrize("line", [line for line in shell_lines() if not line.startswith(BUILD)])
def test_shell_lines(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in line.split(" && "):
        (check,) = (check for start, check in CHECKS.items() if command.startswith(start))
        check(shlex.split(command))


def test_the_newcomers_two_commands() -> None:
    assert shell_lines()[:2] == [
        "pip install '.[demo]' && python -m flatstep",
        "pip install '.[test]' && pytest",
    ]


def test_the_commands_of_the_accuracy_table_are_legal(capsys: pytest.CaptureFixture[str]) -> None:
    """Their options are ones that the demo has; argparse would exit with 2."""
    lines = re.findall(r"^\| `(python -m flatstep.*?)` \|", README.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        with pytest.raises(SystemExit) as left:
            cli.main([*shlex.split(line)[3:], "--help"])
        assert left.value.code == 0


def test_help_names_what_the_readme_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    printed = capsys.readouterr().out
    for choice in ("--updater", "--strategy", "--threshold", "--semantics", "--epochs", "--output"):
        assert choice in printed


# -------------------------------------------------------------------------------------------- C++


@pytest.fixture(scope="module")
def cpp_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tools()
    project = tmp_path_factory.mktemp("readme")
    (project / "train.cpp").write_text(only("cpp"), encoding="utf-8")
    (project / "CMakeLists.txt").write_text(only("cmake"), encoding="utf-8")
    return project


def test_cpp_program(cpp_project: Path) -> None:
    package = f"-Dflatstep_DIR={fs.get_cmake_dir()}"
    tree = build(["-S", cpp_project, "-G", "Ninja", package], cpp_project / "build")
    # A constant gradient moves an Adam parameter by the rate, whatever it is clipped to; its norm
    # is √(12·2² + 3·1²).
    assert re.fullmatch(r"\w+: W\[0\] = -0\.50, norm 7\.141\n", run(tree / "train"))


def test_kernels_are_added_by_one_line(cpp_project: Path) -> None:
    """The line that the text offers in place of the last one; test_consumer.py builds with it."""
    offered = "flatstep_add_kernels(train)"
    assert f"`{offered}`" in README.read_text("utf-8").replace("\n", " ")
    *lines, last = only("cmake").splitlines()
    assert last == "target_link_libraries(train PRIVATE flatstep::flatstep)"
    other = cpp_project.parent / f"{cpp_project.name}-kernels"
    other.mkdir()
    shutil.copy(cpp_project / "train.cpp", other)
    (other / "CMakeLists.txt").write_text("\n".join([*lines, offered, ""]), encoding="utf-8")
    package = f"-Dflatstep_DIR={fs.get_cmake_dir()}"
    run("cmake", "-S", other, "-G", "Ninja", package, "-B", other / "build")


def test_cmake_lines_are_those_that_the_tests_run() -> None:
    configure, compile_and_run = (line for line in shell_lines() if line.startswith(BUILD))
    assert "-Dflatstep_DIR=" in configure
    (code,) = re.findall(r"python -c '(.*?)'", configure)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == fs.get_cmake_dir()
    assert compile_and_run == "cmake --build build && build/train"


# ---------------------------------------------------------------------------- what the text names


def test_tables_name_everything_there_is() -> None:
    text = README.read_text(encoding="utf-8")
    for name in vars(fs):
        if name.endswith("Schedule") and name != "Schedule":
            assert f"| `{name}(" in text, name
    for strategy in fs.GradientNormalization:
        assert f'| `"{strategy.value}"` |' in text, strategy
    for name, value in vars(fs).items():
        if isinstance(value, type) and issubclass(value, fs.Updater) and value is not fs.Updater:
            assert f"`{name}` |" in text, name


def test_the_opening_counts_what_there_is() -> None:
    """The recorded cases are counted by test_oracle.py."""
    opening = README.read_text("utf-8").partition("\n## ")[0].replace("\n  ", " ")
    updaters = [value for value in vars(fs).values() if inspect.isclass(value)]
    updaters = [cls for cls in updaters if issubclass(cls, fs.Updater)]
    in_numpy = [cls for cls in updaters if issubclass(cls, fs.CustomUpdater)]
    native = len(updaters) - len(in_numpy)
    assert f"{native - 1} updaters are native" in opening  # but their base
    assert f"{len(in_numpy) - 1} more are in NumPy" in opening  # but CustomUpdater
    schedules = [name for name in vars(fs) if name.endswith("Schedule") and name != "Schedule"]
    assert f"{len(schedules)} schedules" in opening
    assert f"{len(fs.GradientNormalization) - 1} ways to normalise" in opening  # but "None"


def test_every_path_that_is_named_exists() -> None:
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:docs|examples|tests)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_example_is_named() -> None:
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE))
    assert named == {path.name for path in (ROOT / "examples").glob("*.py")}
