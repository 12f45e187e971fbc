"""One look for all pictures: that of flatstep's own plots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from flatstep.training._plotting import COLORS, FAINT, GRID, INK, new_figure, plotting

__all__ = ["COLORS", "FAINT", "GRID", "INK", "Panels", "panels", "smooth"]

Panels = Any


@contextlib.contextmanager
def panels(
    rows: int, columns: int, *, height: float = 2.5, width: float = 7.6, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure of so many panels, each so high, in inches: it and its axes."""
    with plotting("a picture of the documentation"):
        figure = new_figure((width, rows * height), "picture.svg")
        yield figure, figure.subplots(rows, columns, **options)


def smooth(values: Any, steps: int) -> Any:
    """The median of so many neighbours."""
    values = np.asarray(values, float)
    padded = np.pad(values, (steps // 2, steps - 1 - steps // 2), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, steps), axis=1)
