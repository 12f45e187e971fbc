"""What the demo prints about a run, before and after it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import flatstep as fs

from .side_by_side import Comparison
from .training import UPDATERS, Options, Result, Run

TARGET = 0.97

# These are linear in the gradient: it makes no difference when they divide by the batch size,
# unless a normalisation comes between.
_LINEAR = ("sgd", "nesterovs")

_Row = tuple[str, ...]


def describe_run(run: Run) -> str:
    """Say what is about to be trained, and how."""
    options = run.options
    sizes = "-".join(map(str, run.network.sizes))
    rate = options.largest_rate
    schedule = "no learning rate" if rate is None else f"rate {rate:g}: warm-up, then a cosine to 0"
    strategy = options.strategy
    if strategy.startswith("Clip"):
        strategy += f", threshold {options.threshold:g}"
    return "\n".join(
        (
            f"flatstep {fs.__version__}, {fs.isa()}: a {sizes} network in NumPy learns digits",
            f"  updater        {UPDATERS[options.updater].create.__name__}, {schedule}",
            f"  normalisation  {strategy}",
            f"  order          {options.semantics}, batches of {options.batch_size}",
            f"  run            {options.epochs} epochs, seed {options.seed}",
        )
    )


def describe_result(options: Options, result: Result) -> str:
    """Say how it went: the accuracy, why if it is low, a table of the layers, and the times."""
    correct = round(result.accuracy * result.num_test_images)
    parts = [
        f"Test accuracy: {result.accuracy * 100:.2f} % "
        f"({correct} of {result.num_test_images} images that it has not seen)"
    ]
    if result.accuracy < TARGET:
        parts.append(explain_accuracy(options))
    parts += [_describe_layers(result), _describe_times(result)]
    return "\n\n".join(parts)


def explain_accuracy(options: Options) -> str:
    """Say why the accuracy is below the target, and what to do about it."""
    below = f"That is below {TARGET * 100:.0f} %"
    size = options.batch_size
    linear = options.updater in _LINEAR
    same_in_both_orders = size == 1 or (linear and options.strategy == "None")
    if options.semantics != "dl4j-0.8" or same_in_both_orders:
        return _wrap(
            f"{below}: more --epochs, another --learning-rate or another --threshold may suit "
            "this choice better."
        )
    if linear:
        reason = "The normalisation has limited the gradient, a sum over the batch, before that"
    else:
        name = UPDATERS[options.updater].create.__name__
        reason = f"{name}'s update does not grow with the gradient, which is a sum over the batch"
    reason += f", so a step is up to {size} times shorter than under dl4j-1.0."
    remedy = "--semantics dl4j-1.0 divides the gradient, before anything else"
    if options.largest_rate is not None:
        rate = options.largest_rate * size
        remedy += f"; in this order, --learning-rate {rate:.3g} makes up for it"
    return _wrap(
        f"{below}, and dl4j-0.8 is why: it divides the finished update by the batch size, {size}. "
        f"{reason} {remedy}."
    )


def _describe_layers(result: Result) -> str:
    rows: list[_Row] = [("layer", "", "norm", "clipped", "rate", "update/parameter")]
    for name, layer in result.history.layers.items():
        clips = math.isfinite(layer.threshold) and np.isfinite(layer.clipped).any()
        rows.append(
            (
                name,
                _shape(name, result.sizes),
                _median(layer.gradient_norm),
                f"{np.nanmean(layer.clipped) * 100:.1f} %" if clips else "–",
                _median(layer.learning_rate),
                _median(layer.update_ratio),
            )
        )
    legend = (
        "Medians of all steps; norm: the gradient's, before normalisation; clipped: share of the "
        "steps; update/parameter: ‖update‖ / ‖parameters‖."
    )
    return f"{_table(rows, left=2)}\n{_wrap(legend)}"


def _shape(name: str, sizes: Sequence[int]) -> str:
    """Say what a layer maps to what, or how many elements its bias has; nothing of the network."""
    layer, _, param = name.partition("_")
    if not layer.isdecimal():
        return ""
    inputs, outputs = sizes[int(layer) : int(layer) + 2]
    return f"{outputs}" if param == "b" else f"{inputs} → {outputs}"


def _describe_times(result: Result) -> str:
    comparison = result.comparison
    flatstep = (comparison.flatstep_min, comparison.flatstep_median)
    numpy = (comparison.numpy_min, comparison.numpy_median)
    rows: list[_Row] = [
        ("one step", "fastest", "median"),
        ("flatstep", *(f"{time * 1e6:.1f} µs" for time in flatstep)),
        ("plain NumPy", *(f"{time * 1e6:.1f} µs" for time in numpy)),
        ("", *(f"{slow / fast:.1f} ×" for slow, fast in zip(numpy, flatstep, strict=True))),
    ]
    legend = (
        f"{result.num_parameters:,} parameters; both took every step of this run, in turn, on the "
        f"same gradients. {_describe_agreement(comparison)}"
    )
    return f"{_table(rows, left=1)}\n{_wrap(legend)}"


def _describe_agreement(comparison: Comparison) -> str:
    apart = f"the parameters differ by {comparison.difference:.1e} of the largest"
    if comparison.agrees:
        return f"They agree: {apart}, which is rounding."
    return f"They do NOT agree: {apart}; rounding explains up to {comparison.tolerance:.1e}."


def _median(values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    return f"{np.median(finite):.2g}" if len(finite) else "–"


def _table(rows: Sequence[_Row], left: int) -> str:
    """Align columns, this many to the left and the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "   ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _wrap(text: str) -> str:
    return textwrap.fill(text, 78, break_on_hyphens=False)
