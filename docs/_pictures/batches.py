"""What the division by the batch size at the end of a step does to a run of Adam."""

from __future__ import annotations

import functools
from typing import Any

from digits import Run, train
from style import COLORS, panels, smooth

import flatstep as fs

RATE, BATCH_SIZE = 0.003, 32
RUNS = {
    f"dl4j-1.0, rate {RATE:g}": ("dl4j-1.0", RATE),
    f"dl4j-0.8, rate {RATE:g}": ("dl4j-0.8", RATE),
    f"dl4j-0.8, rate {RATE:g} · {BATCH_SIZE}": ("dl4j-0.8", RATE * BATCH_SIZE),
}


@functools.cache
def runs() -> dict[str, Run]:
    return {
        name: train(
            fs.MultiLayerConfiguration(updater=fs.Adam(rate), semantics=semantics),  # type: ignore[arg-type]
            steps=400,
            batch_size=BATCH_SIZE,
        )
        for name, (semantics, rate) in RUNS.items()
    }


def draw() -> Any:
    with panels(1, 1, height=3.2) as (figure, axes):
        for (name, run), color in zip(runs().items(), COLORS, strict=False):
            label = f"{name}: {run.accuracy:.0%} of the test images"
            axes.plot(
                run.history.iteration, smooth(run.history.score, 9), color=color, label=label,
                linestyle="--" if "·" in name else "-",
                linewidth=6 if name.startswith("dl4j-1.0") else 1.6,
                alpha=0.4 if name.startswith("dl4j-1.0") else 1,
            )  # fmt: skip
        axes.set(title="Score", xlabel="iteration", ylim=(0, None))
        figure.legend(loc="outside lower left", ncols=1)
    return figure
