"""The end of a process whose daemon threads are in the middle of a step."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

#: How many processes end, per program; FLATSTEP_EXITS asks for more.
EXITS = int(os.environ.get("FLATSTEP_EXITS", "40"))

# Steps that give the interpreter's lock away, and want it back while the interpreter ends.
LARGE = """
def work(k):
    n = 1 << 16
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(n, np.float32)})
    gradients = {"0_W": np.ones(n, np.float32)}
    while True:
        updater.step(gradients)
"""

# Steps in whose middle Python runs, where any bytecode may find that the interpreter ends.
CUSTOM = """
class Custom(fs.CustomUpdater):
    learning_rate = 1.0
    def get_gradient(self, g, state, learning_rate, iteration):
        for _ in range(50):
            g *= 1.0

def work(k):
    n = SIZE
    config = fs.MultiLayerConfiguration(updater=Custom())
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(n, np.float32)})
    gradients = {"0_W": np.ones(n, np.float32)}
    while True:
        updater.step(gradients)
"""

# Work under an updater's lock, in Python.
STATE = """
def work(k):
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam()), {f"{i}_W": np.zeros(2) for i in range(50)}
    )
    while True:
        updater.load_state_dict(updater.state_dict())
        updater.step([{"W": np.zeros(2)} for i in range(50)])
"""

PROGRAMS = {
    "large": LARGE,
    "custom": CUSTOM.replace("SIZE", "100"),
    "large custom": CUSTOM.replace("SIZE", "1 << 16"),
    "state": STATE,
}

FRAME = """
import sys, threading, time
import numpy as np
import flatstep as fs
sys.setswitchinterval(1e-5)
CONFIG = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))
{work}
started = [threading.Event() for _ in range(3)]
def run(k):
    started[k].set()
    work(k)
for k in range(3):
    threading.Thread(target=run, args=(k,), daemon=True).start()
for event in started:
    event.wait()
time.sleep(0.02)
"""


def exit_code(program: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", FRAME.format(work=program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_process_ends_while_daemon_threads_step(name: str) -> None:
    exits = -(-EXITS // len(PROGRAMS))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(exit_code, [PROGRAMS[name]] * exits))
    assert results == [(0, "")] * exits
