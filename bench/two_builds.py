"""Time two installed builds of flatstep against each other, in turns, in one run.

    python bench/two_builds.py OLD/bin/python NEW/bin/python
    python bench/two_builds.py A B --cases tiny-bound 16M --seconds 20 --json run.json
    python bench/two_builds.py A B --instructions    a tiny step, counted by valgrind's callgrind
    python bench/two_builds.py A B --sizes           what is installed, in bytes

A and B are the Python interpreters of two environments, each with a build of its own. Each runs in
a process that stays, and a round times one after the other, in turns first, on the same cores: a
slow moment of the machine meets both, and the ratio of a round is of times that lie side by side.
A case is done by several pairs of processes, because where a process lies in memory alone makes a
step of a microsecond some percent faster or slower. The exit code is 1 if the median of a case's
ratios B/A is above the limit. "fastest" is the ratio of the fastest rounds, for comparison: where
others use the cores it moves least.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import callgrind_tiny
from comparison.cases import standard_cases
from comparison.contenders import flatstep_step
from comparison.results import machine
from comparison.timing import Contender, Effort, turn, without_garbage_collection

STRATEGIES = ("None", "ClipL2PerLayer")
# By name: the group of comparison/cases.py, and whether the gradients are bound.
CASES = {
    "tiny-bound": ("tiny", True),
    "tiny-dict": ("tiny", False),
    "mlp": ("mlp", False),
    "deep": ("deep", False),
    "1M": ("1M", False),
    "16M": ("16M", False),
}
FEWEST_ROUNDS = 6


# ---- the process of one build --------------------------------------------------------------------


def serve() -> None:
    """Answer requests, a line of JSON each, until there are no more."""
    source = flatstep_step.load()
    contender: Contender | None = None
    with without_garbage_collection():
        for line in sys.stdin:
            request = json.loads(line)
            if request["do"] == "describe":
                answer: Any = describe()
            elif request["do"] == "enter":
                contender = None  # before the next one takes memory too
                contender, answer = enter(source, request)
            else:
                assert contender is not None
                answer = min(turn(contender, Effort()) for _ in range(request["turns"]))
            print(json.dumps(answer), flush=True)


def describe() -> dict[str, Any]:
    """Which build this is, and the bytes of its parts."""
    import flatstep

    package = Path(flatstep.__file__).parent
    module = Path(sys.modules["flatstep._core"].__file__ or "")
    return {
        "python": sys.executable,
        "package": str(package),
        "version": flatstep.__version__,
        "isa": flatstep.isa(),
        "sizes": {
            "native module": module.stat().st_size,
            "headers": size_of(Path(flatstep.get_include()), "*.hpp"),
            "Python": size_of(package, "*.py"),
        },
    }


def size_of(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def enter(source: flatstep_step.Flatstep, request: dict[str, Any]) -> tuple[Contender, str]:
    """The contender asked for, and a digest of the parameters after its first steps."""
    source.set_threads(request["threads"])
    (case,) = (
        case
        for case in standard_cases((request["threads"],), quick=False)
        if (case.group, case.strategy) == (request["group"], request["strategy"])
    )
    contender = source.make(case, bound=request["bound"])
    for _ in range(3):
        contender.call(*contender.arguments)
    assert contender.parameters is not None
    return contender, hashlib.sha256(contender.parameters().tobytes()).hexdigest()


# ---- the process that asks both ------------------------------------------------------------------


class Build:
    """A process of one build."""

    def __init__(self, python: str) -> None:
        self._python = python
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        environment.pop("PYTHONPATH", None)  # each finds the build of its own environment
        self._process = subprocess.Popen(
            [python, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, do: str, **request: object) -> Any:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # of a process that is gone; seen just below
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._python} failed; its message is above")
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def builds(pythons: Sequence[str]) -> Iterator[list[Build]]:
    """A process per build, ended in the end."""
    started = [Build(python) for python in pythons]
    try:
        yield started
    finally:
        for build in started:
            build.close()


def measure(chosen: argparse.Namespace, name: str, strategy: str) -> dict[str, Any]:
    """One case: the times of each build by round, and what they come to."""
    group, bound = CASES[name]
    samples: dict[str, list[float]] = {"A": [], "B": []}
    same_bits = True
    for _ in range(chosen.processes):
        with builds([chosen.a, chosen.b]) as pair:
            digests = {
                build.ask(
                    "enter", group=group, strategy=strategy, bound=bound, threads=chosen.threads
                )
                for build in pair
            }
            same_bits &= len(digests) == 1
            fewest = -(-FEWEST_ROUNDS // chosen.processes)
            end = time.perf_counter() + chosen.seconds / chosen.processes
            for done in range(-(-chosen.rounds // chosen.processes)):
                if done >= fewest and time.perf_counter() > end:
                    break
                both = list(zip("AB", pair, strict=True))
                for letter, build in reversed(both) if done % 2 else both:
                    samples[letter].append(build.ask("turn", turns=chosen.turns))
    ratios = [b / a for a, b in zip(samples["A"], samples["B"], strict=True)]
    lower, median, upper = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    fastest = min(samples["B"]) / min(samples["A"])
    return {
        "case": name,
        "strategy": strategy,
        "threads": chosen.threads,
        "rounds": len(ratios),
        "median": {letter: statistics.median(times) for letter, times in samples.items()},
        "ratio": {"lower": lower, "median": median, "upper": upper, "fastest": fastest},
        "same_bits": same_bits,
        "samples": samples,
    }


def microseconds(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e3:,.{3 if nanoseconds < 1e4 else 1}f}"


def times(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Every case asked for, each shown when it is done."""
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        print(
            f"load {load:.1f}: others use these cores; where the quartiles are wide, measure again"
        )
    print(
        f"{'microseconds per step':28}{'A':>11}{'B':>11}{'B/A':>7}{'quartiles':>14}"
        f"{'fastest':>9}{'rounds':>8}"
    )
    found = []
    for name in chosen.cases:
        for strategy in STRATEGIES:
            result = measure(chosen, name, strategy)
            found.append(result)
            title = f"{name}, {'plain' if strategy == 'None' else strategy}"
            ratio = result["ratio"]
            line = f"{title:28}" + "".join(f"{microseconds(result['median'][x]):>11}" for x in "AB")
            line += f"{ratio['median']:7.3f}   {ratio['lower']:.3f}-{ratio['upper']:.3f}"
            line += f"{ratio['fastest']:9.3f}{result['rounds']:>8}"
            if ratio["median"] > chosen.limit:
                line += "  ABOVE"
            print(line if result["same_bits"] else f"{line}  other bits", flush=True)
    return found


