"""The tables of a page: each follows a line ``<!-- table: NAME -->`` and is written anew there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from comparison.cases import (
    BITSANDBYTES,
    IN_THE_CACHE,
    STATE_ARRAYS,
    STORAGES,
    groups,
    standard_cases,
    stored,
)
from comparison.goals import CPU_ADAM, FUSED, judge, ratio, slowest
from comparison.report import times
from comparison.results import Result, Run

_TABLES_OF_THEIR_OWN = (
    "updaters", "averages", "float64", "loop", "storage", "stored updaters", "cache", "sizes",
    "arrays",
)  # fmt: skip
BYTES_OF_ADAM = 28
MARK = re.compile(r"<!-- table: ([\w ]+) -->\n\n(?:\|.*\n)*")


def duration(nanoseconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= 0.9995 * size:
            return f"{_digits(nanoseconds / size)} {unit}"
    return f"{_digits(nanoseconds)} ns"


def _digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


class Tables:
    """The tables of a run, by name."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._most = max((result.case.threads for result in run.results), default=1)

    def _of(self, group: str, threads: int | None = None) -> list[list[Result]]:
        """The results of a group's cases, a list for each case."""
        cases: dict[str, list[Result]] = {}
        for result in self._run.results:
            if result.case.group == group and threads in (None, result.case.threads):
                cases.setdefault(str(result.case), []).append(result)
        return list(cases.values())

    def goals(self) -> Iterable[Sequence[str]]:
        yield "goal", "against", "wanted", "minima", "rounds", ""
        for verdict in judge(self._run.results):
            goal = verdict.goal
            wanted = ("≤ " if goal.at_most else "≥ ") + f"{goal.need:g}"
            met = "met" if verdict.met else "missed"
            # Three decimals, so that what is missed by a hair does not read as met.
            numbers = (
                f"{value:.3f}" if value < 10 else times(value)
                for value in (verdict.by_minimum, verdict.by_round)
            )
            yield goal.what, goal.against, wanted, *numbers, met

    def cases(self, threads: int) -> Iterable[Sequence[str]]:
        contenders = ("flatstep", "flatstep, raise", "NumPy", "torch fused", "DeepSpeed CPUAdam")
        names = ("flatstep", "`raise`", *contenders[2:])
        yield "case", "parameters", *names, "the bytes alone", "… looked at first"
        for group in dict.fromkeys(result.case.group for result in self._run.results):
            if group in _TABLES_OF_THEIR_OWN:
                continue
            for results in self._of(group, threads):
                case, by_name = results[0].case, {r.contender: r for r in results}
                found = [_minimum(by_name, name) for name in contenders]
                if case.strategy == "None":
                    network = case.network
                    size = f"{network.num_parameters:,}".replace(",", " ")
                    first = (group.replace("x", " × "), f"{size} in {network.num_arrays}")
                    limits = ("byte limit", "byte limit, raise")
                    yield *first, *found, *(_minimum(by_name, name) for name in limits)
                elif threads > 1:
                    yield f"… {case.strategy}", "", *found, "", ""

    def updaters(self) -> Iterable[Sequence[str]]:
        cases = {(r[0].case.updater, r[0].case.network.name): r for r in self._of("updaters")}
        sizes = dict.fromkeys(size for _, size in cases)
        head = ["updater"]
        for size in sizes:
            head += [size, "`raise`", "the bytes alone", "limit over step"]
        yield head
        for updater in STATE_ARRAYS:
            row = [updater]
            for size in sizes:
                by_name = {r.contender: r for r in cases.get((updater, size), ())}
                names = ("flatstep", "flatstep, raise", "byte limit")
                row += [_minimum(by_name, name) for name in names]
                row.append(_ratio(by_name, "byte limit", "flatstep"))
            yield row

    def looks(self) -> Iterable[Sequence[str]]:
        yield "parameters", "updater", "step: `raise` over `propagate`", "the bytes alone, likewise"
        for results in self._of("updaters"):
            case, by_name = results[0].case, {r.contender: r for r in results}
            own = _ratio(by_name, "flatstep, raise", "flatstep")
            limit = _ratio(by_name, "byte limit, raise", "byte limit")
            yield case.network.name, case.updater, own, limit

    def averages(self) -> Iterable[Sequence[str]]:
        """What averages beside the parameters cost, in time and in bytes at the step's speed."""
        yield (
            "parameters", "step", "with averages", "more bytes a parameter, at the step's speed",
            "the bytes alone", "… with averages", "limit over step, with averages",
        )  # fmt: skip
        of_network: dict[str, list[list[Result]]] = {}
        for results in self._of("averages"):
            of_network.setdefault(results[0].case.network.name, []).append(results)
        for name, (plain, averaged) in of_network.items():
            without, with_them = ({r.contender: r for r in each} for each in (plain, averaged))
            own = without["flatstep"].minimum
            more = (with_them["flatstep"].minimum - own) / own * BYTES_OF_ADAM
            yield (
                name, _minimum(without, "flatstep"), _minimum(with_them, "flatstep"), f"{more:.1f}",
                _minimum(without, "byte limit"), _minimum(with_them, "byte limit"),
                _ratio(with_them, "byte limit", "flatstep"),
            )  # fmt: skip

    def float64(self) -> Iterable[Sequence[str]]:
        names = ("flatstep", "NumPy", "torch fused", "byte limit")
        yield "float64 Adam", "threads", *names[:3], "the bytes alone"
        for results in self._of("float64"):
            case, by_name = results[0].case, {r.contender: r for r in results}
            found = (_minimum(by_name, name) for name in names)
            yield case.network.name, str(case.threads), *found

    def loop(self) -> Iterable[Sequence[str]]:
        names = ("flatstep", "NumPy", "torch fused", "DeepSpeed CPUAdam")
        yield "in a loop", *names, "iteration: nothing", "flatstep", "torch fused"
        for results in self._of("loop"):
            case = results[0].case
            name = case.network.name + ("" if case.strategy == "None" else f", {case.strategy}")
            step = {r.contender: r for r in results if r.part == "step"}
            whole = {r.contender: r for r in results if r.part == "iteration"}
            iterations = ("nothing between the products", "flatstep", "torch fused")
            medians = [_median(step, n) for n in names] + [_median(whole, n) for n in iterations]
            yield name, *medians

    def storage(self) -> Iterable[Sequence[str]]:
        """What narrow storage wins over full storage and over peers, and what its limits leave."""
        yield (
            "parameters", "storage", "bytes", "step", "full storage over step",
            f"{FUSED} over step", "… both clipped", f"{CPU_ADAM} over step",
            "bitsandbytes over step", "the bytes alone", "limit over step", "in the cache",
            "full storage: limit over step",
        )  # fmt: skip
        for plain in self._of("storage"):
            case = plain[0].case
            if case.strategy != "None":
                continue
            clipped = {
                result.contender: result
                for result in self._run.results
                if result.case == replace(case, strategy="ClipL2Global")
            }
            by_name = {r.contender: r for r in plain}
            step = stored("flatstep", case.storage)
            limit = stored("byte limit", case.storage)
            yield (
                case.network.name, case.storage, str(STORAGES[case.storage].bytes(case.updater)),
                _minimum(by_name, step), _ratio(by_name, "flatstep", step),
                _ratio(by_name, FUSED, step), _ratio(clipped, FUSED, step),
                _ratio(by_name, CPU_ADAM, step), _ratio(by_name, BITSANDBYTES, step),
                _minimum(by_name, limit), _ratio(by_name, limit, step),
                _minimum(by_name, stored(IN_THE_CACHE, case.storage)),
                _ratio(by_name, "byte limit", "flatstep"),
            )  # fmt: skip

    def stored_updaters(self) -> Iterable[Sequence[str]]:
        """Of each updater and storage: what is won, and the slower of its limits over its step."""
        storages = [name for name in STORAGES if name != "full"]
        head = ["updater"]
        for storage in storages:
            head += [f"{storage}: step", "full storage over step", "slower limit over step"]
        yield head
        cases = {(r[0].case.updater, r[0].case.storage): r for r in self._of("stored updaters")}
        for updater in dict.fromkeys(updater for updater, _ in cases):
            row = [updater]
            for storage in storages:
                by_name = {r.contender: r for r in cases.get((updater, storage), ())}
                step = stored("flatstep", storage)
                limits = [stored(name, storage) for name in ("byte limit", IN_THE_CACHE)]
                found = [by_name[name] for name in limits if name in by_name]
                slower = slowest(found).contender if found else ""
                row += [_minimum(by_name, step), _ratio(by_name, "flatstep", step)]
                row.append(_ratio(by_name, slower, step))
            yield row

    def sizes(self) -> Iterable[Sequence[str]]:
        most = self._most
        yield (
            "parameters in one array", "flatstep, 1 thread", f"{most} threads",
            "ns per parameter", f"torch fused, {most} threads", f"the bytes alone, {most} threads",
        )  # fmt: skip
        one = {r[0].case.network.name: {x.contender: x for x in r} for r in self._of("sizes", 1)}
        for results in self._of("sizes", most):
            network, by_name = results[0].case.network, {r.contender: r for r in results}
            each = by_name["flatstep"].minimum / network.num_parameters
            others = (_minimum(by_name, name) for name in ("torch fused", "byte limit"))
            own = (_minimum(one[network.name], "flatstep"), _minimum(by_name, "flatstep"))
            yield network.name, *own, f"{each:.2g}", *others

    def arrays(self) -> Iterable[Sequence[str]]:
        names = ("flatstep", "flatstep, bound", "NumPy", "torch fused")
        head = ("flatstep, a dict", "flatstep, bound", "ns per array (dict, bound)")
        yield "arrays of 64", *head, *names[2:]
        for results in self._of("arrays"):
            count, by_name = results[0].case.network.num_arrays, {r.contender: r for r in results}
            each = ", ".join(f"{by_name[name].minimum / count:.0f}" for name in names[:2])
            found = [_minimum(by_name, name) for name in names]
            yield str(count), *found[:2], each, *found[2:]

    def named(self) -> dict[str, Callable[[], Iterable[Sequence[str]]]]:
        """The tables that a page may ask for."""
        return {
            "goals": self.goals,
            "all threads": lambda: self.cases(self._most),
            "one thread": lambda: self.cases(1),
            "updaters": self.updaters,
            "looks": self.looks,
            "averages": self.averages,
            "float64": self.float64,
            "loop": self.loop,
            "storage": self.storage,
            "stored updaters": self.stored_updaters,
            "sizes": self.sizes,
            "arrays": self.arrays,
        }


