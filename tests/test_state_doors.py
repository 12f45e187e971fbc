"""A state comes in by load_state_dict or by a checkpoint: both take and refuse the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs
from flatstep.checkpoint import Checkpoint, SavedSlot, write_checkpoint

POLICY = fs.MultiLayerConfiguration(
    updater=fs.Nesterovs(0.5, momentum=0.5),
    semantics="dl4j-0.8",
    learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.5),
    momentum_schedule={1: 0.75},
)
PLAIN = fs.MultiLayerConfiguration(updater=fs.Nesterovs(0.5, momentum=0.5))
NONE = fs.MultiLayerConfiguration(updater=fs.AdaDelta())

#: By name: configuration, what of the state dict is replaced, whether it is legal.
STATES: dict[str, tuple[fs.MultiLayerConfiguration, dict[str, Any], bool]] = {
    f"{kind}: {field} {value!r}": (configuration, {field: {"0_W": value}}, legal)
    for kind, configuration, field, values, legal in (
        ("policy", POLICY, "learning_rate", (0.25, 0, -0.5, math.inf, -math.inf), True),
        ("policy", POLICY, "learning_rate", (math.nan, "0.5", None, True, 10**400, [1]), False),
        ("policy", POLICY, "momentum", (0.25, 0, -0.5, math.inf, -math.inf, 7), True),
        ("policy", POLICY, "momentum", (math.nan, "0.5", None, True, 10**400), False),
        ("by hand", PLAIN, "learning_rate", (0.25, 0, 7, 1e308), True),
        ("by hand", PLAIN, "learning_rate", (-0.5, math.inf, 5e-324, math.nan, "x"), False),
        ("by hand", PLAIN, "momentum", (0.25, -0.5), True),
        ("by hand", PLAIN, "momentum", (math.inf, 5e-324), False),
        ("no rate", NONE, "learning_rate", (0.25,), False),
    )
    for value in values
} | {
    f"{field} {value!r}": (PLAIN, {field: value}, legal)
    for field in ("iteration", "epoch", "skipped_steps")
    for legal, values in (
        (True, (0, 1, 2**31, 2**63 - 2)),
        (False, (2**63 - 1, 2**63, 10**400, -1, 1.0, 1.5, True, None, "1", [])),
    )
    for value in values
}


def new_updater(configuration: fs.MultiLayerConfiguration) -> fs.MultiLayerUpdater:
    return fs.MultiLayerUpdater(configuration, {"0_W": np.zeros(3)})


def by_state_dict(
    configuration: fs.MultiLayerConfiguration, state: dict[str, Any]
) -> fs.MultiLayerUpdater:
    updater = new_updater(configuration)
    updater.load_state_dict(state)
    return updater


def by_checkpoint(
    configuration: fs.MultiLayerConfiguration, state: dict[str, Any], path: Path
) -> Any:
    checkpoint = Checkpoint(
        updater="MultiLayerUpdater",
        monitor=False,
        layout=(SavedSlot("0_W", "0", "W", (3,), "C"),),
        configuration=configuration,
        state_dict=state,
        parameters={"0_W": np.zeros(3)},
        accumulated=None,
    )
    write_checkpoint(path, checkpoint)
    return fs.load_updater(path, {"0_W": np.zeros(3)})


@pytest.mark.parametrize(("configuration", "change", "legal"), STATES.values(), ids=STATES)
def test_both_doors_say_the_same(
    configuration: fs.MultiLayerConfiguration, change: dict[str, Any], legal: bool, tmp_path: Path
) -> None:
    state = {**new_updater(configuration).state_dict(), **change}
    path = tmp_path / "run.safetensors"
    if legal:
        loaded = by_state_dict(configuration, state)
        assert by_checkpoint(configuration, state, path) == loaded
        loaded.save(path)
        assert fs.load_updater(path, {"0_W": np.zeros(3)}) == loaded
    else:
        with pytest.raises((TypeError, ValueError)):
            by_state_dict(configuration, state)
        with pytest.raises((TypeError, ValueError)):
            by_checkpoint(configuration, state, path)
