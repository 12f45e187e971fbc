"""The tables, for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from textwrap import fill

from comparison.cases import IN_THE_CACHE
from comparison.goals import judge, ratio
from comparison.results import Result, Run

WIDTH = 100


def duration(nanoseconds: float) -> str:
    """Four digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:#.4g} {unit}"
    return f"{nanoseconds:#.4g} ns"


def times(value: float) -> str:
    """A ratio: three digits, no exponent."""
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}"


def heading(run: Run) -> str:
    """Who was measured, and where."""
    machine = run.machine
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}",
        *(f"{name}: {version}" for name, version in run.versions.items()),
        *(f"{name}: absent ({reason})"[: WIDTH - 1] for name, reason in run.absent.items()),
    ]
    lines += [
        "Ratios are times over flatstep's: above 1, flatstep is the faster. They are those of the",
        "minima, and the median of those of each round.",
    ]
    if run.quick:
        lines.append("Quick: small sizes and few rounds; this shows that it works, not how fast.")
    if (machine["load"] or 0) > 0.5:
        lines.append(f"The machine was not idle at the start: load {machine['load']}.")
    return "\n".join(lines)


def case_table(results: Sequence[Result]) -> str:
    """The contenders of one case; the ratios are their times over flatstep's."""
    first = results[0]
    own = next((result for result in results if result.contender == "flatstep"), None)
    part = ", whole iterations" if first.part == "iteration" else ""
    lines = [
        fill(f"{first.case}{part}", WIDTH, subsequent_indent="  "),
        f"  {'':30}{'minimum':>12}{'median':>12}{'GB/s':>9}{'ratio of minima':>18}{'rounds':>10}",
    ]
    for result in results:
        speed = f"{result.gigabytes_per_second:.1f}" if first.part == "step" else ""
        if result.contender == "empty method call" or result.contender.startswith(IN_THE_CACHE):
            speed = ""
        line = f"  {result.contender:30}{duration(result.minimum):>12}{duration(result.median):>12}"
        line += f"{speed:>9}"
        if own is not None:
            by_minimum, by_round = ratio(result, own)
            line += f"{times(by_minimum):>18}{times(by_round):>10}"
        lines.append(line)
    return "\n".join(lines)


def tables(results: Iterable[Result]) -> list[str]:
    """A table per case."""
    keyed = groupby(results, key=lambda result: (result.case, result.part))
    return [case_table(list(group)) for _, group in keyed]


def goal_table(run: Run) -> str:
    """Each goal, its hardest case and whether it is met."""
    lines = [
        "Goals: the ratio in the hardest of the cases measured, by the minima and round by round",
        f"  {'':27}{'against':27}{'needed':>8}{'minima':>10}{'rounds':>9}  ",
    ]
    verdicts = judge(run.results)
    for verdict in verdicts:
        goal = verdict.goal
        needed = ("≤ " if goal.at_most else "≥ ") + f"{goal.need:g}"
        lines.append(
            f"  {goal.what:27}{goal.against:27}{needed:>8}{times(verdict.by_minimum):>10}"
            f"{times(verdict.by_round):>9}  {'met' if verdict.met else 'MISSED'}"
        )
        if verdict.cases > 1:
            hardest = f"hardest of {verdict.cases}: {verdict.case}"
            lines.append(fill(hardest, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6))
    if not verdicts:
        lines.append("  none of them was measured")
    return "\n".join(lines)
