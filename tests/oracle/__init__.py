"""The whole step in plain NumPy: slow, obvious, and without flatstep.

One row per updater, schedule and normalisation strategy, with its formula and all else that the
tests must know about it; and the two orders of the step as straight-line code. The tests hold the
compiled core to it; `test_oracle.py` holds it to the real DL4J first.
"""

from oracle.settings import LayerSpec, NetworkSpec, Policy, Schedule, SlotSpec, UpdaterSpec
from oracle.state_view import from_state_view, state_view, updater_blocks
from oracle.step import Network, NonFiniteError, StepResult

__all__ = [
    "LayerSpec",
    "Network",
    "NetworkSpec",
    "NonFiniteError",
    "Policy",
    "Schedule",
    "SlotSpec",
    "StepResult",
    "UpdaterSpec",
    "from_state_view",
    "state_view",
    "updater_blocks",
]
