"""Train with every storage, seed for seed, and say whether narrow storage learns as full does.

    python bench/accuracy.py                        everything: some 20 minutes on one core
    python bench/accuracy.py --tasks digits decay   some of it
    python bench/accuracy.py --quick                few steps, two seeds: shows that it works
    python bench/accuracy.py --json run.json --plot docs/narrow_storage.png
    python bench/accuracy.py --load run.json --page docs/howto/narrow-storage.md

With equal seeds all storages start from the same weights and see the same batches, so they are
compared seed by seed; the standard error is that of these differences. Every array of a network is
narrow here, also the small ones, which stay full unless they are told otherwise. The exit status is
1 where a storage does not do what it promises.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison.cases import STORAGES
from comparison.results import machine
from trained.decay import Decay, decays
from trained.digits import DIGITS
from trained.language_model import LANGUAGE_MODEL
from trained.lstm import LSTM
from trained.plot import draw
from trained.report import accuracy_table, decay_table, rewrite, terminal, verdicts
from trained.run import Run

import flatstep as fs

VERSION = 1
TASKS = {task.name: task for task in (DIGITS, LSTM, LANGUAGE_MODEL)}
DECAY = "decay"
DECAY_STEPS = 100_000


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = (*TASKS, DECAY)
    parser.add_argument("--tasks", nargs="+", choices=names, default=names, metavar="NAME",
                        help=", ".join(names))  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help="default: each task's own")
    parser.add_argument("--quick", action="store_true", help="few steps, two seeds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the losses")
    parser.add_argument("--page", type=Path, metavar="FILE", help="rewrite a page's tables")
    parser.add_argument("--load", type=Path, nargs="+", metavar="FILE",
                        help="read results, of one or more runs, and train nothing")  # fmt: skip
    return parser.parse_args(argv)


@dataclasses.dataclass
class Results:
    """Every run of every seed."""

    machine: dict[str, Any]
    versions: dict[str, str]
    quick: bool
    seconds: float = 0.0
    runs: list[Run] = dataclasses.field(default_factory=list)
    decays: list[Decay] = dataclasses.field(default_factory=list)

    def save(self, path: Path) -> None:
        document = {"version": VERSION, **dataclasses.asdict(self)}
        path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def load(paths: Sequence[Path]) -> Results:
    """What was run in parts, as if it were one run."""
    first, *others = (_load(path) for path in paths)
    for other in others:
        first.seconds += other.seconds
        first.runs += other.runs
        first.decays += other.decays
    return first


def _load(path: Path) -> Results:
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.pop("version", None) != VERSION:
        raise ValueError(f"{path}: expected results of version {VERSION}; train again")
    document["runs"] = [Run(**{**r, "losses": tuple(r["losses"])}) for r in document["runs"]]
    document["decays"] = [Decay(**d) for d in document["decays"]]
    return Results(**document)


def train_all(chosen: argparse.Namespace) -> Results:
    """Seed after seed, all storages of one before the next, and what is done is in the file."""
    versions = {"flatstep": fs.__version__, "NumPy": np.__version__}
    results = Results(machine(), versions, chosen.quick)
    started = time.process_time()
    fs.set_num_threads(1)
    if DECAY in chosen.tasks:
        steps = DECAY_STEPS // 50 if chosen.quick else DECAY_STEPS
        results.decays += decays(("16bit", "8bit"), steps * 12 // 100, 6, half=True)
        results.decays += decays(("16bit", "8bit"), steps, 20, half=False)
        print(terminal(decay_table(results.decays)), flush=True)
    for task in TASKS.values():
        if task.name not in chosen.tasks:
            continue
        for seed in range(2 if chosen.quick else chosen.seeds or task.seeds):
            for storage in STORAGES:
                run = task.run(storage, seed, 2 * task.every if chosen.quick else None)
                results.runs.append(run)
                print(f"{task.name}, seed {seed}, {storage}: {run.accuracy:.2f} %", flush=True)
            results.seconds = time.process_time() - started
            if chosen.json:
                results.save(chosen.json)
    results.seconds = time.process_time() - started
    if chosen.json:
        results.save(chosen.json)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = arguments(argv)
    results = load(chosen.load) if chosen.load else train_all(chosen)
    tasks = tuple(TASKS.values())
    print(
        f"\n{results.machine['processor']}, {results.seconds:.0f} s of one core, {results.versions}"
    )
    if results.runs:
        print(f"\n{terminal(accuracy_table(tasks, results.runs))}")
    judged = verdicts(tasks, results.runs, results.decays)
    print()
    for verdict in judged:
        print(f"{'passes' if verdict.passes else 'FAILS '}  {verdict.what}: {verdict.found}")
    if chosen.page:
        rewrite(chosen.page, tasks, results.runs, results.decays)
    if chosen.plot:
        draw(tasks, results.runs, chosen.plot)
    return 0 if results.quick or all(verdict.passes for verdict in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
