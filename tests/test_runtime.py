"""Threads and instruction sets: the environment, the defaults, and changing them while running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs


def in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: what is decided at import is decided there."""
    return subprocess.run(
        [sys.executable, "-c", f"import flatstep as fs\n{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_instruction_sets_are_listed_best_first() -> None:
    """In the order of the ranked list that the package carries."""
    ranked = (Path(fs.get_cmake_dir()) / "kernels" / "targets.cmake").read_text()
    order = re.findall(r"^flatstep_target\((\w+)", ranked, re.MULTILINE)
    available = fs.available_isas()
    assert available == [isa for isa in order if isa in available]
    assert available[-1] == "emulated"
    assert fs.isa() in available


@pytest.mark.parametrize("isa", fs.available_isas())
def test_isa_of_the_environment(isa: str) -> None:
    done = in_new_process("print(fs.isa())", FLATSTEP_ISA=isa)
    assert done.stdout == f"{isa}\n", done.stderr


def test_unknown_isa_of_the_environment_is_an_error_at_import() -> None:
    done = in_new_process("print(fs.isa())", FLATSTEP_ISA="mmx")
    assert done.returncode != 0
    assert "FLATSTEP_ISA" in done.stderr
    assert '"mmx"' in done.stderr
    assert '"emulated"' in done.stderr


def test_threads_of_the_environment() -> None:
    done = in_new_process("print(fs.get_num_threads())", FLATSTEP_NUM_THREADS="3")
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize("number", ["0", "two", "1.5", " 4", "1025"])
def test_bad_threads_of_the_environment_are_an_error_at_import(number: str) -> None:
    done = in_new_process("print(fs.get_num_threads())", FLATSTEP_NUM_THREADS=number)
    assert done.returncode != 0
    text = f'FLATSTEP_NUM_THREADS: expected an integer from 1 to 1024, got "{number}"'
    assert text in done.stderr


def test_default_threads_are_those_that_are_allowed() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FLATSTEP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", "import flatstep as fs; print(fs.get_num_threads())"],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= int(done.stdout) <= (allowed or 1)


def test_set_isa_reaches_updaters_that_exist() -> None:
    """From the next step on, with the same bits."""
    results = set()
    for isas in ([fs.isa()] * 3, [i for i in fs.available_isas() if i != "sse2"] * 2):
        p = np.linspace(-1, 1, 1001)
        updater = fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(
                updater=fs.Adam(0.1), gradient_normalization="ClipL2PerLayer"
            ),
            {"0_W": p},
        )
        for isa in isas[:3]:
            fs.set_isa(isa)
            assert fs.isa() == isa
            updater.step({"0_W": np.linspace(3, -2, 1001)})
        results.add(p.tobytes())
    assert len(results) == 1


def test_updaters_in_several_threads() -> None:
    """Each thread with an updater of its own: as if they had run one after the other."""

    def train(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        p = rng.standard_normal(100_000).astype(np.float32)
        updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam(0.1)), {"0_W": p})
        for _ in range(5):
            updater.step({"0_W": rng.standard_normal(100_000).astype(np.float32)})
        return p.tobytes()

    alone = [train(seed) for seed in range(4)]
    together: list[Any] = [None] * 4

    def work(seed: int) -> None:
        together[seed] = train(seed)

    fs.set_num_threads(2)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_of_fork_steps_with_its_own_threads() -> None:
    code = """
import os, numpy as np
fs.set_num_threads(2)
p = np.ones(300_000)
updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), {"0_W": p})
updater.step({"0_W": np.ones(300_000)})
child = os.fork()
updater.step({"0_W": np.ones(300_000)})
assert (p == 0).all()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both")
"""
    done = in_new_process(code)
    assert done.stdout == "both\n", done.stderr


def test_the_floating_point_mode_is_the_callers_again() -> None:
    """Inside a step subnormal numbers count as 0; outside they are as they were."""
    tiny = np.float64(np.finfo(np.float64).tiny)
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(100_000)})
    updater.step({"0_W": np.ones(100_000)})
    assert tiny / 4 > 0
    assert (tiny / 4) * 4 == tiny


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", fs.available_isas())
def test_subnormal_numbers_count_as_0(isa: str, dtype: Any) -> None:
    """In gradients, parameters and state, and as results."""
    fs.set_isa(isa)
    tiny = dtype(np.finfo(dtype).tiny)
    subnormal = tiny / dtype(4)
    assert subnormal > 0
    config = fs.MultiLayerConfiguration(updater=fs.Nesterovs(1.0, momentum=0.5), l2=1.0)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.full(40, subnormal, dtype)})
    updater.state_view[:] = subnormal
    gradient = np.full(40, subnormal, dtype)
    updater.update({"0_W": gradient})
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_array_equal(updater.state_view, 0)
    halving = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), {"0_W": np.ones(40, dtype)}
    )
    gradient = np.full(40, tiny, dtype)
    halving.update({"0_W": gradient})
    np.testing.assert_array_equal(gradient, 0)
    gradient = np.full(40, 2 * tiny, dtype)
    halving.update({"0_W": gradient})
    np.testing.assert_array_equal(gradient, tiny)
