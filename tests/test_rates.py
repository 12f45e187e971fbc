"""Learning rates that are scaled, set by hand, and cleared."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshots import bits, everything
from updater_table import BUILT_IN, UpdaterRow

import flatstep as fs

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def params(dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"0_W": (7, 5), "0_b": (5,), "1_W": (5, 3), "1_b": (3,)}
    return {key: rng.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}


def train(updater: Any, steps: int = 5, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        updater.step(
            {
                key: rng.standard_normal(array.shape).astype(array.dtype)
                for key, array in updater.parameters.items()
            }
        )


def made(dtype: Any = np.float64, **settings: Any) -> fs.MultiLayerUpdater:
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(**settings), params(dtype))


def scaled(scale: float, param: str | None = None) -> dict[str, Any]:
    """The layers of a network whose first has that scale, or one parameter of it."""
    if param is None:
        return {"0": fs.LayerConfiguration(learning_rate_scale=scale)}
    one = fs.ParamConfiguration(learning_rate_scale=scale)
    return {"0": fs.LayerConfiguration(params={param: one})}


# ----------------------------------------------------------------------------------------- scales


WITH_RATE = [row for row in BUILT_IN if "learning_rate" in row.defaults]


@DTYPES
@pytest.mark.parametrize("row", WITH_RATE, ids=str)
@pytest.mark.parametrize(
    "rate", [0.05, fs.ExponentialSchedule(0.05, 0.9)], ids=["number", "schedule"]
)
def test_a_scaled_rate_is_the_product(row: UpdaterRow, rate: Any, dtype: Any) -> None:
    """To the bit, weight decay included, and the other layer is not touched."""
    own = {} if row.name == "AdamW" else {"weight_decay": 0.01}
    by_scale = made(dtype, updater=row.constructor(learning_rate=rate), layers=scaled(0.3), **own)
    product = fs.ProductSchedule((rate, 0.3)) if isinstance(rate, fs.Schedule) else rate * 0.3
    by_rate = made(
        dtype,
        updater=row.constructor(learning_rate=rate),
        layers={"0": fs.LayerConfiguration(updater=row.constructor(learning_rate=product))},
        **own,
    )
    train(by_scale)
    train(by_rate)
    assert bits(by_scale.parameters) == bits(by_rate.parameters)
    assert by_scale.last_step is not None
    assert by_rate.last_step is not None
    for key in by_scale.parameters:
        assert by_scale.learning_rate(key) == by_rate.learning_rate(key)
    for layer in ("0", "1"):
        ours, theirs = (u.last_step.layers[layer] for u in (by_scale, by_rate))
        assert ours.learning_rate == theirs.learning_rate
    assert len(by_scale.updater_blocks) == 1  # the updater is the same


@DTYPES
def test_a_scale_of_one_is_none(dtype: Any) -> None:
    plain = made(dtype, updater=fs.Adam(0.01))
    one = made(dtype, updater=fs.Adam(0.01), layers=scaled(1.0))
    train(plain)
    train(one)
    assert bits(plain.parameters) == bits(one.parameters)


def test_a_parameter_replaces_its_layer() -> None:
    layer = fs.LayerConfiguration(
        learning_rate_scale=0.5, params={"b": fs.ParamConfiguration(learning_rate_scale=4.0)}
    )
    updater = made(updater=fs.Sgd(0.25), bias_learning_rate=0.5, layers={"0": layer})
    rates = {key: updater.learning_rate(key) for key in updater.parameters}
    assert rates == {"0_W": 0.125, "0_b": 2.0, "1_W": 0.25, "1_b": 0.5}


def test_a_scale_of_zero_stands_still() -> None:
    updater = made(updater=fs.Adam(0.25), layers=scaled(0.0))
    train(updater)
    assert bits(updater.parameters["0_W"]) == bits(params()["0_W"])
    assert not (updater.parameters["1_W"] == params()["1_W"]).any()
    assert updater.state("0_W")["m"].any()  # which goes on


def test_an_updater_without_a_rate_ignores_a_scale() -> None:
    for updater in (fs.NoOp(), fs.AdaDelta()):
        plain, other = made(updater=updater), made(updater=updater, layers=scaled(0.5))
        train(plain)
        train(other)
        assert bits(plain.parameters) == bits(other.parameters)
        assert other.learning_rate("0_W") is None


def test_a_scale_and_a_policy() -> None:
    """What compounds is the rate before it is scaled."""
    settings: dict[str, Any] = {
        "updater": fs.Sgd(1.0),
        "semantics": "dl4j-0.8",
        "learning_rate_policy": fs.LearningRatePolicy("Step", decay_rate=0.5, steps=1),
    }
    updater = made(**settings, layers=scaled(0.25))
    train(updater, 3)
    assert updater.learning_rate("1_W") == 0.125
    assert updater.learning_rate("0_W") == 0.125 / 4
    assert updater.state_dict()["learning_rate"]["0_W"] == 0.125
    updater.set_learning_rate(8.0)
    assert updater.learning_rate("0_W") == 2.0
    updater.clear_learning_rate()
    assert updater.state_dict()["learning_rate"] == dict.fromkeys(params(), 1.0)


@pytest.mark.parametrize(
    ("scale", "exception", "text"),
    [
        (-0.5, ValueError, "learning_rate_scale: expected a finite number >= 0, got -0.5"),
        (math.inf, ValueError, "learning_rate_scale: expected a finite number >= 0, got inf"),
        (math.nan, ValueError, "learning_rate_scale: expected a finite number >= 0, got nan"),
        ("0.5", TypeError, "learning_rate_scale: expected a number, got '0.5' of type str"),
    ],
)
def test_scales_that_are_refused(scale: Any, exception: type[Exception], text: str) -> None:
    for where, param in (('layer "0"', None), ('layer "0", parameter "W"', "W")):
        with pytest.raises(exception) as caught:
            fs.MultiLayerConfiguration(layers=scaled(scale, param))
        if exception is ValueError:
            assert str(caught.value) == f"{where}: {text}"
        else:
            assert str(caught.value).endswith(text)


def test_a_scaled_rate_that_the_dtype_cannot_hold() -> None:
    made(np.float64, updater=fs.Sgd(1e-3), layers=scaled(1e-36))
    with pytest.raises(
        ValueError, match=r'parameter "0_W": Sgd: learning_rate: expected .*float32'
    ):
        made(np.float32, updater=fs.Sgd(1e-3), layers=scaled(1e-36))
    updater = made(np.float32, updater=fs.Sgd(1.0), layers=scaled(1e-36))
    before = everything(updater)
    with pytest.raises(ValueError, match=r'parameter "0_W": learning_rate: expected .*float32'):
        updater.set_learning_rate(1e-3)
    assert everything(updater) == before


# ------------------------------------------------------------------------- set by hand and cleared


CONFIGURED = fs.LinearSchedule(1.0, 0.0, 16)


def test_cleared_is_as_if_it_had_not_been_set() -> None:
    updater = made(updater=fs.Adam(CONFIGURED), layers=scaled(0.5))
    before = everything(updater)
    updater.set_learning_rate(0.125)
    assert updater.learning_rate("0_W", iteration=8) == 0.0625
    updater.clear_learning_rate()
    assert everything(updater) == before
    assert updater.learning_rate("0_W", iteration=8) == 0.25
    updater.clear_learning_rate()  # there is nothing to clear, which is no error
    assert everything(updater) == before


@pytest.mark.parametrize(
    ("where", "cleared"),
    [
        ({}, {"0_W", "0_b", "1_W", "1_b"}),
        ({"layer": 0}, {"0_W", "0_b"}),
        ({"param": "b"}, {"0_b", "1_b"}),
        ({"layer": "1", "param": "W"}, {"1_W"}),
    ],
    ids=str,
)
def test_clearing_some(where: dict[str, Any], cleared: set[str]) -> None:
    updater = made(updater=fs.Sgd(CONFIGURED))
    updater.set_learning_rate(0.125)
    updater.clear_learning_rate(**where)
    assert set(updater.state_dict()["learning_rate"]) == set(params()) - cleared
    for key in params():
        assert updater.learning_rate(key) == (1.0 if key in cleared else 0.125)


def test_a_cleared_rate_is_saved_as_one(tmp_path: Path) -> None:
    updater = made(updater=fs.Sgd(CONFIGURED))
    updater.set_learning_rate(0.125)
    updater.clear_learning_rate(layer=0)
    path = tmp_path / "a.safetensors"
    updater.save(path)
    loaded = fs.load_updater(path, params())
    for twin in (updater.clone(), pickle.loads(pickle.dumps(updater)), loaded):
        assert twin._rates() == updater._rates()


def test_clearing_momentum_is_another_matter() -> None:
    updater = made(
        updater=fs.Nesterovs(1.0), semantics="dl4j-0.8", momentum_schedule={0: 0.5, 2: 0.75}
    )
    train(updater, 1)
    updater.set_learning_rate(0.125)
    updater.clear_learning_rate()
    assert updater.momentum("0_W") == 0.5
    assert updater.learning_rate("0_W") == 1.0


def test_clearing_what_is_not_there() -> None:
    updater = made(updater=fs.Sgd(1.0), layers={"1": fs.LayerConfiguration(updater=fs.NoOp())})
    updater.set_learning_rate(0.125)
    before = everything(updater)
    with pytest.raises(
        fs.ParameterKeyError, match="clear_learning_rate: no parameter with layer=7"
    ):
        updater.clear_learning_rate(layer=7)
    with pytest.raises(ValueError, match="clear_learning_rate: expected a parameter whose updater"):
        updater.clear_learning_rate(layer=1)
    assert everything(updater) == before
