"""Measures the largest rounding error of each updater and prints it as a table for the docs.

    python tests/ulp_error.py [--elements N] [--isa NAME]

One step from random state, compared with the oracle in extended precision. An error is counted in
units in the last place (ULP) of the exact result. Gradient and first moment have one sign and
differ in size, so that no formula subtracts nearly equal numbers: where one does, digits are lost
in any arithmetic, and `tests/oracle/bounds.py` bounds what is left.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from networks import configuration
from oracle import LayerSpec, Network, NetworkSpec, SlotSpec, UpdaterSpec
from oracle.bounds import EXACT
from oracle.updaters import UPDATERS, state_names

import flatstep as fs

ITERATIONS = (0, 1, 9, 999, 10**6)


def errors(name: str, dtype: Any, elements: int) -> Iterator[tuple[str, float]]:
    """(what, largest error in ULP) of the update and of each state array, per iteration."""
    made = getattr(fs, name)()
    values = {field: getattr(made, field) for field in type(made).__dataclass_fields__}
    slot = SlotSpec("0_W", "0", "W", elements, UpdaterSpec(name, values))
    spec = NetworkSpec("dl4j-1.0", (LayerSpec("0"),), (slot,))
    rng = np.random.default_rng(1)
    for iteration in ITERATIONS:
        p = np.zeros(elements, dtype)
        g = (rng.standard_normal(elements) * 10.0 ** rng.uniform(-3, 3, elements)).astype(dtype)
        updater = fs.MultiLayerUpdater(configuration(spec), {"0_W": p})
        for state, array in updater.state("0_W").items():
            share = rng.uniform(0.01, 0.25, g.shape)
            array[...] = UPDATERS[name].state[state].beside(g.astype(np.float64), share)
        oracle = Network(spec, {"0_W": p}, dtype, bounded=True)
        oracle.state = {"0_W": {n: a.copy() for n, a in updater.state("0_W").items()}}
        expected = oracle.step({"0_W": g}, iteration)
        update = g.copy()
        updater.update({"0_W": update}, iteration=iteration)
        yield "update", in_ulp(update, expected.updates["0_W"].value)
        for state in state_names(slot.updater):
            exact = expected.state["0_W"][state].value
            yield state, in_ulp(updater.state("0_W")[state], exact)


def in_ulp(actual: Any, exact: Any) -> float:
    """The largest distance, in ULP of `actual`'s type at the exact value."""
    ulp = np.spacing(np.abs(exact).astype(actual.dtype)).astype(EXACT)
    return float(np.max(np.abs(actual.astype(EXACT) - exact) / ulp))


def largest_errors(name: str, dtype: Any, elements: int) -> dict[str, float]:
    largest: dict[str, float] = {}
    for what, error in errors(name, dtype, elements):
        largest[what] = max(error, largest.get(what, 0.0))
    return largest


def table(elements: int) -> str:
    """A Markdown table."""
    lines = [
        "| updater | update, float32 | state, float32 | update, float64 | state, float64 |",
        "|---|---|---|---|---|",
    ]
    for name in UPDATERS:
        cells = []
        for dtype in (np.float32, np.float64):
            found = largest_errors(name, dtype, elements)
            cells.append(f"{found.pop('update'):.2f}")
            cells.append(", ".join(f"{state} {error:.2f}" for state, error in found.items()))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=10**6, help="random elements per step")
    parser.add_argument("--isa", default=fs.isa(), choices=fs.available_isas())
    arguments = parser.parse_args()
    fs.set_isa(arguments.isa)
    print(f"Largest error in ULP, {arguments.elements} elements per step, {arguments.isa}:\n")
    print(table(arguments.elements))


if __name__ == "__main__":
    main()
