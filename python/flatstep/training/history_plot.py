"""A picture of a training run's history: ``flatstep.plot_history``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ._plotting import COLORS, INK, finish, new_figure, note, plotting, say, scale
from .history import History, HistoryListener
from .recorder import NETWORK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = ["plot_history"]

FloatArray = NDArray[np.float64]

# How many parts a long run is cut into; a share needs more steps than a line's point.
_LINE_BINS = 120
_SHARE_BINS = 60
_HEAT_BINS = 150

# The rule of thumb of DL4J's training page for ‖update‖ / ‖parameters‖: about 10⁻³; a factor of 100
# either way is as bad as a colour says.
_GUIDE = 1e-3
_GUIDE_SPAN = 100.0


def plot_history(
    history: History | HistoryListener,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw a run: the score and, by layer, gradient norms, clipped share, rates and update ratios.

    Up to seven layers are lines (for long runs the median of neighbouring steps, with a band from
    the 10th to the 90th percentile); more are the rows of heat maps, the network's the last. A
    norm's threshold is a dashed line, or the middle of the colour scale; so is 10⁻³, DL4J's guide
    for update ratios, which are there if the updater was made with ``monitor=True``.

    Args:
        history: a :class:`flatstep.training.History`, or the listener that keeps it.
        path: where to write the picture; the suffix (.png, .svg, .pdf) is the format.
        title: the headline; the number of steps and the strategy if not given.

    Returns:
        The matplotlib figure. Without a path it belongs to pyplot, so ``pyplot.show()`` shows it.

    Raises:
        ValueError: the history is empty.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([3.0, 4.0])
        >>> history = fs.HistoryListener()
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Sgd(0.1)), {"0_W": w}, monitor=True)
        >>> solver = fs.StochasticGradientDescent(
        ...     updater, lambda: (float(w @ w), {"0_W": 2 * w}), [history])
        >>> scores = [solver.optimize() for _ in range(20)]
        >>> fs.plot_history(history, "history.png")  # doctest: +SKIP
    """
    if isinstance(history, HistoryListener):
        history = history.history
    if not len(history):
        raise ValueError("history: expected at least one step, got none: run the solver first")
    with plotting("plot_history"):
        many = _many(history)
        figure = new_figure((11.0, 8.4 + (0.08 * len(history.layers) if many else 0)), path)
        grid = figure.add_gridspec(3, 2, height_ratios=(0.55, 1, 1))
        score = figure.add_subplot(grid[0, :])
        norms, clipped, rates, ratios = (
            figure.add_subplot(grid[row, column], sharex=score)
            for row in (1, 2)
            for column in (0, 1)
        )
        _draw_score(score, history)
        _draw_norms(norms, history)
        _draw_clipped(clipped, history)
        _draw_rates(rates, history)
        _draw_ratios(ratios, history)
        if len(history.layers) > 1 and not many:
            _draw_legend(score, history)
        first, last = int(history.iteration[0]), int(history.iteration[-1])
        margin = 0.5 if first == last else 0.0
        score.set_xlim(first - margin, last + margin)
        if first == last:
            score.set_xticks([first])
        score.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        rates.set_xlabel("iteration")
        ratios.set_xlabel("iteration")
        steps = "1 step" if len(history) == 1 else f"{len(history):,} steps"
        headline = f"{steps}, gradient normalisation {history.strategy}"
        figure.suptitle(title or headline, x=0.01, ha="left", fontsize=14, fontweight="bold")
        return finish(figure, path)


def _draw_score(axes: Axes, history: History) -> None:
    axes.set_title("Score")
    _draw_series(axes, history.iteration, history.score, INK)
    scale(axes, history.score)
    notes = []
    if _is_long(history.iteration):
        notes.append("lines: medians of neighbouring steps; bands: 10th to 90th percentile")
    skipped = history.iteration[history.skipped]
    if len(skipped):
        height = np.full(len(skipped), 0.06)
        axes.plot(skipped, height, "|", transform=axes.get_xaxis_transform(), color=COLORS[1])
        notes.append(f"marks: {len(skipped):,} skipped steps (a gradient was not finite)")
    note(axes, "; ".join(notes))


def _draw_norms(axes: Axes, history: History) -> None:
    axes.set_title("Gradient norm")
    norms = _present(history, "gradient_norm")
    if not norms:
        say(axes, "this strategy needs no norm")
        return
    note(axes, "before normalisation")
    thresholds = {name: history.layers[name].threshold for name in norms}
    distinct = sorted({value for value in thresholds.values() if math.isfinite(value)})
    if _many(history):
        if distinct and all(map(math.isfinite, thresholds.values())):
            relative = {name: norm / thresholds[name] for name, norm in norms.items()}
            _draw_heat_map(axes, history, relative, "norm / threshold", middle=1.0)
        else:
            label = f"norm; {_thresholds_are(distinct)}" if distinct else "norm"
            _draw_heat_map(axes, history, norms, label, marks=distinct)
        return
    for name, norm in norms.items():
        _draw_series(axes, history.iteration, norm, _color(history, name))
    for threshold in distinct:
        axes.axhline(threshold, color=INK, linestyle=(0, (5, 3)), linewidth=1.1)
    if distinct:
        note(axes, f"before normalisation; dashed: {_thresholds_are(distinct)}")
    scale(axes, np.concatenate([*norms.values(), distinct]))


