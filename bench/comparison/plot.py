"""The roofline picture: parameters against bytes per second, a line per contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison.cases import size_name
from comparison.results import Result, Run

# Colours that differ in lightness too; the limit is the roof.
STYLES: dict[str, dict[str, Any]] = {
    "byte limit": {"color": "0.35", "linestyle": "--", "linewidth": 1.6},
    "flatstep": {"color": "#c1121f", "marker": "o", "linewidth": 2.4, "zorder": 5},
    "torch fused": {"color": "#0a6ebd", "marker": "s"},
    "torch foreach": {"color": "#7fb7e0", "marker": "s", "markerfacecolor": "white"},
    "DeepSpeed CPUAdam": {"color": "#2a7f3f", "marker": "^"},
    "NumPy": {"color": "#d99000", "marker": "D"},
}


def draw(run: Run, path: Path) -> None:
    """Draw the single arrays of all sizes, one panel per number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = [result for result in run.results if result.case.group == "sizes"]
    if not chosen:
        raise ValueError("the picture needs the cases of the group 'sizes'")
    counts = sorted({result.case.threads for result in chosen})
    figure, axes = plt.subplots(
        1, len(counts), figsize=(6.2 * len(counts), 5.2), sharey=True, squeeze=False
    )
    for axis, threads in zip(axes[0], counts, strict=True):
        panel = [result for result in chosen if result.case.threads == threads]
        for contender, style in STYLES.items():
            points = _points(panel, contender)
            if points:
                axis.plot(*zip(*points, strict=True), label=contender, **{"markersize": 5, **style})
        sizes = sorted({result.case.network.num_parameters for result in panel})
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sizes, [size_name(size) for size in sizes])
        axis.minorticks_off()
        axis.grid(True, which="major", color="0.9")
        axis.set_xlabel("parameters, in one array")
        axis.set_title("1 thread" if threads == 1 else f"{threads} threads")
        _mark_caches(axis, run, sizes, threads)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0][0].set_ylabel("GB/s of a step's 28 bytes per parameter")
    axes[0][0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0][-1].legend(loc="lower right", frameon=False)
    figure.suptitle(f"float32 Adam, {run.machine['processor']}", y=0.98)
    figure.tight_layout()
    figure.savefig(path, dpi=144)
    plt.close(figure)


def _points(results: Sequence[Result], contender: str) -> list[tuple[int, float]]:
    return sorted(
        (result.case.network.num_parameters, result.gigabytes_per_second)
        for result in results
        if result.contender == contender
    )


def _mark_caches(axis: Any, run: Run, sizes: Sequence[int], threads: int) -> None:
    """Lines where the step's four arrays fill a cache; the last level is shared by all cores."""
    levels = sorted(run.machine["caches"].items())
    for level, capacity in levels:
        shared = level == levels[-1][0]
        parameters = capacity * (1 if shared else threads) / 16
        if sizes[0] < parameters < sizes[-1]:
            axis.axvline(parameters, color="0.8", linewidth=1, zorder=0)
            axis.text(
                parameters, 0.985, f" {level}", transform=axis.get_xaxis_transform(),
                color="0.5", fontsize=8, va="top",
            )  # fmt: skip
