"""Infinities and NaN in a gradient: raise, skip or propagate, and nothing half-applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import copies
from oracle.normalization import CHUNK, STRATEGIES
from snapshots import nothing_changes
from updater_table import TABLE, UpdaterRow

import flatstep as fs

BAD = pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
EACH = pytest.mark.parametrize("row", TABLE, ids=str)
EACH_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)
EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])

SHAPES = {"0_W": (3, 5), "0_b": (5,), "1_W": (CHUNK + 9,), "2_W": (70,)}


def numbers(dtype: Any, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {key: rng.standard_normal(shape).astype(dtype) for key, shape in SHAPES.items()}


def make(row: UpdaterRow, strategy: str, dtype: Any, on_nonfinite: str, **more: Any) -> Any:
    config = fs.MultiLayerConfiguration(
        updater=row.constructor(),
        gradient_normalization=strategy,
        on_nonfinite=on_nonfinite,
        l2=0.01,
        **more,
    )
    updater = fs.MultiLayerUpdater(config, numbers(dtype, 0))
    updater.step(numbers(dtype, 1))  # so that there is state to lose
    return updater


@EACH_DTYPE
@EACH_STRATEGY
@EACH
def test_raise_changes_nothing(row: UpdaterRow, strategy: str, dtype: Any) -> None:
    """The last element of the last slot spoils the step: all before it must be untouched too."""
    updater = make(row, strategy, dtype, "raise")
    gradients = numbers(dtype, 2)
    gradients["1_W"][CHUNK + 8] = np.nan
    gradients["2_W"][69] = np.inf
    for method in (updater.step, updater.update):
        with (
            nothing_changes(updater, gradients),
            pytest.raises(fs.NonFiniteGradientError) as caught,
        ):
            method(gradients)
        assert str(caught.value) == (
            'gradients: expected finite numbers, got NaN or infinity in "1_W", "2_W"; nothing was '
            "changed. Lower the learning rate or the loss scale, or choose "
            'on_nonfinite="skip" or "propagate"'
        )
        assert tuple(caught.value.keys) == ("1_W", "2_W")
    assert isinstance(caught.value, ArithmeticError)
    assert isinstance(caught.value, ValueError)
    updater.step(numbers(dtype, 3))
    assert updater.iteration == 2


@BAD
@pytest.mark.parametrize("place", [0, 7, 8, 15, 16, 68, 69])
@pytest.mark.parametrize("isa", fs.available_isas())
def test_every_place_is_looked_at(isa: str, place: int, bad: float) -> None:
    """Whole vectors and tails; NaN and both infinities; with a norm and without."""
    fs.set_isa(isa)
    for strategy in ("None", "ClipL2PerLayer"):
        updater = make(TABLE[0], strategy, np.float32, "raise")
        gradients = numbers(np.float32, 2)
        gradients["2_W"][place] = bad
        with pytest.raises(fs.NonFiniteGradientError) as caught:
            updater.step(gradients)
        assert tuple(caught.value.keys) == ("2_W",)


@EACH_DTYPE
@EACH_STRATEGY
@EACH
def test_skip_counts_and_changes_nothing_else(row: UpdaterRow, strategy: str, dtype: Any) -> None:
    updater = make(row, strategy, dtype, "skip")
    gradients = numbers(dtype, 2)
    gradients["0_b"][2] = -np.inf
    before = copies(updater.parameters), np.array(updater.state_view), updater.iteration
    given = copies(gradients)
    for count, method in ((1, updater.step), (2, updater.update)):
        method(gradients)
        assert updater.last_step.skipped is True
        assert tuple(updater.last_step.nonfinite) == ("0_b",)
        assert updater.skipped_steps == count
    for key, array in updater.parameters.items():
        np.testing.assert_array_equal(array, before[0][key])
    for key, array in gradients.items():
        np.testing.assert_array_equal(array, given[key])
    np.testing.assert_array_equal(updater.state_view, before[1])
    assert updater.iteration == before[2]
    updater.step(numbers(dtype, 3))
    assert updater.last_step.skipped is False
    assert tuple(updater.last_step.nonfinite) == ()
    assert updater.skipped_steps == 2
    assert updater.iteration == before[2] + 1


@BAD
@EACH_DTYPE
def test_propagate_does_not_look(bad: float, dtype: Any) -> None:
    """A bad element spoils what depends on it and nothing else."""
    updater = make(TABLE[0], "None", dtype, "propagate")
    gradients = numbers(dtype, 2)
    gradients["0_W"][1, 2] = bad
    updater.step(gradients)
    assert updater.iteration == 2
    assert updater.skipped_steps == 0
    spoilt = ~np.isfinite(updater.parameters["0_W"])
    assert spoilt[1, 2]
    assert spoilt.sum() == 1
    for key in ("0_b", "1_W", "2_W"):
        assert np.isfinite(updater.parameters[key]).all()


@EACH_DTYPE
def test_propagate_through_the_strategies(dtype: Any) -> None:
    """NaN passes a clamp; a NaN norm spoils what it renormalises, but exceeds no threshold. The
    oracle's twin says so of any other strategy.
    """
    nan_first = np.array([np.nan, 8.0, -4.0, 0.5], dtype)
    known = {
        "ClipElementWiseAbsoluteValue": [np.nan, 1.0, -1.0, 0.5],
        "RenormalizeL2PerLayer": [np.nan] * 4,
        "RenormalizeL2PerParamType": [np.nan] * 4,
        "ClipL2PerLayer": [np.nan, 8.0, -4.0, 0.5],
        "ClipL2PerParamType": [np.nan, 8.0, -4.0, 0.5],
        "ClipL2Global": [np.nan, 8.0, -4.0, 0.5],
    }
    for strategy, row in STRATEGIES.items():
        update = row.normalize({"0_W": nan_first}, 1.0)["0_W"]
        np.testing.assert_array_equal(update, np.array(known.get(strategy, update), dtype))
        config = fs.MultiLayerConfiguration(
            updater=fs.NoOp(), gradient_normalization=strategy, on_nonfinite="propagate"
        )
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(4, dtype)})
        gradient = nan_first.copy()
        updater.update({"0_W": gradient})
        np.testing.assert_array_equal(gradient, update, err_msg=strategy)


def test_a_clamp_makes_infinities_finite() -> None:
    """Under propagate the clamp of an infinity is the threshold."""
    config = fs.MultiLayerConfiguration(
        updater=fs.NoOp(),
        gradient_normalization="ClipElementWiseAbsoluteValue",
        gradient_normalization_threshold=0.25,
        on_nonfinite="propagate",
    )
    gradient = np.array([np.inf, -np.inf, 0.125])
    fs.MultiLayerUpdater(config, {"0_W": np.ones(3)}).update({"0_W": gradient})
    np.testing.assert_array_equal(gradient, [0.25, -0.25, 0.125])


def test_infinite_parameters_do_not_spoil_what_does_not_read_them() -> None:
    """A coefficient of 0 means that the parameter is left out: 0·∞ would be NaN."""
    for semantics in ("dl4j-1.0", "dl4j-0.8"):
        config = fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.5),
            semantics=semantics,
            layers={"0": fs.LayerConfiguration(l1=0.25)},
        )
        params = {"0_W": np.array([np.inf, -2.0]), "1_W": np.array([np.inf, -2.0])}
        updater = fs.MultiLayerUpdater(config, params)
        gradients = {"0_W": np.ones(2), "1_W": np.ones(2)}
        updater.update(gradients)
        assert np.isfinite(gradients["0_W"]).all()
        np.testing.assert_array_equal(gradients["1_W"], 0.5)


def test_frozen_gradients_are_not_looked_at() -> None:
    config = fs.MultiLayerConfiguration(layers={"1": fs.LayerConfiguration(frozen=True)})
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3), "1_W": np.ones(3)})
    updater.step({"0_W": np.ones(3), "1_W": np.full(3, np.nan)})
    np.testing.assert_array_equal(updater.parameters["1_W"], 1.0)
    gradients = {"0_W": np.ones(3), "1_W": np.full(3, np.nan)}
    updater.update(gradients)
    np.testing.assert_array_equal(gradients["1_W"], 0.0)


@EACH_DTYPE
def test_norms_of_huge_and_tiny_gradients(dtype: Any) -> None:
    """Their squares are out of the type's range: no infinity, no vanishing, no false alarm."""
    largest = 1e38 if dtype is np.float32 else 1e308
    for value in (largest, 10 * float(np.finfo(dtype).tiny)):
        config = fs.MultiLayerConfiguration(
            updater=fs.NoOp(), gradient_normalization="RenormalizeL2PerLayer"
        )
        gradient = np.full(4, value, dtype)
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(4, dtype)})
        updater.update({"0_W": gradient})
        np.testing.assert_allclose(gradient, 0.5, rtol=4 * np.finfo(dtype).eps)
        norm = updater.last_step.layers["0"].gradient_norm
        assert norm == (np.inf if 2 * value > np.finfo(float).max else pytest.approx(2 * value))


def test_policy_rates_and_momenta_of_a_refused_step() -> None:
    """They are state: a refused step leaves them, and the next step goes on from there."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.5, momentum=0.5),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.5),
        momentum_schedule={1: 0.75},
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    updater.step({"0_W": np.ones(3)})
    with nothing_changes(updater), pytest.raises(fs.NonFiniteGradientError):
        updater.step({"0_W": np.array([1.0, np.nan, 1.0])})
    assert updater.learning_rate("0_W") == 0.5
    assert updater.state_dict()["momentum"] == {"0_W": 0.5}
    updater.step({"0_W": np.ones(3)})
    assert updater.learning_rate("0_W") == 0.25
    assert updater.state_dict()["momentum"] == {"0_W": 0.75}
