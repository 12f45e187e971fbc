"""An interrupt at any point of the Python code: the updater is never left locked, nor half changed.

A tracer raises KeyboardInterrupt at the k-th opcode that flatstep's own Python code runs, for every
k until the call returns; a real Ctrl-C falls between opcodes, too.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from snapshots import bits

import flatstep as fs
from flatstep.mpi.ranks import uninterrupted

PACKAGE = os.path.dirname(fs.__file__)


class Interrupter:
    """Raises at the event of that number, counted from 0."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace = self.count  # before the next line, or CPython 3.13 takes it for idle
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.count

    def count(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            self.left -= 1
        return self.count


def interrupted(work: Callable[[], Any], at: int) -> bool:
    """Whether there was an event of that number."""
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # or CPython 3.12 does not look at the others'
    sys.settrace(Interrupter(at))
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


CONFIG = fs.MultiLayerConfiguration(
    updater=fs.Adam(0.1), layers={"1": fs.LayerConfiguration(updater=fs.Nesterovs(0.1))}
)


def trained(steps: int) -> fs.MultiLayerUpdater:
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(3), "1_W": np.zeros(2)})
    for k in range(steps):
        updater.step({"0_W": np.full(3, 1.0 + k), "1_W": np.full(2, 2.0)})
    return updater


def digest(updater: fs.MultiLayerUpdater) -> Any:
    return (
        bits(updater.parameters),
        updater.state_view.tobytes(),
        updater._rates(),
        updater.iteration,
        updater.epoch,
        updater.skipped_steps,
        None if updater.accumulated is None else bits(updater.accumulated),
    )


OTHER = trained(5)
OTHER.set_learning_rate(0.25)
OTHER.epoch = 7
OTHER_STATE = OTHER.state_dict()
OTHER_SNAPSHOT = OTHER.snapshot()
OTHER.accumulate({"0_W": np.ones(3), "1_W": np.ones(2)})
OTHER_SNAPSHOT_WITH_SUMS = OTHER.snapshot()

CALLS: dict[str, Callable[[fs.MultiLayerUpdater, Path], Any]] = {
    "state_dict": lambda updater, path: updater.state_dict(),
    "load_state_dict": lambda updater, path: updater.load_state_dict(OTHER_STATE),
    "snapshot": lambda updater, path: updater.snapshot(),
    "restore": lambda updater, path: updater.restore(OTHER_SNAPSHOT),
    "restore sums": lambda updater, path: updater.restore(OTHER_SNAPSHOT_WITH_SUMS),
    "save": lambda updater, path: updater.save(path / "a.safetensors"),
    "clone": lambda updater, path: updater.clone(),
    "pickle": lambda updater, path: pickle.dumps(updater),
    "set_learning_rate": lambda updater, path: updater.set_learning_rate(0.5),
    "aggregate": lambda updater, path: fs.aggregate([updater, updater]),
    "step": lambda updater, path: updater.step({0: {"W": np.ones(3)}, 1: {"W": np.ones(2)}}),
    "accumulate": lambda updater, path: updater.accumulate(
        {0: {"W": np.ones(3)}, 1: {"W": np.ones(2)}}
    ),
}


# An interrupt between open() and the name that takes what it returns leaves the file unclosed.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_at_every_opcode(name: str, tmp_path: Path) -> None:
    call = CALLS[name]
    reference = trained(2)
    old = digest(reference)
    call(reference, tmp_path)
    new = digest(reference)
    # The calls that change nothing are tried on one updater, the others on one for each point.
    updater = trained(2)
    gradients = {"0_W": np.ones(3), "1_W": np.ones(2)}
    found = set()
    for at in range(1_000_000):
        if old != new:
            updater = trained(2)
        more = interrupted(lambda: call(updater, tmp_path), at)  # noqa: B023
        now = digest(updater)
        assert now in (old, new), at
        found.add(now == new)
        if old != new or at % 100 == 0:
            probe = (
                updater
                if old != new
                else updater.clone({key: array.copy() for key, array in updater.parameters.items()})
            )
            updater.discard_accumulated()  # refused where the updater is locked
            probe.step(gradients)
        else:
            updater.discard_accumulated()
        if not more:
            break
    assert at > 3
    assert True in found


# ---- blocks for whose end Ctrl-C waits (`flatstep.mpi`)


@pytest.fixture
def keyboard_interrupts():
    """Python's own handler: a process that runs in the background is started without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1000))  # time enough for Python's own handler, if it were called


def test_an_interrupt_waits_for_the_end_of_a_block(keyboard_interrupts):
    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                press_ctrl_c()
            done.append("inner")
            press_ctrl_c()
            done.append("outer")

    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    with uninterrupted():
        pass  # no interrupt is left over
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_an_interrupt_comes_before_the_block_s_own_error(keyboard_interrupts):
    def work() -> None:
        with uninterrupted():
            press_ctrl_c()
            raise OSError("the block's")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, OSError)


@pytest.mark.parametrize("kind", ["handler", "ignored"])
def test_after_a_block_an_interrupt_is_whose_it_was_before(kind):
    came = []
    handler = signal.SIG_IGN if kind == "ignored" else lambda number, _: came.append(number)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with uninterrupted():
            press_ctrl_c()
            assert came == []
        assert came == ([] if kind == "ignored" else [signal.SIGINT])
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_other_threads_a_block_does_nothing(keyboard_interrupts):
    def work() -> None:
        with uninterrupted():
            inside.set()
            leave.wait(60)

    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    finally:
        leave.set()
        thread.join()
