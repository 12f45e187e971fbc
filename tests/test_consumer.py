"""A C++ project finds the installed package, and uses its headers alone or with the kernels."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pytest
from cpp_project import CommandFailed, build, require_tools, run

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
