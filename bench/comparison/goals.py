"""The goals: ratios of times measured in one run, each with what it needs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from comparison.cases import BITSANDBYTES, IN_THE_CACHE, Case, stored
from comparison.results import Result

CLIP = ("ClipL2PerLayer", "ClipL2Global")
PLAIN = ("None",)
ALL = PLAIN + CLIP
FUSED, CPU_ADAM = "torch fused", "DeepSpeed CPUAdam"


@dataclass(frozen=True)
class Goal:
    """How many times faster than `against` (or, `at_most`, slower) `subject` has to be.

    It holds for each of the cases that it names; `threads` "most" is the largest number measured,
    if that is more than one. With `slowest_of`, `against` is but a name for the slowest of these.
    With `memory_bound` only cases count in which full storage took no longer than its bytes alone
    by more than a tenth.
    """

    what: str
    groups: tuple[str, ...]
    strategies: tuple[str, ...]
    against: str
    need: float
    subject: str = "flatstep"
    threads: Literal["one", "most", "any"] = "most"
    networks: tuple[str, ...] | None = None
    at_most: bool = False
    slowest_of: tuple[str, ...] = ()
    memory_bound: bool = False

    def chooses(self, result: Result, most: int) -> bool:
        """Whether it holds for this result's case."""
        case = result.case
        return (
            case.group in self.groups
            and case.strategy in self.strategies
            and (self.networks is None or case.network.name in self.networks)
            and self.threads
            in ("any", {1: "one"}.get(case.threads), {most: "most"}.get(case.threads))
        )


@dataclass(frozen=True)
class Verdict:
    """A goal and where its hardest case stands, by the minima and round by round."""

    goal: Goal
    case: str
    by_minimum: float
    by_round: float
    cases: int

    @property
    def met(self) -> bool:
        if self.goal.at_most:
            return self.by_minimum <= self.goal.need
        return self.by_minimum >= self.goal.need


def _per(
    what: str, group: str, strategies: tuple[str, ...], *rows: tuple[str, float]
) -> list[Goal]:
    return [Goal(what, (group,), strategies, against, need) for against, need in rows]


def _of_storage(storage: str, memory_bound: float, always: float) -> list[Goal]:
    """What narrow storage has to win."""
    group, subject = ("storage",), stored("flatstep", storage)
    limits = (stored("byte limit", storage), stored(IN_THE_CACHE, storage))
    return [
        Goal(
            f"{storage}, memory-bound",
            group,
            PLAIN,
            "flatstep",
            memory_bound,
            subject,
            memory_bound=True,
        ),
        Goal(storage, group, PLAIN, "flatstep", always, subject),
        Goal(f"{storage}, clipped", group, ("ClipL2Global",), FUSED, 1.5, subject),
        Goal(storage, group, PLAIN, "slower of its limits", 0.85, subject, slowest_of=limits),
        Goal(
            f"{storage}, every updater",
            ("stored updaters",),
            PLAIN,
            "slower of its limits",
            0.85,
            subject,
            slowest_of=limits,
        ),
    ]


