"""Measure flatstep, its peers and the limits in one run, interleaved, on this machine.

    python bench/compare.py                          everything: half an hour on two cores
    python bench/compare.py --cases mlp 16M          some cases (--list shows their names)
    python bench/compare.py --quick                  small sizes, seconds: shows that it works
    python bench/compare.py --json run.json --plot docs/roofline.png
    python bench/compare.py --load run.json          the tables of an earlier run
    python bench/compare.py --load run.json --page docs/performance.md    and into a page

It needs flatstep, NumPy, and for the limits CMake, pybind11 and a C++ compiler. PyTorch, DeepSpeed,
bitsandbytes and, for pictures, matplotlib take part where they are installed; who is absent is
said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from comparison import contenders, report
from comparison.cases import (
    STORAGES,
    STRATEGIES,
    TINY,
    Case,
    groups,
    single,
    standard_cases,
    storage_of,
)
from comparison.contenders.base import Source
from comparison.markdown import rewrite
from comparison.plot import draw
from comparison.results import Result, Run, cores, load_run, machine
from comparison.timing import QUICK, Contender, Effort, Timing, measure, measure_between


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = groups(standard_cases((1,), quick=False))
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only these; --list shows them")
    parser.add_argument("--list", action="store_true", help="show the names of the cases")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=contenders.LOADERS,
        metavar="NAME",
        default=tuple(contenders.LOADERS),
        help=", ".join(contenders.LOADERS),
    )
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default: 1 and all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    parser.add_argument(
        "--repeat", type=int, default=60, metavar="N", help="at most N rounds (default: 60)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        metavar="S",
        help="no new round of a case after S seconds (default: 6)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline picture")
    parser.add_argument("--page", type=Path, metavar="FILE", help="rewrite a page's tables")
    parser.add_argument("--load", type=Path, metavar="FILE", help="read results, measure nothing")
    chosen = parser.parse_args(argv)
    if chosen.list:
        parser.exit(message=" ".join(f"'{n}'" if " " in n else n for n in names) + "\n")
    return chosen


def choose(chosen: argparse.Namespace) -> list[Case]:
    """The cases asked for."""
    threads = chosen.threads or sorted({1, cores()})
    cases = standard_cases(threads, quick=chosen.quick)
    if chosen.cases:
        unknown = [name for name in chosen.cases if name not in groups(cases)]
        if unknown:
            raise SystemExit(
                f"--cases: no {', '.join(unknown)}; there are {', '.join(groups(cases))}"
            )
        cases = [case for case in cases if case.group in chosen.cases]
    return [case for case in cases if case.strategy in chosen.strategies]


def enter(sources: Sequence[Source], case: Case) -> list[Contender]:
    """All contenders of a case."""
    found = []
    for source in sources:
        source.set_threads(case.threads)
        found += source.contenders(case)
    return found


def check_agreement(sources: Sequence[Source], strategies: Sequence[str]) -> None:
    """All contenders must do the same work: the same parameters after some steps from one start.

    Their epsilons stand at different places, so single parameters may differ by some percent of a
    step; a step left out, or one without clipping, moves all by far more. Of narrow storage what it
    rounds is allowed for: half a step.
    """
    cases = [Case("tiny", TINY, 1, strategy) for strategy in strategies]
    cases += [Case("storage", single(1 << 14), 1, storage=storage) for storage in STORAGES]
    for case in cases:
        results = {}
        for contender in enter(sources, case):
            if contender.parameters is not None and not contender.name.endswith(", plain"):
                for _ in range(5):
                    contender.call(*contender.arguments)
                results[contender.name] = contender.parameters()
        expected = next(iter(results.values()), None)
        for name, result in results.items():
            difference = float(np.abs(result - expected).mean())
            if not difference < (1e-5 if storage_of(name) == "full" else 5e-4):
                raise SystemExit(
                    f"{name} and {next(iter(results))} disagree, {case}: after five steps of 0.001 "
                    f"their parameters differ by {difference:.2g} on average"
                )


def matrix_product() -> Contender:
    """The work between steps: a product that NumPy's BLAS spreads over its own threads."""
    left, right = np.ones((256, 512), np.float32), np.ones((512, 256), np.float32)
    out = np.empty((256, 256), np.float32)
    return Contender("product", lambda: np.matmul(left, right, out=out))


def results_of(case: Case, sources: Sequence[Source], chosen: argparse.Namespace) -> list[Result]:
    """Measure one case."""
    effort = QUICK
    if not chosen.quick:
        effort = Effort(chosen.seconds, min(5, chosen.repeat), chosen.repeat)
    entered = enter(sources, case)

    def results(timings: Sequence[Timing], part: str) -> list[Result]:
        return [Result(case, t.contender, tuple(t.samples), part) for t in timings]

    if not case.between_products:
        return results(measure(entered, effort), "step")
    entered.append(Contender("nothing between the products", lambda: None))
    steps, iterations = measure_between(entered, matrix_product().call, effort)
    return results(steps[:-1], "step") + results(iterations, "iteration")


def measure_all(chosen: argparse.Namespace) -> Run:
    """Measure the cases, and show each when it is done."""
    cases = choose(chosen)
    sources, absent = contenders.load(chosen.contenders)
    versions = {source.name: source.version for source in sources}
    run = Run(machine(), versions, absent, chosen.quick)
    print(report.heading(run), flush=True)
    check_agreement(sources, chosen.strategies)
    for case in cases:
        results = results_of(case, sources, chosen)
        run.results += results
        for table in report.tables(results):
            print(f"\n{table}", flush=True)
        if chosen.json:
            run.save(chosen.json)
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = arguments(argv)
    if chosen.load:
        run = load_run(chosen.load)
        print(report.heading(run))
        for table in report.tables(run.results):
            print(f"\n{table}")
    else:
        run = measure_all(chosen)
    print(f"\n{report.goal_table(run)}")
    if chosen.page:
        rewrite(run, chosen.page)
        print(f"\n{chosen.page}")
    if chosen.plot:
        draw(run, chosen.plot)
        print(f"\n{chosen.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
