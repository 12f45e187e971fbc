"""The limits of limit.cpp: the bytes alone, an in-cache Adam's arithmetic, an empty method call.

Of narrow storage, too: the bytes of its arrays, and its arithmetic with what codes cost at least.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from comparison.cases import (
    IN_THE_CACHE,
    ROOTS_AND_DIVISIONS,
    STATE_ARRAYS,
    STORAGE_GROUPS,
    STORAGES,
    Case,
    stored,
)
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


def streams_apart(widths: Sequence[int], size: int) -> list[np.ndarray]:
    """Arrays of so many bytes for each of `size` parameters, at whole lines, as far apart."""
    stride = [width * size + GAP_LINES * LINE_BYTES for width in widths]
    memory = np.ones(sum(stride) + LINE_BYTES, np.uint8)
    begin, found = -memory.ctypes.data % LINE_BYTES, []
    for width, step in zip(widths, stride, strict=True):
        found.append(memory[begin : begin + width * size])
        begin += step
    return found


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
        threads = min(self._threads, 1 + case.bytes // BYTES_PER_THREAD)
        if case.group in STORAGE_GROUPS:
            if case.strategy != "None":  # which reads the gradient twice
                return []
            names = dict.fromkeys(("full", case.storage))
            return [each for name in names for each in self.of_storage(case, name, threads)]
        found = self.of_bytes(case, threads)
        if case.group == "cache":
            p, g, m, v = (np.ones(size, dtype) for _ in range(4))
            adam = self._module.AdamLimit(p, g, m, v)
            found.append(Contender("bytes, roots and divisions", adam.run))
        if case.group == "tiny":
            found.append(Contender("empty method call", self._module.Empty().call))
        return found

    def of_storage(self, case: Case, name: str, threads: int) -> list[Contender]:
        """The bytes of a storage alone; its roots, divisions and conversions alone."""
        storage = STORAGES[name]
        size = -(-case.network.num_parameters // LINE_BYTES) * LINE_BYTES
        written = storage.written(case.updater)
        gradient, *targets = streams_apart((storage.gradient, *written), size)
        streams = self._module.StreamLimit(size, gradient, targets, threads)
        roots, divisions = ROOTS_AND_DIVISIONS.get(case.updater, (1, 1))
        plain = written[len(storage.parameter) :].count(4)
        codes = self._module.CodeLimit(
            size,
            state_bytes=storage.state,
            coded=STATE_ARRAYS[case.updater] - plain,
            plain=plain,
            roots=roots,
            divisions=divisions,
            split=storage.split,
            threads=threads,
        )
        return [
            Contender(stored("byte limit", name), streams.run),
            Contender(stored(IN_THE_CACHE, name), codes.run),
        ]

    def of_bytes(self, case: Case, threads: int) -> list[Contender]:
        """The bytes of a step, and those of one that looks at the gradient first."""
        count = 2 + STATE_ARRAYS[case.updater] + case.averages
        gradient, *targets = arrays_apart(count, case.network.num_parameters, case.dtype)
        calls: list[tuple[Callable[[], object], ...]]
        if case.updater == "Lamb":
            # The first pass has the state and the update for targets, and looks at the parameter.
            parameter, *state = targets
            (update,) = arrays_apart(1, case.network.num_parameters, case.dtype)
            first = self._module.ByteLimit(gradient, [*state, update], threads)
            second = self._module.ByteLimit(update, [parameter], threads)
            calls = [(first.run, second.look_and_run), (first.look_and_run, second.look_and_run)]
        elif case.updater == "Lars":
            second = self._module.ByteLimit(gradient, targets, threads)
            first = self._module.ByteLimit(targets[0], [gradient], threads)
            calls = [
                (first.look, second.look_and_run),
                (second.look, first.look, second.look_and_run),
            ]
        else:
            limit = self._module.ByteLimit(gradient, targets, threads)
            calls = [(limit.run,), (limit.look_and_run,)]
        names = ("byte limit", "byte limit, raise")
        return [Contender(name, in_turn(*call)) for name, call in zip(names, calls, strict=True)]


def in_turn(*calls: Callable[[], object]) -> Callable[[], object]:
    """One call that makes them all."""
    if len(calls) == 1:
        return calls[0]

    def call() -> None:
        for each in calls:
            each()

    return call


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