MAIN = ("tiny", "mlp", "deep", "2000x64", "1M", "16M", "64M", "64x1M")
# By storage: how many times faster than full storage, memory-bound and in any state of the machine.
WANTED_OF_STORAGE = {
    "16bit": (1.35, 1.2),
    "8bit": (1.55, 1.15),
    "split 16bit": (1.5, 1.15),
    "split 8bit": (1.7, 1.0),
}
GOALS: tuple[Goal, ...] = (
    *_per("tiny", "tiny", PLAIN, (FUSED, 50), (CPU_ADAM, 30), ("NumPy", 30)),
    # Gradients in a buffer that both know: NumPy's one flat array, our bound gradients.
    Goal("tiny, bound", ("tiny",), PLAIN, "NumPy, flat", 30, "flatstep, bound"),
    *_per("tiny, clipped", "tiny", CLIP, (FUSED, 150)),
    Goal("tiny, bound", ("tiny",), PLAIN, "empty method call", 4, "flatstep, bound", at_most=True),
    *_per("mlp", "mlp", PLAIN, (FUSED, 3), (CPU_ADAM, 2)),
    *_per("mlp, clipped", "mlp", CLIP, (FUSED, 5)),
    *_per("deep", "deep", PLAIN, (FUSED, 1.3), (CPU_ADAM, 1.1)),
    *_per("deep, clipped globally", "deep", ("ClipL2Global",), (FUSED, 2)),
    *_per("1M", "1M", PLAIN, (FUSED, 1.1)),
    *_per("1M, clipped", "1M", CLIP, (FUSED, 2)),
    *_per("16M", "16M", PLAIN, (FUSED, 1)),
    *_per("16M, clipped", "16M", CLIP, (FUSED, 1.5)),
    *_per("64M", "64M", PLAIN, (FUSED, 1)),
    *_per("64M, clipped", "64M", CLIP, (FUSED, 1.35)),
    *_per("64x1M, clipped", "64x1M", CLIP, (FUSED, 1.5)),
    Goal("16M, every updater", ("updaters",), PLAIN, "byte limit", 0.95, networks=("16M",)),
    Goal("64M, every updater", ("updaters",), PLAIN, "byte limit", 0.95, networks=("64M",)),
    Goal("16M, averages", ("averages",), PLAIN, "byte limit", 0.95, networks=("16M",)),
    Goal("64M, averages", ("averages",), PLAIN, "byte limit", 0.95, networks=("64M",)),
    Goal(
        "64x1M, clipped per layer",
        ("64x1M",),
        ("ClipL2PerLayer",),
        "flatstep, plain",
        1.05,
        at_most=True,
    ),
    Goal(
        "any case, raise",
        (*MAIN, "updaters", "float64", "cache"),
        ALL,
        "flatstep",
        1.2,
        "flatstep, raise",
        threads="any",
        at_most=True,
    ),
    *(
        goal
        for storage, wanted in WANTED_OF_STORAGE.items()
        for goal in _of_storage(storage, *wanted)
    ),
    Goal("8bit", ("storage",), PLAIN, BITSANDBYTES, 25, "flatstep, 8bit"),
    Goal("16K in cache", ("cache",), PLAIN, "bytes, roots and divisions", 0.9, threads="one"),
)

# What a step's bytes alone take of its time, at least, where the memory is what it waits for.
MEMORY_BOUND = 0.9


def ratio(numerator: Result, denominator: Result) -> tuple[float, float]:
    """The quotient of two results' minima, and the median of the quotients of each round.

    A machine that changes for some seconds, as a memory does that others use too, meets both turns
    of a round, but not the fastest ones of both.
    """
    rounds = zip(numerator.turns, denominator.turns, strict=False)  # the slow ones leave early
    return numerator.minimum / denominator.minimum, statistics.median(a / b for a, b in rounds)


def slowest(results: Iterable[Result]) -> Result:
    """By the minima: the limit that holds, where there are several."""
    return max(results, key=lambda result: result.minimum)


_ByName = Mapping[tuple[Case, str, str], Result]


def _beside(result: Result, by_name: _ByName, names: Iterable[str]) -> list[Result]:
    """The results of these contenders in the same case, of those that there are."""
    keys = ((result.case, result.part, name) for name in names)
    return [by_name[key] for key in keys if key in by_name]


def _is_memory_bound(result: Result, by_name: _ByName) -> bool:
    """Whether full storage takes, in this case, hardly longer than its bytes alone."""
    found = _beside(result, by_name, ("flatstep", "byte limit"))
    return len(found) == 2 and found[1].minimum >= MEMORY_BOUND * found[0].minimum


def judge(results: Sequence[Result], goals: Iterable[Goal] = GOALS) -> list[Verdict]:
    """The verdict on each goal for which something was measured."""
    most = max((result.case.threads for result in results if result.case.threads > 1), default=0)
    by_name = {(result.case, result.part, result.contender): result for result in results}
    verdicts = []
    for goal in goals:
        found: list[tuple[float, float, str]] = []
        for result in results:
            if result.contender != goal.subject or not goal.chooses(result, most):
                continue
            if goal.memory_bound and not _is_memory_bound(result, by_name):
                continue
            names = goal.slowest_of or (goal.against,)
            others = _beside(result, by_name, names)
            if len(others) == len(names):
                other = slowest(others)
                pair = (result, other) if goal.at_most else (other, result)
                found.append((*ratio(*pair), str(result.case)))
        if found:
            worst = (max if goal.at_most else min)(found)
            verdicts.append(Verdict(goal, worst[2], worst[0], worst[1], len(found)))
    return verdicts
