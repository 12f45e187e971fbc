"""The limits of limit.cpp: the bytes alone, an in-cache Adam's arithmetic, an empty method call."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np

from comparison.cases import STATE_ARRAYS, Case
from comparison.contenders.base import Absent
from comparison.timing import Contender

# With less than this for each, two threads are slower than one.
BYTES_PER_THREAD = 1 << 17

# Between the arrays of the limit, in cache lines. Where streams lie a large power of two apart,
# some caches keep only one of them, and the loop would take up to five times as long.
LINE_BYTES = 64
GAP_LINES = 5 * 64 + 5

ROOT = Path(__file__).resolve().parents[3]


def arrays_apart(count: int, size: int, dtype: str) -> list[np.ndarray]:
    """Arrays of ones that do not drive each other out of a cache."""
    line = LINE_BYTES // np.dtype(dtype).itemsize
    stride = (-(-size // line) + GAP_LINES) * line
    memory = np.ones(count * stride, dtype)
    return [memory[i * stride : i * stride + size] for i in range(count)]


class Limit:
    name = "limit"
    version = "compiled here"

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._threads = 1

    def set_threads(self, count: int) -> None:
        self._threads = count

    def contenders(self, case: Case) -> list[Contender]:
        size, dtype = case.network.num_parameters, case.dtype
        source, *targets = arrays_apart(2 + STATE_ARRAYS[case.updater], size, dtype)
        threads = min(self._threads, 1 + case.bytes // BYTES_PER_THREAD)
        limit = self._module.ByteLimit(source, targets, threads)
        found = [
            Contender("byte limit", limit.run),
            Contender("byte limit, raise", limit.look_and_run),
        ]
        if case.group == "cache":
            p, g, m, v = (np.ones(size, dtype) for _ in range(4))
            adam = self._module.AdamLimit(p, g, m, v)
            found.append(Contender("bytes, roots and divisions", adam.run))
        if case.group == "tiny":
            found.append(Contender("empty method call", self._module.Empty().call))
        return found


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as problem:
        raise Absent(f"{command[0]} was not found; it compiles bench/limit.cpp") from problem
    except subprocess.CalledProcessError as problem:
        last = (problem.stderr or problem.stdout).strip().splitlines()[-1:]
        raise Absent(f"bench/limit.cpp was not compiled: {' '.join(last)}") from problem


def load() -> Limit:
    """Compile the module (again, if it changed) and load it."""
    try:
        import pybind11
    except ImportError as problem:
        raise Absent(f"{problem}; it is needed to compile bench/limit.cpp") from problem
    build = ROOT / "build" / f"bench-{sys.implementation.cache_tag}"
    _run(
        "cmake", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DFLATSTEP_BUILD_BENCH=ON",
        "-DFLATSTEP_BENCH_KERNELS=OFF", f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    )  # fmt: skip
    _run("cmake", "--build", build, "--target", "flatstep_limit")
    path = build / "bench" / f"flatstep_limit{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location("flatstep_limit", os.fspath(path))
    if spec is None or spec.loader is None:
        raise Absent(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Limit(module)
