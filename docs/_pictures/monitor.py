"""Update ratios of three rates, and what comes of them."""

from __future__ import annotations

import functools
from typing import Any

from digits import Run, train
from style import COLORS, INK, panels, smooth

import flatstep as fs

RATES = (3e-5, 3e-3, 0.2)
GUIDE = 1e-3


@functools.cache
def runs() -> dict[float, Run]:
    return {
        rate: train(fs.MultiLayerConfiguration(updater=fs.Adam(rate)), steps=400) for rate in RATES
    }


def draw() -> Any:
    with panels(2, 1, height=2.6, sharex=True) as (figure, (scores, ratios)):
        for (rate, run), color in zip(runs().items(), COLORS, strict=False):
            history = run.history
            label = f"Adam({rate:g}): {run.accuracy:.0%} of the test images"
            scores.plot(history.iteration, smooth(history.score, 9), color=color, label=label)
            ratio = history.layers["0"].update_ratio
            ratios.plot(history.iteration, smooth(ratio, 9), color=color)
        scores.set(yscale="log", title="Score")
        scores.set_yticks([1, 2, 4], ["1", "2", "4"])
        scores.minorticks_off()
        ratios.axhline(GUIDE, color=INK, linestyle="--", linewidth=1)
        ratios.set(yscale="log", title="‖update‖ / ‖parameters‖, first layer", xlabel="iteration")
        ratios.set_ylim(1e-5, 5)
        ratios.annotate(
            "the guide", (400, GUIDE), xytext=(0, -11), textcoords="offset points", ha="right"
        )
        figure.legend(*scores.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure
