"""Count the instructions of a tiny step, with valgrind's callgrind.

    python bench/callgrind_tiny.py                    the table of counts
    python bench/callgrind_tiny.py --functions 12     and the functions where they are spent

Times of steps below a microsecond drift with the machine; their instruction counts do not. The
network is compare.py's `tiny`. Each variant runs twice, with so many steps and with twice as many:
the difference is the steps alone, without start and import. Python's own loop over the steps and
its call of the method are in it, and are all there is to the empty method call.
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

STEPS = 1000
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


def run_steps(contender: str, strategy: str, steps: int) -> None:
    """What runs under callgrind."""
    wanted = "limit" if contender == "empty method call" else "flatstep"
    sources, absent = contenders.load([wanted])
    for name, reason in absent.items():
        raise SystemExit(f"{name}: absent ({reason})")
    case = Case("tiny", TINY, 1, strategy)
    for source in sources:
        source.set_threads(1)
        for found in source.contenders(case):
            if found.name == contender:
                found.nanoseconds(20 + steps)


def instructions(contender: str, strategy: str, steps: int, folder: Path) -> Counter[str]:
    """Callgrind's count per function, and under "" their sum."""
    out = folder / f"{contender}-{strategy}-{steps}.out"
    child = [sys.executable, __file__, "--run", contender, strategy, str(steps)]
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--", *child]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(valgrind, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(valgrind)} failed:\n{done.stderr}")
    annotated = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--show-percs=no", "--auto=no", str(out)],
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
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.run:
        run_steps(chosen.run[0], chosen.run[1], int(chosen.run[2]))
        return 0
    print(f"Instructions of a step, {TINY}")
    with tempfile.TemporaryDirectory() as folder:
        for contender, strategy in VARIANTS:
            if strategy not in chosen.strategies:
                continue
            fewer, more = (
                instructions(contender, strategy, steps, Path(folder))
                for steps in (STEPS, 2 * STEPS)
            )
            more.subtract(fewer)
            title = contender if strategy == "None" else f"{contender}, {strategy}"
            print(f"  {title:40}{more.pop('') / STEPS:>10,.0f}", flush=True)
            for name, count in more.most_common(chosen.functions):
                print(f"    {count / STEPS:>8,.1f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