def _minimum(by_name: dict[str, Result], name: str) -> str:
    return duration(by_name[name].minimum) if name in by_name else "–"


def _median(by_name: dict[str, Result], name: str) -> str:
    return duration(by_name[name].median) if name in by_name else "–"


def _ratio(by_name: dict[str, Result], numerator: str, denominator: str) -> str:
    """Of the minima; in brackets the median of the rounds' ratios."""
    if not {numerator, denominator} <= by_name.keys():
        return "–"
    by_minimum, by_round = ratio(by_name[numerator], by_name[denominator])
    return f"{times(by_minimum)} ({times(by_round)})"


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rewrite(run: Run, page: Path) -> None:
    """Write the tables that the page has marks for.

    One of which nothing was measured stays, and so do the goals after a run of some groups only.

    Raises:
        ValueError: a mark names no table.
    """
    tables = Tables(run).named()
    all_groups = set(groups(standard_cases((1,), quick=run.quick)))
    is_part = not all_groups <= {result.case.group for result in run.results}

    def table(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in tables:
            raise ValueError(f"{page}: no table {name!r}; there are {', '.join(tables)}")
        head, *body = tables[name]()
        measured = any(cell not in ("", "–") for line in body for cell in line[1:])
        if not measured or (name == "goals" and is_part):
            return match.group(0)
        return f"<!-- table: {name} -->\n\n{_markdown([head, *body])}"

    page.write_text(MARK.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")
