"""Schedule-free AdamW: where it is evaluated, and the weights of its average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flatstep as fs


def made(params: Any, **settings: Any) -> fs.MultiLayerUpdater:
    rule = fs.ScheduleFreeAdamW(**settings)
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=rule), params)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_evaluation_puts_the_average_of_z_into_the_parameters(dtype: Any) -> None:
    random = np.random.default_rng(0)
    params = {"0_W": np.asfortranarray(random.normal(size=(5, 3)).astype(dtype))}
    updater = made(params, learning_rate=0.1, beta1=0.75)
    points = []
    for _ in range(6):
        updater.step({"0_W": np.asfortranarray(random.normal(size=(5, 3)).astype(dtype))})
        points.append(updater.state("0_W")["z"].astype(np.float64))
    before = params["0_W"].copy()
    with updater.evaluation():
        tolerance = 1e-13 if dtype is np.float64 else 1e-5
        np.testing.assert_allclose(params["0_W"], np.mean(points, axis=0), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(params["0_W"], before)


def test_the_parameters_come_back_after_an_exception() -> None:
    params = {"0_W": np.ones(3)}
    updater = made(params)
    for _ in range(2):
        updater.step({"0_W": np.ones(3)})
    before = params["0_W"].copy()
    seen = []

    def evaluate() -> None:
        seen.append(params["0_W"].copy())
        raise KeyError

    with pytest.raises(KeyError), updater.evaluation():
        evaluate()
    assert not np.array_equal(seen[0], before)
    np.testing.assert_array_equal(params["0_W"], before)


def test_others_stay_as_they_are() -> None:
    params = {"0_W": np.ones(3), "0_b": np.ones(3)}
    config = fs.MultiLayerConfiguration(updater=fs.ScheduleFreeAdamW(0.1), bias_updater=fs.Sgd(0.1))
    updater = fs.MultiLayerUpdater(config, params)
    for _ in range(2):
        updater.step({key: np.ones(3) for key in params})
    bias = params["0_b"].copy()
    with updater.evaluation():
        np.testing.assert_array_equal(params["0_b"], bias)


def test_without_such_an_updater_it_says_so() -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam()), {"0_W": np.ones(3)}
    )
    with (
        pytest.raises(ValueError, match="evaluate the parameters as they are"),
        updater.evaluation(),
    ):
        pass


def test_a_step_inside_is_refused_at_the_end() -> None:
    updater = made({"0_W": np.ones(3)})
    updater.step({"0_W": np.ones(3)})
    refused = pytest.raises(RuntimeError, match="evaluation: expected no step inside, got 1")
    with refused, updater.evaluation():
        updater.step({"0_W": np.ones(3)})


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("warmup", [2.5, 10.0, 33.0, 1000.0, 12345.5])
@pytest.mark.parametrize("t", [1, 2, 31, 32, 33, 34, 500, 20_000])
def test_the_weight_of_the_last_point(power: float, warmup: float, t: int) -> None:
    """Its share in the sum of all warm-up rates to their power, term by term."""
    params = {"0_W": np.array([1.0])}
    updater = made(params, learning_rate=0.0, beta1=0.0, warmup_steps=warmup, weight_power=power)
    updater.state("0_W")["z"][:] = 0.0
    gradient = {"0_W": np.zeros(1)}
    updater.update(gradient, iteration=t - 1)  # of y = 1, z = 0: the share itself
    weights = np.minimum(1.0, np.arange(1, t + 1, dtype=np.longdouble) / warmup) ** power
    assert gradient["0_W"][0] == pytest.approx(float(weights[-1] / weights.sum()), rel=1e-13)
