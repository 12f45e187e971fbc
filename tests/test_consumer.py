"""A C++ project finds the installed package, and uses its headers alone or with the kernels."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cpp_project import ROOT, CommandFailed, build, require_tools, run

import flatstep as fs

PROJECT = Path(__file__).parent / "consumer"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tools()
    # No build type and no flags: a baseline program, as those get who ask for nothing.
    package = f"-Dflatstep_DIR={fs.get_cmake_dir()}"
    return build(["-S", PROJECT, "-G", "Ninja", package], tmp_path_factory.mktemp("consumer"))


def train(program: Path, isa: str = "") -> tuple[str, np.ndarray]:
    """Runs a program; the instruction set that it used, and its parameters."""
    isa, parameters = run(program, FLATSTEP_ISA=isa).splitlines()
    return isa, np.array([float.fromhex(x) for x in parameters.split()], dtype=np.float32)


def train_in_python(isa: str) -> np.ndarray:
    """The same steps as consumer/train.cpp."""
    parameters = {
        "0_W": np.array([[1, -2], [3, -4], [5, -6]], dtype=np.float32),
        "0_b": np.array([0.5, -0.5], dtype=np.float32),
    }
    gradients = {
        "0_W": np.array([[3, -4], [0.25, 12], [-0.125, 1]], dtype=np.float32),
        "0_b": np.array([-1, 2], dtype=np.float32),
    }
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.125),
        bias_updater=fs.Sgd(0.25),
        gradient_normalization="ClipElementWiseAbsoluteValue",
        gradient_normalization_threshold=1.5,
    )
    fs.set_isa(isa)
    updater = fs.MultiLayerUpdater(config, parameters)
    for _ in range(3):
        updater.step(gradients)
    return np.concatenate([array.ravel() for array in parameters.values()])


# A constant gradient moves an Adam parameter by the rate against its sign, whatever its size; Sgd
# moves it by rate times gradient, here clipped to 1.5.
EXPECTED = np.array(
    [
        *(1 - 0.375, -2 + 0.375, 3 - 0.375, -4 - 0.375, 5 + 0.375, -6 - 0.375),
        *(0.5 + 3 * 0.25 * 1.0, -0.5 - 3 * 0.25 * 1.5),
    ]
)


def test_headers_alone_use_the_instruction_set_of_the_unit(programs: Path) -> None:
    isa, parameters = train(programs / "header_only")
    np.testing.assert_allclose(parameters, EXPECTED, rtol=1e-6)
    if platform.machine() == "x86_64" and not os.environ.get("CXXFLAGS"):
        assert isa == "sse2"
    np.testing.assert_array_equal(parameters, train_in_python(isa), strict=True)


def test_kernels_are_chosen_at_run_time(programs: Path) -> None:
    isa, parameters = train(programs / "with_kernels")
    assert isa == fs.available_isas()[0]
    np.testing.assert_allclose(parameters, EXPECTED, rtol=1e-6)
    np.testing.assert_array_equal(parameters, train_in_python(isa), strict=True)


@pytest.mark.parametrize("isa", fs.available_isas())
def test_the_environment_chooses_the_kernels(programs: Path, isa: str) -> None:
    used, parameters = train(programs / "with_kernels", isa)
    assert used == isa
    np.testing.assert_array_equal(parameters, train_in_python(isa), strict=True)


def test_an_unknown_instruction_set_is_refused(programs: Path) -> None:
    with pytest.raises(CommandFailed, match=r'FLATSTEP_ISA: expected one of .*, got "mmx"'):
        train(programs / "with_kernels", "mmx")


def test_a_project_takes_in_the_sources_and_installs_only_its_own(tmp_path: Path) -> None:
    require_tools()
    project = Path(__file__).parent / "consumer_subproject"
    tree = build(
        ["-S", project, "-G", "Ninja", f"-DFLATSTEP_SOURCE={ROOT}", "-DCMAKE_CXX_FLAGS=-O0"],
        tmp_path / "build",
    )
    _, parameters = train(tree / "train")
    np.testing.assert_allclose(parameters, EXPECTED, rtol=1e-6)
    installed = tmp_path / "installed"
    run("cmake", "--install", tree, "--prefix", installed)
    files = [path.name for path in installed.rglob("*") if path.is_file()]
    assert [Path(name).stem for name in files] == ["train"]


# -------------------------------------------------------------------- what must not compile

PROGRAM = """
#include <flatstep/flatstep.hpp>
void train(flatstep::MultiLayerUpdater<float>& updater, const float* const* gradients) {
  %supdater.step(std::span<const float* const>(gradients, 1));
}
"""


def compile_program(directory: Path, *flags: str, statement: str = "(void)") -> None:
    """Looks at the program without translating it."""
    require_tools()
    source = directory / "program.cpp"
    source.write_text(PROGRAM % statement)
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "clang++"
    include = fs.get_include()
    run(*compiler.split(), "-std=c++20", "-fsyntax-only", f"-I{include}", *flags, source)


def test_the_program_that_the_next_tests_refuse_compiles(tmp_path: Path) -> None:
    compile_program(tmp_path, "-Werror")


X87 = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 has another arithmetic")


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("-ffast-math", "-ffinite-math-only"),
        ("-ffinite-math-only", "-ffinite-math-only"),
        pytest.param("-mfpmath=387", "FLT_EVAL_METHOD", marks=X87),
    ],
)
def test_arithmetic_that_disarms_the_looks_is_refused(tmp_path: Path, flag: str, text: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        compile_program(tmp_path, flag)
    if re.search("unsupported|unknown", str(refused.value)):
        pytest.skip(f"this compiler does not take {flag}")
    assert re.search(f"error: .*{text}", str(refused.value))


def test_a_step_whose_answer_is_not_looked_at_is_a_warning(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="nodiscard"):
        compile_program(tmp_path, "-Werror", statement="")
