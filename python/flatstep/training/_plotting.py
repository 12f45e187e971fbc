"""What the plots share: matplotlib on demand, one style, colours safe for the colour-blind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) without its yellow, too pale for lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK = "#30363d"
FAINT = "#8b949e"
GRID = "#e3e6ea"

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}


@contextmanager
def plotting(what: str) -> Iterator[None]:
    """Use the style inside; an ImportError says what to install where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            f"{what} draws with matplotlib, which is not installed: "
            "pip install matplotlib (or 'flatstep[demo]')"
        ) from error
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(size: tuple[float, float], path: str | os.PathLike[str] | None) -> Figure:
    """Make a figure: pyplot's where it is to be shown; for a file, one that needs no display."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.09, wspace=0.02, hspace=0.02)
    if path is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout=layout)
    return Figure(figsize=size, layout=layout)


def finish(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write the figure to the path, if there is one, and return it."""
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def note(axes: Axes, text: str) -> None:
    """Write a small note at the right end of the panel's title line."""
    axes.set_title(text, loc="right", fontsize=8.5, fontweight="normal", color=FAINT)


def say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel why there is nothing in it."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.grid(False)
    axes.set_yticks([])


def scale(axes: Axes, values: NDArray[np.float64], *, bulk: bool = False) -> None:
    """Make the y axis logarithmic where the values span decades, else let it start at zero.

    With ``bulk`` the smallest tenth does not count: a rate that ends near zero, as a cosine's does,
    is better off on a linear axis, and values that vanish may leave the panel.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size or (values < 0).any():
        return
    low, high = float(np.percentile(positive, 10 if bulk else 0)), float(positive.max())
    if high / low <= (50 if bulk else 8):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        return
    axes.set_yscale("log")
    if bulk:
        axes.set_ylim(max(float(positive.min()), low / 10, high * 1e-9) / 1.5, high * 1.5)
    if high / low < 300:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
