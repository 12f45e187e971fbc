"""Count the instructions of a tiny step, with valgrind's callgrind.

    python bench/callgrind_tiny.py                    the table of counts
    python bench/callgrind_tiny.py --functions 12     and the functions where they are spent

Times of steps below a microsecond drift with the machine; their instruction counts do not. The
network is compare.py's `tiny`. Each variant takes so many steps and then twice as many: the
difference is the steps alone. Python's own loop over the steps and its call of the method are in
it, and are all there is to the empty method call.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from comparison import contenders
from comparison.cases import STRATEGIES, TINY, Case
from comparison.timing import without_garbage_collection

STEPS = 1000
SOURCES = ("flatstep", "limit")
VARIANTS = (
    ("empty method call", "None"),
    ("flatstep", "None"),
    ("flatstep, bound", "None"),
    ("flatstep, flat", "None"),
    ("flatstep, raise", "None"),
    ("flatstep", "ClipL2PerLayer"),
    ("flatstep, bound", "ClipL2PerLayer"),
    ("flatstep", "ClipL2Global"),
)


def run_variants(strategies: Sequence[str], names: Sequence[str]) -> None:
    """What runs under callgrind: per variant a dump of its start, its steps, twice its steps."""
    sources, absent = contenders.load(names)
    if "flatstep" in absent:
        raise SystemExit(f"flatstep: absent ({absent['flatstep']})")
    for source in sources:
        source.set_threads(1)
    # A collection that falls into the shorter of two runs would count as some steps less.
    with without_garbage_collection():
        for strategy in strategies:
            case = Case("tiny", TINY, 1, strategy)
            for contender in (found for source in sources for found in source.contenders(case)):
                if (contender.name, strategy) in VARIANTS:
                    print(f"{contender.name}/{strategy}", flush=True)
                    for steps in (20, STEPS, 2 * STEPS):
                        contender.nanoseconds(steps)
                        _control("--dump")


def _control(command: str) -> None:
    subprocess.run(
        ["callgrind_control", command, str(os.getpid())], check=True, capture_output=True
    )


def measure(
    strategies: Sequence[str],
    folder: Path,
    *,
    python: str = sys.executable,
    names: Sequence[str] = SOURCES,
) -> dict[str, Counter[str]]:
    """Per variant callgrind's count per function, and under "" their sum, of STEPS steps."""
    out = folder / "dump"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--"]
    child = [python, __file__, "--run", *names, "--strategies", *strategies]
    done = subprocess.run(
        valgrind + child,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(valgrind + child)} failed:\n{done.stderr}")
    counts = {}
    for index, variant in enumerate(done.stdout.splitlines()):
        fewer, more = (_read(folder / f"dump.{3 * index + part}") for part in (2, 3))
        more.subtract(fewer)
        counts[variant] = more
    return counts


def _read(path: Path) -> Counter[str]:
    """The counts of one dump."""
    annotated = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--show-percs=no", "--auto=no", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    counts: Counter[str] = Counter()
    for line in annotated.splitlines():
        if match := re.match(r"\s*([\d,]+)\s+(\S.*)", line):
            name = match[2]
            key = "" if name.startswith("PROGRAM TOTALS") else _function(name)
            counts[key] += int(match[1].replace(",", ""))
    return counts


def _function(name: str) -> str:
    """'file:function [object]' -> 'function [object]', of a readable length."""
    function, _, path = re.sub(r"^[^:\s]*:", "", name).partition(" [")
    short = re.sub(r"<[^<>]*>|\(.*\)", "", function).strip()
    return f"{short[:60]} [{Path(path.rstrip(']')).name[:24]}]" if path else short[:60]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="show the N costliest functions"
    )
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--run", nargs="+", choices=SOURCES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.run:
        run_variants(chosen.strategies, chosen.run)
        return 0
    print(f"Instructions of a step, {TINY}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for variant, counts in measure(chosen.strategies, Path(folder)).items():
            title = variant.removesuffix("/None").replace("/", ", ")
            total = counts.pop("")
            print(f"  {title:40}{total / STEPS:>10,.0f}")
            # The frames below the dump appear with all that they called; no function has it all.
            costs = [entry for entry in counts.most_common() if entry[1] < total]
            for name, count in costs[: chosen.functions]:
                print(f"    {count / STEPS:>8,.1f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
