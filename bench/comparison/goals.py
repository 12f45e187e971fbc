"""The goals: ratios of times measured in one run, each with what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from comparison.results import Result

CLIP = ("ClipL2PerLayer", "ClipL2Global")
PLAIN = ("None",)
ALL = PLAIN + CLIP


@dataclass(frozen=True)
class Goal:
    """How many times faster than `against` (or, `at_most`, slower) `subject` has to be.

    It holds for each of the cases that it names; `threads` "most" is the largest number measured,
    if that is more than one.
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
    """A goal and where its hardest case stands, by the minima and by the medians."""

    goal: Goal
    case: str
    by_minimum: float
    by_median: float
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


MAIN = ("tiny", "mlp", "deep", "2000x64", "1M", "16M", "64M", "64x1M")
FUSED, CPU_ADAM = "torch fused", "DeepSpeed CPUAdam"
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
    Goal("16K in cache", ("cache",), PLAIN, "bytes, roots and divisions", 0.9, threads="one"),
)


def ratio(numerator: Result, denominator: Result) -> tuple[float, float]:
    """The quotient of two results' minima, and of their medians."""
    return numerator.minimum / denominator.minimum, numerator.median / denominator.median


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
            other = by_name.get((result.case, result.part, goal.against))
            if other is not None:
                pair = (result, other) if goal.at_most else (other, result)
                found.append((*ratio(*pair), str(result.case)))
        if found:
            worst = (max if goal.at_most else min)(found)
            verdicts.append(Verdict(goal, worst[2], worst[0], worst[1], len(found)))
    return verdicts
