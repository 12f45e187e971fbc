"""Interleaved timing: contenders take turns, so that a slow moment of the machine meets all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

# A thread pool may go on spinning for some milliseconds after its last task (GNU OpenMP does) and
# would take a core from the next contender; after this pause it sleeps.
SETTLE_SECONDS = 0.012
WARM_UP_NS = 300_000
BATCH_NS = 1_000_000
# A step this long needs no warm-up: its own first moments are nothing beside the rest.
LONG_NS = 20_000_000


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

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def _turns(
    count: int, budget_seconds: float, rounds: tuple[int, int]
) -> Callable[[int], list[int]]:
    """The order of each round, rotated; an empty one when there have been enough."""
    fewest, most = rounds
    end = time.perf_counter() + budget_seconds

    def turn(done: int) -> list[int]:
        if done >= most or (done >= fewest and time.perf_counter() > end):
            return []
        return [(done + i) % count for i in range(count)]

    return turn


def _warm_up(contender: Contender, known: float = 0.0) -> float:
    """Run it until caches, clock and its threads are awake; the nanoseconds per call."""
    if known > LONG_NS:
        return known
    calls, spent = 0, 0
    while spent < WARM_UP_NS:
        batch = max(1, calls)
        spent += contender.nanoseconds(batch)
        calls += batch
    return spent / calls


def measure(
    contenders: Sequence[Contender], *, budget_seconds: float, rounds: tuple[int, int]
) -> list[Timing]:
    """Time each contender once per round, at least rounds[0] and at most rounds[1] times."""
    timings = [Timing(contender.name) for contender in contenders]
    gc.collect()
    gc.disable()
    try:
        known = [_warm_up(contender) for contender in contenders]  # the first also makes its state
        turn = _turns(len(contenders), budget_seconds, rounds)
        while order := turn(len(timings[0].samples)):
            for index in order:
                time.sleep(SETTLE_SECONDS)
                known[index] = _warm_up(contenders[index], known[index])
                calls = max(1, round(BATCH_NS / known[index]))
                timings[index].samples.append(contenders[index].nanoseconds(calls) / calls)
    finally:
        gc.enable()
    return timings


def measure_between(
    contenders: Sequence[Contender],
    around: Callable[[], object],
    *,
    budget_seconds: float,
    rounds: tuple[int, int],
) -> tuple[list[Timing], list[Timing]]:
    """Time iterations of `around`, step, `around`: the steps alone, and the whole iterations.

    A step whose threads go on spinning shows in the second.
    """
    steps = [Timing(contender.name) for contender in contenders]
    wholes = [Timing(contender.name) for contender in contenders]
    turn = _turns(len(contenders), budget_seconds, rounds)
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        while order := turn(len(steps[0].samples)):
            for index in order:
                call, arguments = contenders[index].call, contenders[index].arguments
                time.sleep(SETTLE_SECONDS)
                spent_steps, spent_wholes, iterations = 0, 0, 0
                for iteration in range(13):
                    begin = clock()
                    around()
                    before = clock()
                    call(*arguments)
                    after = clock()
                    around()
                    end = clock()
                    if iteration >= 3:  # the first ones warm up
                        spent_steps += after - before
                        spent_wholes += end - begin
                        iterations += 1
                steps[index].samples.append(spent_steps / iterations)
                wholes[index].samples.append(spent_wholes / iterations)
    finally:
        gc.enable()
    return steps, wholes
