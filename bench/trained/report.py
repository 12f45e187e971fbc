"""Means, spreads and differences of the runs; the tables of a page; what passes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from comparison.cases import STORAGES

from trained.decay import Decay
from trained.run import Run, Task

MARK = re.compile(r"<!-- trained: (storage accuracy|storage decay) -->\n\n(?:\|.*\n)*")


@dataclass(frozen=True)
class Row:
    """One storage in one task, over all seeds; differences are from full storage, seed by seed."""

    task: str
    storage: str
    seeds: int
    mean: float
    spread: float
    difference: float
    error: float
    loss: float

    @property
    def lost(self) -> float:
        return -self.difference


def rows(runs: Sequence[Run], task: str, seeds: int | None = None) -> list[Row]:
    """A row for each storage; `seeds` takes the first so many."""
    own = [run for run in runs if run.task == task and (seeds is None or run.seed < seeds)]
    by_storage = {s: {r.seed: r for r in own if r.storage == s} for s in STORAGES}
    full = by_storage["full"]
    found = []
    for storage, of in by_storage.items():
        both = sorted(full.keys() & of.keys())
        if not both:
            continue
        accuracies = np.array([of[seed].accuracy for seed in both])
        differences = accuracies - [full[seed].accuracy for seed in both]
        found.append(
            Row(
                task,
                storage,
                len(both),
                float(accuracies.mean()),
                _spread(accuracies),
                float(differences.mean()),
                _spread(differences) / len(both) ** 0.5,
                float(np.mean([of[seed].final_loss for seed in both])),
            )
        )
    return found


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def accuracy_table(tasks: Iterable[Task], runs: Sequence[Run]) -> list[Sequence[str]]:
    table: list[Sequence[str]] = [
        ("trained", "storage", "bytes", "seeds", "accuracy, %", "from full, points", "loss")
    ]
    for task in tasks:
        for row in rows(runs, task.name):
            from_full = "" if row.storage == "full" else f"{row.difference:+.2f} ± {row.error:.2f}"
            table.append(
                (
                    task.name if row.storage == "full" else "",
                    row.storage,
                    str(STORAGES[row.storage].bytes("Adam")),
                    str(row.seeds),
                    f"{row.mean:.2f} ± {row.spread:.2f}",
                    from_full,
                    f"{row.loss:.4f}",
                )
            )
    return table


def decay_table(decays: Sequence[Decay]) -> list[Sequence[str]]:
    table: list[Sequence[str]] = [
        (
            "steps",
            *(f"{s}, {what}" for what in ("all stop", "half stop") for s in ("16bit", "8bit")),
        )
    ]
    by_place = {(d.steps, d.half, d.storage): d.ratio for d in decays}
    tens = {d.steps for d in decays if d.half or d.steps % 10_000 == 0}
    for steps in sorted(tens | {d.steps for d in decays[-1:]}):
        cells = [
            f"{by_place[key]:.3f}" if (key := (steps, half, storage)) in by_place else ""
            for half in (False, True)
            for storage in ("16bit", "8bit")
        ]
        table.append((f"{steps:,}".replace(",", " "), *cells))
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rewrite(
    page: Path, tasks: Iterable[Task], runs: Sequence[Run], decays: Sequence[Decay]
) -> None:
    """Write the tables that the page has marks for. One of which nothing was measured stays."""
    tables = {
        "storage accuracy": accuracy_table(tasks, runs),
        "storage decay": decay_table(decays),
    }

    def table(match: re.Match[str]) -> str:
        lines = tables[match.group(1)]
        if len(lines) == 1:
            return match.group(0)
        return f"<!-- trained: {match.group(1)} -->\n\n{markdown(lines)}"

    page.write_text(MARK.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")


@dataclass(frozen=True)
class Verdict:
    what: str
    found: str
    passes: bool


def verdicts(tasks: Iterable[Task], runs: Sequence[Run], decays: Sequence[Decay]) -> list[Verdict]:
    """16 bits: within the spread of full storage's seeds. 8 bits: 0.3 points. v: 5 percent."""
    found = []
    for task in tasks:
        by_storage = {row.storage: row for row in rows(runs, task.name)}
        for storage, row in by_storage.items():
            if storage == "full":
                continue
            shown = f"{row.difference:+.3f} ± {row.error:.3f}"
            if STORAGES[storage].state_storage == "16bit":
                spread = by_storage["full"].spread
                what = f"{task.name}, {storage}: differs by less than the seeds ({spread:.3f})"
                passes = abs(row.difference) <= spread
            else:
                what = f"{task.name}, {storage}: loses at most 0.3 points"
                passes = row.lost <= 0.3
            found.append(Verdict(what, shown, passes))
    for storage in ("16bit", "8bit"):
        ratios = [d.ratio for d in decays if d.storage == storage and not d.half]
        if ratios:
            worst = max(ratios, key=lambda ratio: abs(ratio - 1))
            steps = max(d.steps for d in decays if d.storage == storage and not d.half)
            what = f"decay of v, {storage}: within 5 % of float32's for {steps} steps"
            found.append(Verdict(what, f"{worst:.4f} at worst", abs(worst - 1) <= 0.05))
    return found


def terminal(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