def instructions(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The instructions of a tiny step, per variant and build."""
    counts: dict[str, dict[str, float]] = {}
    for letter, python in (("A", chosen.a), ("B", chosen.b)):
        with tempfile.TemporaryDirectory() as folder:
            measured = callgrind_tiny.measure(
                STRATEGIES, Path(folder), python=python, names=["flatstep"]
            )
        for variant, count in measured.items():
            counts.setdefault(variant, {})[letter] = count[""] / callgrind_tiny.STEPS
    return counts


def show_counts(title: str, counts: dict[str, dict[str, float]]) -> None:
    print(f"{title:32}{'A':>12}{'B':>12}{'B/A':>9}")
    for name, row in counts.items():
        ratio = row["B"] / row["A"] if row["A"] else float("nan")
        print(f"{name.removesuffix('/None'):32}{row['A']:>12,.0f}{row['B']:>12,.0f}{ratio:9.3f}")


# ---- the command line ----------------------------------------------------------------------------


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="the interpreter with the first build")
    parser.add_argument("b", metavar="B", help="the interpreter with the second")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=tuple(CASES), metavar="NAME",
                        help=", ".join(CASES))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=12.0, metavar="S",
                        help="no new round of a case after S seconds (default: 12)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=120, metavar="N",
                        help="at most N rounds of a case (default: 120)")  # fmt: skip
    parser.add_argument("--processes", type=int, default=3, metavar="N",
                        help="pairs of processes that share them (default: 3)")  # fmt: skip
    parser.add_argument("--turns", type=int, default=5, metavar="N",
                        help="a round's time is the fastest of N turns (default: 5)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--limit", type=float, default=1.02, metavar="R",
                        help="of a median ratio (default: 1.02)")  # fmt: skip
    parser.add_argument("--instructions", action="store_true", help="instead of times")
    parser.add_argument("--sizes", action="store_true", help="instead of times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    chosen = parser.parse_args(argv)
    for name in ("rounds", "processes", "turns", "threads"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name}: expected an integer >= 1, got {getattr(chosen, name)}")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = arguments(argv)
    if hasattr(os, "sched_setaffinity"):  # the processes inherit it
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: chosen.threads])
    with builds([chosen.a, chosen.b]) as pair:
        described = dict(zip("AB", (build.ask("describe") for build in pair), strict=True))
    for letter, build in described.items():
        print(f"{letter}: flatstep {build['version']}, {build['isa']}, {build['package']}")
    if described["A"]["package"] == described["B"]["package"]:
        print("A and B are the same build: what differs is noise")
    document: dict[str, Any] = {"version": 1, "machine": machine(), "builds": described}
    above = False
    if chosen.sizes:
        parts = described["A"]["sizes"]
        sizes = {part: {x: float(described[x]["sizes"][part]) for x in "AB"} for part in parts}
        show_counts("bytes", sizes)
        document["sizes"] = sizes
    if chosen.instructions:
        document["instructions"] = instructions(chosen)
        show_counts("instructions of a tiny step", document["instructions"])
    if not (chosen.sizes or chosen.instructions):
        document["limit"] = chosen.limit
        document["times"] = times(chosen)
        above = any(result["ratio"]["median"] > chosen.limit for result in document["times"])
    if chosen.json:
        chosen.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if above else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
