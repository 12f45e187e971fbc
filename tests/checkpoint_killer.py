"""Kills a process that saves checkpoints, again and again, and looks at what it leaves.

    python checkpoint_killer.py random <folder> <kills>    at random moments
    python checkpoint_killer.py lines <folder>             before every line that a save runs

The writer numbers its checkpoints: the number is the iteration and every element of parameters and
state. After each kill the file must be whole, and the last that was saved or the one that was being
saved. Prints what was found as JSON. A program of its own, as it forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import flatstep as fs

SIZE = 16_000


def make_updater(size: int) -> Any:
    params = {"0_W": np.zeros((size // 8, 8), order="F"), "0_b": np.zeros(8)}
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), params)


def save_number(updater: Any, path: Path, number: int) -> None:
    updater.iteration = number
    updater.state_view[...] = number
    for array in updater.parameters.values():
        array[...] = number
    updater.save(path)


def load_number(path: Path, size: int) -> int:
    params = {key: np.zeros_like(array) for key, array in make_updater(size).parameters.items()}
    updater = fs.load_updater(path, params)
    number = int(updater.iteration)
    for array in (*params.values(), updater.state_view):
        if not (array == number).all():
            raise SystemExit(f"a mixed file: {number} and {np.unique(array)}")
    return number


def run_until_killed(writer: Callable[[Callable[[int], int]], None], delay: float | None) -> Any:
    """Forks a process that runs `writer`, which reports each number that it has saved.

    Kills it after a time or, without one, waits for its end. Returns the last number reported, None
    if there was none, and whether it was killed.
    """
    reports, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reports)
        writer(lambda number: os.write(report, number.to_bytes(8, "little")))
        os._exit(0)
    os.close(report)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with open(reports, "rb") as file:
        numbers = file.read()
    last = int.from_bytes(numbers[-8:], "little") if numbers else None
    return last, os.WIFSIGNALED(status)


class Findings:
    """What the kills left behind."""

    def __init__(self, folder: Path, size: int) -> None:
        self.path = folder / "run.safetensors"
        self.size = size
        self.number = 1
        self.counts = {"kills": 0, "old": 0, "new": 0, "temporary files": 0}
        save_number(make_updater(size), self.path, self.number)

    def after_kill(self, last: int | None) -> None:
        found = load_number(self.path, self.size)
        last = self.number if last is None else last
        if found not in (last, last + 1):
            raise SystemExit(f"saved {last}, then found {found}")
        self.number = found
        self.counts["kills"] += 1
        self.counts["old" if found == last else "new"] += 1
        for file in self.path.parent.iterdir():
            if file != self.path:
                self.counts["temporary files"] += 1
                file.unlink()


def kill_at_random(folder: Path, kills: int) -> dict[str, int]:
    findings = Findings(folder, SIZE)
    updater = make_updater(SIZE)
    start = time.perf_counter()
    for _ in range(5):
        save_number(updater, findings.path, findings.number)
    one_save = (time.perf_counter() - start) / 5

    def write(report: Callable[[int], int]) -> None:
        number = findings.number
        while True:
            number += 1
            save_number(updater, findings.path, number)
            report(number)

    delays = random.Random(7)
    while findings.counts["kills"] < kills:
        last, _ = run_until_killed(write, delays.uniform(0, 2 * one_save))
        findings.after_kill(last)
    return findings.counts


def kill_at_every_line(folder: Path) -> dict[str, int]:
    findings = Findings(folder, 16)
    updater = make_updater(16)
    files = {"checkpoint/file.py", "checkpoint/container.py", "flatstep/atomic_file.py"}
    killed = True
    while killed:
        lines = findings.counts["kills"]

        def die_at_line(frame: Any, event: str, _: Any) -> Any:
            nonlocal lines
            if "/".join(Path(frame.f_code.co_filename).parts[-2:]) not in files:
                return None
            if event == "line":
                lines -= 1
                if lines < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return die_at_line

        def write(report: Callable[[int], int], trace: Any = die_at_line) -> None:
            sys.settrace(trace)
            save_number(updater, findings.path, findings.number + 1)
            sys.settrace(None)
            report(findings.number + 1)

        last, killed = run_until_killed(write, None)
        if killed:
            findings.after_kill(last)
    return findings.counts


if __name__ == "__main__":
    fs.set_num_threads(1)
    command, folder, *rest = sys.argv[1:]
    run = {"random": kill_at_random, "lines": kill_at_every_line}[command]
    print(json.dumps(run(Path(folder), *map(int, rest))))
