"""What a strategy of gradient normalisation does to a run whose first gradients are too long."""

from __future__ import annotations

import functools
from typing import Any

from digits import Run, train
from style import COLORS, panels, smooth

import flatstep as fs

STRATEGIES = {
    "None": 1.0,
    "ClipL2PerLayer": 0.5,
    "ClipL2Global": 0.5,
    "ClipElementWiseAbsoluteValue": 0.02,
    "RenormalizeL2PerLayer": 1.0,
}


@functools.cache
def runs() -> dict[str, Run]:
    """Pixels from 0 to 16, momentum, and a rate that suits short gradients only."""
    return {
        strategy: train(
            fs.MultiLayerConfiguration(
                updater=fs.Nesterovs(0.1, momentum=0.9),
                gradient_normalization=strategy,
                gradient_normalization_threshold=threshold,
            ),
            steps=250,
            scale_of_input=16.0,
        )
        for strategy, threshold in STRATEGIES.items()
    }


def draw() -> Any:
    with panels(2, 1, height=2.7, sharex=True) as (figure, (scores, ratios)):
        for (strategy, run), color in zip(runs().items(), COLORS, strict=False):
            history = run.history
            threshold = STRATEGIES[strategy]
            clips = f" at {threshold:g}" if strategy.startswith("Clip") else ""
            label = f"{strategy}{clips}: {run.accuracy:.0%} of the test images"
            scores.plot(history.iteration, smooth(history.score, 3), color=color, label=label)
            ratio = history.layers["0"].update_ratio
            ratios.plot(history.iteration, smooth(ratio, 9), color=color)
        scores.set(yscale="log", title="Score")
        scores.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
        scores.minorticks_off()
        ratios.set(yscale="log", title="‖update‖ / ‖parameters‖, first layer", xlabel="iteration")
        ratios.set_ylim(1e-5, 5)
        figure.legend(*scores.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure
