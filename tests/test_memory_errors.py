"""Python's MemoryError: whatever is refused for want of memory has changed nothing.

In processes of their own, as what is taken away is taken from the whole process. The core's
allocations fail one by one in cpp/tests/allocation_test.cpp.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

FRAME = """
import numpy as np
import flatstep as fs

N = {n}
config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
params = {{"0_W": np.zeros(N), "1_b": np.zeros(3)}}
gradients = {{"0_W": np.ones(N), "1_b": np.ones(3)}}
updater = fs.MultiLayerUpdater(config, params)
updater.step(gradients)
other = fs.MultiLayerUpdater(config, {{key: a.copy() for key, a in params.items()}})
other.step(gradients)
other.step(gradients)
other.set_learning_rate(0.5)
saved = other.state_dict()

def digest():
    return (
        [a.tobytes() for a in params.values()], updater.state_view.tobytes(), updater._rates(),
        updater.iteration, updater.epoch, updater.skipped_steps,
        None if updater.accumulated is None else updater.accumulated["0_W"].tobytes(),
    )
"""

# Small arrays, and the n-th allocation of Python objects fails.
OBJECTS = """
import _testcapi
work = {work}
before = digest()
failures = 0
for n in range(1, 3000):
    try:
        _testcapi.set_nomemory(n, n + 1)
        try:
            work()
        finally:
            _testcapi.remove_mem_hooks()
    except MemoryError:
        failures += 1
        now = digest()
        if now != before:
            # An allocation may fail after the work is done: then it is done as a whole.
            work()
            assert now == digest(), n
            break
        updater.discard_accumulated()  # refused where the updater is locked
    else:
        if n > 2 * failures + 200:
            break
updater.discard_accumulated()
updater.step(gradients)
print("failures", failures)
"""

# The same without flatstep: CPython 3.12.1 and 3.13.0 lose count of a function's references where
# there is no memory for its frame, and crash.
INTERPRETER_ALONE = """
import _testcapi
def call(work):
    return work()
def outer(value):
    def inner():
        return {key: value for key in [str(value)] * 3}
    return call(inner)
for n in range(1, 300):
    try:
        _testcapi.set_nomemory(n, n + 1)
        try:
            outer(3)
        finally:
            _testcapi.remove_mem_hooks()
    except MemoryError:
        pass
"""

# Large arrays, and no more address space for another.
SPACE = """
import resource
work = {work}
before = digest()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 22), hard))
try:
    work()
except MemoryError:
    print("refused")
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
assert digest() == before
work()
updater.discard_accumulated()
updater.step(gradients)
"""

WORK = {
    "set_learning_rate": "lambda: updater.set_learning_rate(0.25)",
    "clear_learning_rate": "lambda: updater.clear_learning_rate()",
    "load_state_dict": "lambda: updater.load_state_dict(saved)",
    "state_dict": "lambda: updater.state_dict()",
    "bind_gradients": "lambda: updater.bind_gradients(gradients)",
    "accumulate": "lambda: updater.accumulate(gradients)",
    "clone": "lambda: updater.clone()",
}


def printed(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def interpreter_survives() -> bool:
    done = subprocess.run([sys.executable, "-c", INTERPRETER_ALONE], check=False)
    return done.returncode == 0


# Not clone: pybind11 does not look whether it got memory for an object of a class of C++.
@pytest.mark.parametrize(
    "name",
    ["set_learning_rate", "clear_learning_rate", "load_state_dict", "state_dict", "bind_gradients"],
)
def test_python_objects_that_cannot_be_had(name: str) -> None:
    pytest.importorskip("_testcapi")
    if not interpreter_survives():
        pytest.skip("this CPython crashes without flatstep, too")
    out = printed(FRAME.format(n=10) + OBJECTS.format(work=WORK[name]))
    assert int(out.split()[1]) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space by Linux's rules")
@pytest.mark.parametrize("name", ["accumulate", "clone", "state_dict"])
def test_arrays_that_cannot_be_had(name: str) -> None:
    assert printed(FRAME.format(n=1 << 23) + SPACE.format(work=WORK[name])) == "refused\n"
