"""The updaters: one function and one row each, beside each other in the tables that this one joins.

A function is the formula in plain NumPy, `updater(g, state, t, dl4j_0_8, **hyper)`, and returns
(update, new state). A row is all that the tests know about the updater besides; a new updater needs
nothing else in the tests.

Everything elementwise is written with operators and NumPy functions only, so that the same lines
run on arrays and on the running error bounds of `bounds.py`. What does not depend on the element is
a Python float: the step scalars.
"""

from __future__ import annotations

from oracle.dl4j_updaters import DL4J_UPDATERS
from oracle.peer_updaters import PEER_UPDATERS
from oracle.settings import UpdaterSpec
from oracle.updater_row import Updater

UPDATERS: dict[str, Updater] = DL4J_UPDATERS | PEER_UPDATERS


def state_names(updater: UpdaterSpec) -> tuple[str, ...]:
    return tuple(UPDATERS[updater.name].state)


def initial_value(updater: UpdaterSpec, name: str, semantics: str) -> float:
    """What every element of a state array starts at."""
    row = UPDATERS[updater.name]
    return row.state[name].initial({**row.defaults, **updater.values}, semantics)
