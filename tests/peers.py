"""What the tests of the presets share: arrays, rates, options in pairs, and the comparison.

A peer's table is a row for each function: its options with the values to try. Every option is run
alone and with every other, for 100 steps in float64, at a rate that changes in each step. All the
pairs take ten minutes: FLATSTEP_PEER_PAIRS=all runs them (`nox -s peers`); without it every fourth
is run. `test_peers.py` runs the peers' files, each in a process of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import flatstep as fs

STEPS = 100
EVERY = 1 if os.environ.get("FLATSTEP_PEER_PAIRS") == "all" else 4
SHAPES: Mapping[str, tuple[int, ...]] = {
    "0_W": (4, 3),
    "0_b": (3,),
    "1_W": (2, 3, 2),
    "1_b": (1,),
}
MATRICES: Mapping[str, tuple[int, ...]] = {"0_W": (4, 3), "1_W": (3, 5), "2_W": (2, 2)}
#: What the rate is multiplied by in each step.
FACTORS = 1 + 0.5 * np.sin(0.7 * np.arange(STEPS))
#: The peer's float64 and flatstep's: what differs is the order of operations.
EXACT = 1e-12
#: Where the peer computes a part in float32 whatever the parameters are.
SINGLE = 1e-6

Arrays = dict[str, Any]


def peer(name: str) -> ModuleType:
    """The peer; where it is missing its tests are skipped, and one line says so."""
    return pytest.importorskip(name, reason=f"not installed: {name}; pip install '.[peers]'")


def parameters(shapes: Mapping[str, tuple[int, ...]] = SHAPES, dtype: Any = np.float64) -> Arrays:
    random = np.random.default_rng(1)
    return {key: random.normal(size=shape).astype(dtype) for key, shape in shapes.items()}


def gradients(
    shapes: Mapping[str, tuple[int, ...]] = SHAPES, dtype: Any = np.float64, steps: int = STEPS
) -> list[Arrays]:
    """Of sizes that differ by step and by array; the first element of each is often zero."""
    random = np.random.default_rng(2)
    found = []
    for step in range(steps):
        arrays = {}
        for place, (key, shape) in enumerate(shapes.items()):
            size = np.exp(random.normal()) * 0.7**place
            arrays[key] = (size * random.normal(size=shape)).astype(dtype)
            if step % 3 == 0 and arrays[key].size > 1:
                arrays[key].flat[0] = 0
        found.append(arrays)
    return found


def rates(base: float, steps: int = STEPS) -> list[float]:
    """The rate of each step."""
    return [float(base * factor) for factor in FACTORS[:steps]]


def schedule(base: float, steps: int = STEPS) -> fs.MapSchedule:
    """The same rates as one of flatstep's schedules."""
    return fs.MapSchedule(dict(enumerate(rates(base, steps))))


@dataclass(frozen=True)
class Row:
    """A function of the peer: its options, and what else a test must know of it."""

    name: str
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    #: The rate's base, or None where it takes a number only, which `options` may have.
    base: float | None = 0.01
    #: Options of all its runs.
    always: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: SHAPES)
    tolerance: float = EXACT
    #: Whether the peer takes these options together.
    legal: Callable[[Mapping[str, Any]], bool] = lambda options: True

    def __str__(self) -> str:
        return self.name

    def runs(self) -> Iterator[dict[str, Any]]:
        """No option, each alone, each with every other."""
        singles = [(name, value) for name, values in self.options.items() for value in values]
        pairs = [
            (one, other) for one, other in itertools.combinations(singles, 2) if one[0] != other[0]
        ]
        for chosen in [(), *((single,) for single in singles), *pairs[::EVERY]]:
            options = {**self.always, **dict(chosen)}
            if self.legal(options):
                yield options


def differs(
    configuration: fs.MultiLayerConfiguration,
    expected: Sequence[Mapping[str, Any]],
    given: Sequence[Arrays],
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    dtype: Any = np.float64,
) -> float:
    """The greatest difference in any step, relative to the largest of that array in the run.

    Not in that step: an array of one element may just pass through zero.
    """
    params = parameters(shapes, dtype)
    scales = {key: max(np.max(np.abs(after[key])) for after in expected) for key in shapes}
    updater = fs.MultiLayerUpdater(configuration, params)
    worst = 0.0
    for arrays, after in zip(given, expected, strict=True):
        updater.step({key: array.copy() for key, array in arrays.items()})
        for key, value in params.items():
            difference = np.max(np.abs(value - after[key])) / scales[key]
            worst = max(worst, float(difference)) if np.isfinite(difference) else np.inf
    return worst


def compare(row: Row, run: Callable[[dict[str, Any]], tuple[Any, list[Arrays]]]) -> int:
    """Runs every choice of options; fails with those that differ. Returns how many there were.

    `run` gives flatstep's configuration and the peer's parameters after each step.
    """
    given = gradients(row.shapes)
    failures = []
    count = 0
    for options in row.runs():
        configuration, expected = run(options)
        difference = differs(configuration, expected, given, row.shapes)
        count += 1
        if not difference <= row.tolerance:
            failures.append(f"{options}: {difference:.1e}")
    assert not failures, f"{row.name}: {len(failures)} of {count}\n" + "\n".join(failures)
    return count
