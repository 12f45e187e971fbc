"""The two runs of examples/lstm_text.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import run_example
from style import COLORS, INK, panels


def draw() -> Any:
    free, clipped = run_example("lstm_text").result
    with panels(2, 1, height=2.4, sharex=True) as (figure, (losses, norms)):
        for run, name, color in (
            (free, "no normalisation", COLORS[1]),
            (clipped, "ClipL2PerLayer", COLORS[0]),
        ):
            losses.plot(run.losses, color=color, label=name)
            norms.plot(run.norms, color=color)
        losses.axhline(np.log(45), color=INK, linestyle=":", linewidth=1)
        losses.annotate(
            "guessing", (300, np.log(45)), xytext=(0, 3), textcoords="offset points", ha="right"
        )
        losses.set(yscale="log", title="Loss per character")
        losses.legend(loc="upper left", ncols=2)
        norms.set(yscale="log", title="‖gradient‖ of the LSTM layer", xlabel="iteration")
    return figure