def _thresholds_are(values: list[float]) -> str:
    few = " and ".join(f"{value:g}" for value in values)
    return f"threshold {few}" if len(values) < 3 else "the thresholds"


def _draw_clipped(axes: Axes, history: History) -> None:
    by_element = history.strategy == "ClipElementWiseAbsoluteValue"
    of_what = "elements" if by_element else "steps"
    axes.set_title(f"Clipped share of the {of_what}")
    # Of a history from a log nobody knows thresholds: there, what says whether it clipped counts.
    clips = {
        name
        for name, layer in history.layers.items()
        if math.isfinite(layer.threshold) or not history.strategy
    }
    shares = {name: share for name, share in _present(history, "clipped").items() if name in clips}
    if not shares:
        say(
            axes,
            "counted with monitor=True" if by_element else "this strategy does not clip by a norm",
        )
        return
    if len(shares) > len(COLORS):
        percent = {name: 100 * share for name, share in shares.items()}
        _draw_heat_map(axes, history, percent, f"% of the {of_what}", limits=(0, 100))
        return
    bins = list(_bins(len(history), _SHARE_BINS))
    for name, share in shares.items():
        places = [history.iteration[steps].mean() for steps in bins]
        means = [100 * _mean(share[steps]) for steps in bins]
        marker = "o" if len(places) == 1 else None
        axes.plot(places, means, color=_color(history, name), marker=marker)
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    width = max(steps.stop - steps.start for steps in bins)
    note(axes, f"of {width} neighbouring steps" if width > 1 else "")


def _draw_rates(axes: Axes, history: History) -> None:
    axes.set_title("Learning rate")
    rates = _present(history, "learning_rate")
    if not rates:
        say(axes, "this updater has no learning rate")
        return
    # Layers mostly share one schedule: alike rates are one line.
    alike: dict[bytes, list[str]] = {}
    for name, rate in rates.items():
        alike.setdefault(rate.tobytes(), []).append(name)
    if len(alike) > len(COLORS):
        _draw_heat_map(axes, history, rates, "learning rate")
        return
    for place, names in enumerate(alike.values()):
        color = INK if len(alike) == 1 else COLORS[place]
        if not _many(history) and len(names) == 1:
            color = _color(history, names[0])
        label = (
            ", ".join(names)
            if len(names) <= 4
            else f"{names[0]}, {names[1]} and {len(names) - 2} more"
        )
        marker = "o" if len(history) == 1 else None
        rate = rates[names[0]]
        known = np.isfinite(rate)  # a skipped step has none, but no gap either
        axes.plot(history.iteration[known], rate[known], color=color, label=label, marker=marker)
    if len(alike) > 1 and any(len(names) > 1 for names in alike.values()):
        axes.legend(loc="best")
    elif len(alike) == 1 and len(history.layers) > 1:
        note(axes, "the same for all layers")
    scale(axes, np.concatenate(list(rates.values())), bulk=True)


def _draw_ratios(axes: Axes, history: History) -> None:
    axes.set_title("‖update‖ / ‖parameters‖")
    ratios = _present(history, "update_ratio")
    if not ratios:
        say(axes, "not monitored: make the updater with monitor=True")
        return
    if _many(history):
        _draw_heat_map(
            axes, history, ratios, "ratio", middle=_GUIDE, most=_GUIDE_SPAN, marks=[_GUIDE]
        )
        note(axes, "white: 10⁻³, a rule of thumb")
        return
    for name, ratio in ratios.items():
        _draw_series(axes, history.iteration, ratio, _color(history, name))
    values = np.concatenate(list(ratios.values()))
    if (values > 0).any():  # always by powers of ten, of which the rule of thumb speaks
        axes.set_yscale("log")
        # A schedule that ends near zero would squeeze all the rest into the top of the panel.
        low = min(float(np.percentile(values[values > 0], 10)) / 10, _GUIDE)
        axes.set_ylim(low / 1.5, max(float(np.nanmax(values)), _GUIDE) * 1.5)
    axes.axhline(_GUIDE, color=INK, linewidth=1, linestyle="--", alpha=0.6)
    note(axes, "dashed: 10⁻³, a rule of thumb")


