"""The rates of six schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
from style import COLORS, panels

import flatstep as fs

STEPS = 1000
WARM_UP = fs.LinearSchedule(0.0, 0.1, steps=100)
SCHEDULES = {
    "warm-up, then a cosine": fs.SequenceSchedule(
        [(WARM_UP, 100), (fs.CosineSchedule(0.1, max_iter=900), 900)]
    ),
    "warm-up, stable, decay": fs.WarmupStableDecaySchedule(
        0.1, warmup_steps=100, stable_steps=600, decay_steps=300
    ),
    "one cycle": fs.OneCycleSchedule(0.1, total_steps=STEPS),
    "cosine with restarts": fs.CosineRestartsSchedule(0.1, first=143, multiplier=2),
    "steps": fs.StepSchedule(0.1, decay_rate=0.5, step=250),
}


def plateau() -> list[float]:
    """A rate that is halved where a validation loss, taken every 20 steps, does not fall."""
    rng = np.random.default_rng(0)
    updater = fs.LayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam(0.1)), {"w": np.ones(1)})
    rule = fs.ReduceLROnPlateau(updater, factor=0.5, patience=4)
    rates = []
    for step in range(STEPS):
        if step and step % 20 == 0:
            rule.step(np.exp(-step / 150) + 0.2 + 0.02 * rng.standard_normal())
        rates.append(updater.learning_rate("w") or 0.0)
    return rates


def draw() -> Any:
    rates = {
        name: [schedule.value_at(step) for step in range(STEPS)]
        for name, schedule in SCHEDULES.items()
    }
    rates["a plateau rule"] = plateau()
    with panels(2, 3, height=1.9, sharex=True, sharey=True) as (figure, axes):
        for panel, color, (name, values) in zip(axes.flat, COLORS, rates.items(), strict=False):
            panel.plot(values, color=color)
            panel.set_title(name)
            panel.set_ylim(0, 0.11)
        for panel in axes[-1]:
            panel.set_xlabel("iteration")
    return figure
