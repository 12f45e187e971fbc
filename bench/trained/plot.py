"""The picture: each task's loss with every storage, and how far each is from full storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison.cases import STORAGES
from numpy.typing import NDArray

from trained.run import Run, Task

# Colours that differ in lightness too. The curves lie upon each other: each is narrower than the
# one below it.
STYLES: dict[str, dict[str, Any]] = {
    "full": {"color": "0.82", "linewidth": 9.0},
    "16bit": {"color": "#7fb7e0", "linewidth": 5.5},
    "8bit": {"color": "#c1121f", "linewidth": 2.6},
    "split 16bit": {"color": "#f5c242", "linewidth": 1.3, "linestyle": (0, (5, 5))},
    "split 8bit": {"color": "black", "linewidth": 1.3, "linestyle": (5, (5, 5))},
}
#: So many points of a curve are one of the differences': single ones are noise.
SMOOTHED = 5

Curves = Mapping[str, NDArray[Any]]


def draw(tasks: Sequence[Task], runs: Sequence[Run], path: Path) -> None:
    """Above the mean loss over the seeds, below the mean of the differences seed by seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measured = [task for task in tasks if any(run.task == task.name for run in runs)]
    figure, axes = plt.subplots(
        2, len(measured), figsize=(4.4 * len(measured), 6.0), sharex="col", squeeze=False,
        height_ratios=(3, 2),
    )  # fmt: skip
    for column, task in enumerate(measured):
        above, below = axes[0][column], axes[1][column]
        curves = _curves(task, runs)
        steps = (np.arange(curves["full"].shape[1]) + 0.5) * task.every
        for storage, style in STYLES.items():
            above.plot(steps, curves[storage].mean(axis=0), label=storage, **style)
        _differences(below, steps, curves)
        size = f"{task.parameters:,}".replace(",", " ")
        above.set_title(f"{task.name}, {size} parameters")
        below.set_xlabel(f"steps (means of {len(curves['full'])} seeds)")
        for axis in (above, below):
            axis.grid(True, color="0.93")
            axis.set_axisbelow(True)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
    axes[0][0].set_ylabel("training loss")
    axes[1][0].set_ylabel("loss − that of full storage")
    axes[0][0].legend(frameon=False, handlelength=3.5)
    axes[1][0].legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=92)
    plt.close(figure)


def _curves(task: Task, runs: Sequence[Run]) -> Curves:
    own = sorted((run for run in runs if run.task == task.name), key=lambda run: run.seed)
    return {s: np.array([run.losses for run in own if run.storage == s]) for s in STORAGES}


def _differences(axis: Any, steps: NDArray[Any], curves: Curves) -> None:
    spread = curves["full"].std(axis=0)
    axis.fill_between(
        steps, -spread, spread, color="0.9", linewidth=0, label="spread of full storage's seeds"
    )
    window = np.ones(SMOOTHED) / SMOOTHED
    for storage, style in STYLES.items():
        if storage == "full":
            continue
        difference = (curves[storage] - curves["full"]).mean(axis=0)
        thin = {**style, "linewidth": 1.5}
        if len(steps) > SMOOTHED:
            inner = steps[SMOOTHED // 2 : -(SMOOTHED // 2)]
            axis.plot(inner, np.convolve(difference, window, "valid"), **thin)
        else:
            axis.plot(steps, difference, **thin)
    largest = 2 * float(np.median(spread)) or 1e-3
    axis.set_ylim(-largest, largest)
