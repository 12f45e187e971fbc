"""The two orders of a step, as two rows of boxes."""

from __future__ import annotations

from typing import Any

from style import COLORS, INK, panels

BATCH = "÷ batch size"
ORDERS = {
    "dl4j-1.0": (
        BATCH,
        "normalise\nthe gradient",
        "+ l1·sign(p)\n+ l2·p",
        "updater\nand its rate",
        "+ decay·lr·p",
        "p −= update",
    ),
    "dl4j-0.8": (
        "normalise\nthe gradient",
        "rate policy",
        "updater",
        "+ l2·p\n+ l1·sign(p)",
        BATCH,
        "p −= update",
    ),
}
BLUE, ORANGE = COLORS[:2]


def draw() -> Any:
    with panels(1, 1, height=2.5, width=8.2) as (figure, axes):
        axes.set_axis_off()
        axes.set(xlim=(0, 7.0), ylim=(0.1, 2.75))
        for row, (order, steps) in enumerate(ORDERS.items()):
            y = 2.0 - 1.35 * row
            axes.text(0.05, y + 0.52, order, fontweight="bold", color=INK, fontsize=11)
            axes.text(0.02, y, "gradient", va="center", color=INK)
            for place, text in enumerate(steps):
                x = 1.25 + 1.1 * place
                color = ORANGE if text == BATCH else BLUE
                axes.annotate(
                    "",
                    (x - 0.48, y),
                    (x - 0.62 if place else 0.57, y),
                    arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0},
                )
                axes.text(
                    x, y, text, ha="center", va="center", fontsize=9, color=INK, linespacing=1.35,
                    bbox={
                        "boxstyle": "round,pad=0.45",
                        "facecolor": "#f3f4f6",
                        "edgecolor": color,
                        "linewidth": 2.4 if text == BATCH else 1.2,
                    },
                )  # fmt: skip
    return figure
