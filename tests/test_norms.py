"""Norms of gradients of any magnitude, against exact arithmetic: no overflow, no loss at a border.

A float64 sum of squares is kept at one of three scales (kernels/norm2.hpp); chunks of a gradient
may lie at different ones, and near the borders each may be the larger part.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import flatstep as fs

CHUNK = fs._core.chunk_size


def exact_norm(gradients: list[Any]) -> float:
    """√Σg², exact but for the last rounding."""
    total = Fraction(0)
    for gradient in gradients:
        total += sum(Fraction(float(x)) ** 2 for x in gradient[gradient != 0])
    exponent = (total.numerator.bit_length() - total.denominator.bit_length()) // 2
    scaled = total / Fraction(4) ** exponent
    return math.ldexp(math.sqrt(scaled), exponent)


# The borders lie at sums of 2^1000 and 2^-900: at elements of 2^500 and 2^-450.
@pytest.mark.parametrize("border", [500, -450])
@pytest.mark.parametrize("slots", [2, 3, 100])
@pytest.mark.parametrize("spread", [0.25, 1.0, 8.0])
def test_slots_on_both_sides_of_a_border(border: int, slots: int, spread: float) -> None:
    gradients = {
        f"0_{i}": np.array([2.0 ** (border + spread * (i % 2 - 0.5))]) for i in range(slots)
    }
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=fs.NoOp(), gradient_normalization="RenormalizeL2PerLayer"
        ),
        {key: np.zeros(1) for key in gradients},
    )
    norm = exact_norm(list(gradients.values()))
    updater.update(gradients)
    assert updater.last_step is not None
    assert updater.last_step.layers["0"].gradient_norm == pytest.approx(norm, rel=1e-14)
    assert exact_norm(list(gradients.values())) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("border", [500, -450])
def test_chunks_on_both_sides_of_a_border(border: int) -> None:
    """One array: what a norm is must not depend on where its chunks begin."""
    gradient = np.zeros(3 * CHUNK)
    gradient[[0, CHUNK, 2 * CHUNK]] = [2.0 ** (border + e) for e in (-0.125, 0.125, -0.25)]
    norm = exact_norm([gradient])
    for shift in (0, 1, CHUNK - 1):
        moved = np.roll(gradient, shift)
        updater = fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(updater=fs.NoOp(), gradient_normalization="ClipL2PerLayer"),
            {"0_W": np.zeros_like(moved)},
        )
        updater.step({"0_W": moved})
        assert updater.last_step is not None
        assert updater.last_step.layers["0"].gradient_norm == pytest.approx(norm, rel=1e-14)


@pytest.mark.parametrize("exponents", [(700, 0, -700), (500, 0, 0), (-450, -600, -700)])
def test_slots_far_apart(exponents: tuple[int, ...]) -> None:
    gradients = {f"0_{i}": np.array([2.0**e]) for i, e in enumerate(exponents)}
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.NoOp(), gradient_normalization="ClipL2Global"),
        {key: np.zeros(1) for key in gradients},
    )
    updater.step(gradients)
    assert updater.last_step is not None
    assert updater.last_step.gradient_norm == pytest.approx(2.0 ** max(exponents), rel=1e-14)