def _draw_legend(axes: Axes, history: History) -> None:
    """Name the layers' colours once for all panels, above the topmost one."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_color(history, name), linewidth=3.5, label=_label(name))
        for name in history.layers
    ]
    axes.legend(
        handles=handles,
        ncols=len(handles),
        loc="lower right",
        bbox_to_anchor=(1.0, 1.19),
        borderaxespad=0.0,
        handlelength=1.2,
    )


def _draw_series(axes: Axes, steps: NDArray[np.int64], values: FloatArray, color: str) -> None:
    """Draw a noisy line: every step of a short run, medians with a band of a long one."""
    if not _is_long(steps):
        axes.plot(steps, values, color=color, marker="o" if len(steps) == 1 else None)
        return
    parts = list(_bins(len(steps), _LINE_BINS))
    places = [steps[part].mean() for part in parts]
    low, middle, high = np.transpose([_percentiles(values[part]) for part in parts])
    axes.fill_between(places, low, high, color=color, alpha=0.16, linewidth=0)
    axes.plot(places, middle, color=color)


def _mean(values: FloatArray) -> float:
    """Return the mean of the finite values: a skipped step has none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _percentiles(values: FloatArray) -> FloatArray:
    """Return the 10th, 50th and 90th percentile of the finite values."""
    finite = values[np.isfinite(values)]
    return np.percentile(finite, (10, 50, 90)) if len(finite) else np.full(3, np.nan)


def _draw_heat_map(
    axes: Axes,
    history: History,
    rows: Mapping[str, FloatArray],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    middle: float | None = None,
    most: float = math.inf,
    marks: Sequence[float] = (),
) -> None:
    """Draw a row for each layer; the colour is the mean of neighbouring steps.

    Args:
        limits, middle, most: see `_color_scale`.
        marks: where dashed lines cross the colour bar.
    """
    bins = list(_bins(len(history), _HEAT_BINS))
    values = np.array([[_mean(row[steps]) for steps in bins] for row in rows.values()])
    edges = np.append(history.iteration[[steps.start for steps in bins]], history.iteration[-1] + 1)
    norm = _color_scale(values, limits, middle, most)
    image = axes.pcolormesh(
        edges,
        np.arange(len(rows) + 1),
        np.ma.masked_invalid(values),
        cmap="PuOr_r" if middle is not None else "cividis",
        norm=norm,
        rasterized=True,
    )
    axes.grid(False)
    axes.invert_yaxis()
    stride = -(-len(rows) // 25)
    names = [name if len(name) <= 16 else f"{name[:6]}…{name[-9:]}" for name in rows]
    axes.set_yticks(np.arange(0, len(rows), stride) + 0.5, names[::stride])
    axes.set_ylabel("layer")
    if NETWORK in rows and len(rows) > 1:
        axes.axhline(list(rows).index(NETWORK), color="white", linewidth=2.5)
    beyond = _beyond(values, norm)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, aspect=30, extend=beyond)
    for mark in marks:
        if norm.vmin is not None and norm.vmax is not None and norm.vmin <= mark <= norm.vmax:
            color = "white" if middle is None else INK
            bar.ax.axhline(mark, color=color, linestyle=(0, (3, 1.5)), linewidth=1.2)
    bar.outline.set_visible(False)
    bar.set_label(label)


def _beyond(values: FloatArray, norm: Normalize) -> Literal["neither", "min", "max", "both"]:
    """Tell at which ends of a colour scale there are values that it does not reach."""
    finite = values[np.isfinite(values) & (values > 0)]
    low = bool(finite.size) and finite.min() < (norm.vmin or 0) * (1 - 1e-9)
    high = bool(finite.size) and finite.max() > (norm.vmax or math.inf) * (1 + 1e-9)
    return ("both" if high else "min") if low else ("max" if high else "neither")


def _color_scale(
    values: FloatArray,
    limits: tuple[float, float] | None,
    middle: float | None,
    most: float,
) -> Normalize:
    """Return a linear scale between limits, else a logarithmic one.

    With a middle that one is symmetric about it, to a factor of at most ``most`` either way.
    """
    from matplotlib.colors import LogNorm, Normalize

    if limits is not None:
        return Normalize(*limits)
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return Normalize(0, 1)
    low, high = float(positive.min()), float(positive.max())
    if middle is not None:
        span = min(max(high / middle, middle / low, 1.1), most)
        low, high = middle / span, middle * span
    return LogNorm(low, high if high > low else low * 1.1)


def _is_long(steps: NDArray[np.int64]) -> bool:
    """Tell whether there are so many steps that medians of some read better than each one."""
    return len(steps) > 3 * _LINE_BINS


def _many(history: History) -> bool:
    """Tell whether there are more layers than colours: too many for lines, rows read better."""
    return len(history.layers.keys() - {NETWORK}) > len(COLORS)


def _color(history: History, name: str) -> str:
    return INK if name == NETWORK else COLORS[list(history.layers).index(name)]


def _label(name: str) -> str:
    """Say "layer" with a bare number; other names speak for themselves."""
    return f"layer {name}" if name.isdecimal() else name


def _present(history: History, field: str) -> dict[str, FloatArray]:
    """Return a quantity's values by layer, for the layers that have any."""
    columns = {name: getattr(layer, field) for name, layer in history.layers.items()}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _bins(count: int, most: int) -> Iterator[slice]:
    """Cut the steps into at most this many parts of nearly equal size."""
    edges = np.linspace(0, count, min(count, most) + 1).astype(int)
    return (slice(int(a), int(b)) for a, b in pairwise(edges))
