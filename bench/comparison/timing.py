"""Interleaved timing: contenders take turns, so that a slow moment of the machine meets all."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

WARM_UP_NS = 1_000_000
BATCH_NS = 3_000_000


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds until `seconds` are over, but so many at least and at most.

    A step that takes `slow_seconds` is in no more than the fewest, and its time does not count.

    A thread pool may go on spinning for some milliseconds after its last task (GNU OpenMP does) and
    would take a core from the next contender; after `settle_seconds` it sleeps.
    """

    seconds: float = 6.0
    fewest_rounds: int = 5
    slow_seconds: float = 0.2
    most_rounds: int = 60
    settle_seconds: float = 0.012
    loop_warm_up: int = 3
    loop_iterations: int = 10


QUICK = Effort(0.0, 2, 2, settle_seconds=0.001, loop_warm_up=0, loop_iterations=1)


@dataclass
class Contender:
    """A way of doing the step: `call(*arguments)`, with at most one argument.

    `parameters` shows the result, so that contenders can be held against one another.
    """

    name: str
    call: Callable[..., object]
    arguments: tuple[Any, ...] = ()
    parameters: Callable[[], Any] | None = None

    def nanoseconds(self, calls: int) -> int:
        """The time of `calls` calls in a row."""
        call, clock = self.call, time.perf_counter_ns
        if not self.arguments:
            begin = clock()
            for _ in repeat(None, calls):
                call()
            return clock() - begin
        (argument,) = self.arguments
        begin = clock()
        for _ in repeat(None, calls):
            call(argument)
        return clock() - begin


@dataclass
class Timing:
    """The nanoseconds per step of each turn."""

    contender: str
    samples: list[float] = field(default_factory=list)

    @property
    def minimum(self) -> float:
        return min(self.samples)


def _turns(timings: Sequence[Timing], effort: Effort) -> Iterator[int]:
    """Whose turn it is: each once a round, another one first in each."""
    count = len(timings)
    spent = [0.0] * count
    playing = range(count)
    for done in range(effort.most_rounds):
        if done >= effort.fewest_rounds:
            playing = [i for i in playing if timings[i].minimum < effort.slow_seconds * 1e9]
            if sum(spent[i] for i in playing) > effort.seconds or not playing:
                return
        for i in ((done + i) % count for i in range(count)):
            if i in playing:
                begin = time.perf_counter()
                yield i
                spent[i] += time.perf_counter() - begin


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """A collection would be charged to whoever's turn it is."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _warm_up(contender: Contender) -> float:
    """Run it until caches, clock and its threads are awake, once at least; nanoseconds per call.

    Memory that lay idle for a while may be slow at its first use too, on a virtual machine.
    """
    calls, spent = 0, 0
    while spent < WARM_UP_NS:
        batch = max(1, calls)
        spent += contender.nanoseconds(batch)
        calls += batch
    return spent / calls


def turn(contender: Contender, effort: Effort) -> float:
    """One turn: wait until others' threads sleep, wake this one, time it; nanoseconds per step."""
    time.sleep(effort.settle_seconds)
    calls = max(1, round(BATCH_NS / _warm_up(contender)))
    return contender.nanoseconds(calls) / calls


def measure(contenders: Sequence[Contender], effort: Effort) -> list[Timing]:
    """Time each contender once per round."""
    timings = [Timing(contender.name) for contender in contenders]
    with without_garbage_collection():
        for contender in contenders:
            contender.nanoseconds(1)  # makes its state
        for index in _turns(timings, effort):
            timings[index].samples.append(turn(contenders[index], effort))
    return timings


def measure_between(
    contenders: Sequence[Contender], around: Callable[[], object], effort: Effort
) -> tuple[list[Timing], list[Timing]]:
    """Time iterations of `around`, step, `around`: the steps alone, and the whole iterations.

    A step whose threads go on spinning shows in the second.
    """
    steps = [Timing(contender.name) for contender in contenders]
    wholes = [Timing(contender.name) for contender in contenders]
    clock = time.perf_counter_ns
    with without_garbage_collection():
        for index in _turns(steps, effort):
            call, arguments = contenders[index].call, contenders[index].arguments
            time.sleep(effort.settle_seconds)
            step_ns, whole_ns = 0, 0
            for iteration in range(effort.loop_warm_up + effort.loop_iterations):
                begin = clock()
                around()
                before = clock()
                call(*arguments)
                after = clock()
                around()
                end = clock()
                if iteration >= effort.loop_warm_up:
                    step_ns += after - before
                    whole_ns += end - begin
            steps[index].samples.append(step_ns / effort.loop_iterations)
            wholes[index].samples.append(whole_ns / effort.loop_iterations)
    return steps, wholes
