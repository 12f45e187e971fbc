"""Every updater of the table: how it is made, what it refuses, where its state starts, what it
does.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from networks import state_of
from oracle import LayerSpec, Network, NetworkSpec, SlotSpec, UpdaterSpec
from updater_table import (
    BUILT_IN,
    CONFIGURATIONS,
    ERRORS,
    IN_ORDERS,
    TABLE,
    ErrorCase,
    UpdaterRow,
    configuration_id,
)

import flatstep as fs

EACH = pytest.mark.parametrize("row", TABLE, ids=str)
EACH_CONFIGURATION = pytest.mark.parametrize(
    ("row", "arguments"), CONFIGURATIONS, ids=configuration_id
)
IN_EACH_ORDER = pytest.mark.parametrize(
    ("row", "arguments", "semantics"), IN_ORDERS, ids=configuration_id
)


def test_the_table_has_every_updater_of_the_package() -> None:
    """A new updater of the core cannot be forgotten here; those in NumPy: test_shipped_updaters."""
    public = {
        value
        for value in vars(fs).values()
        if inspect.isclass(value)
        and issubclass(value, fs.Updater)
        and not issubclass(value, fs.CustomUpdater)
    }
    assert public - {fs.Updater} == {row.constructor for row in BUILT_IN}


@EACH
def test_defaults_and_order_of_arguments(row: UpdaterRow) -> None:
    made = row.constructor()
    for name, value in row.defaults.items():
        assert getattr(made, name) == value
    by_position = row.constructor(*row.defaults.values())
    assert by_position == made
    assert row.constructor(**row.defaults) == made


@pytest.mark.parametrize(("row", "error"), ERRORS, ids=str)
def test_errors(row: UpdaterRow, error: ErrorCase) -> None:
    with pytest.raises(error.exception) as caught:
        row.constructor(**error.arguments)
    assert str(caught.value) == error.text


@EACH_CONFIGURATION
def test_configurations_are_values(row: UpdaterRow, arguments: Mapping[str, Any]) -> None:
    """Equal, hashable, copyable, and printed as they are written."""
    made = row.constructor(**arguments)
    assert made == row.constructor(**arguments)
    assert hash(made) == hash(row.constructor(**arguments))
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made) == made
    names = {row.name: row.constructor, **vars(fs)}
    assert eval(repr(made), names) == made
    if row.defaults:
        argument = next(iter(row.defaults))
        other = row.constructor(**{**arguments, argument: 0.123})
        assert made != other


@pytest.mark.parametrize("row", BUILT_IN, ids=str)
def test_a_built_in_configuration_cannot_be_changed(row: UpdaterRow) -> None:
    made = row.constructor()
    for argument in row.defaults:
        with pytest.raises(AttributeError):
            setattr(made, argument, 0.5)
    assert made == row.constructor()


@IN_EACH_ORDER
def test_state(row: UpdaterRow, arguments: Mapping[str, Any], semantics: str) -> None:
    """Names, shapes, dtype and where it starts."""
    made = row.constructor(**arguments)
    config = fs.MultiLayerConfiguration(updater=made, semantics=semantics)
    for dtype in (np.float32, np.float64):
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones((3, 2), dtype, order="F")})
        state = updater.state("0_W")
        assert tuple(state) == row.state
        for name, array in state.items():
            assert array.shape == (3, 2)
            assert array.dtype == dtype
            assert array.flags.f_contiguous
            initial = dtype(row.initial_value(made, name, semantics, 1.0))
            np.testing.assert_array_equal(array, initial)
        flat = [array.ravel(order="F") for array in state.values()]
        assert updater.state_view.shape == (6 * len(row.state),)
        np.testing.assert_array_equal(updater.state_view, np.ravel(flat))


@EACH
def test_rate(row: UpdaterRow) -> None:
    """Updaters with a rate tell it; the others have none."""
    config = fs.MultiLayerConfiguration(updater=row.constructor())
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    assert updater.learning_rate("0_W") == row.defaults.get("learning_rate")
    assert updater.last_step is None
    updater.step({"0_W": np.ones(3)})
    assert updater.last_step.layers["0"].learning_rate == row.defaults.get("learning_rate")


def oracle_spec(row: UpdaterRow, made: Any, semantics: str, iteration: int) -> NetworkSpec:
    """The updater as it is at an iteration, for the oracle; AdamW is Adam with weight decay."""
    values = {name: getattr(made, name) for name in row.defaults}
    for name, value in values.items():
        if isinstance(value, fs.Schedule):
            values[name] = value.value_at(iteration)
    decay = values.pop("weight_decay") if row.name == "AdamW" else 0.0
    updater = UpdaterSpec("Adam" if row.name == "AdamW" else row.name, values)
    slot = SlotSpec("0_W", "0", "W", 500, updater, weight_decay=decay)
    return NetworkSpec(semantics, (LayerSpec("0"),), (slot,))


@pytest.mark.parametrize(
    ("row", "arguments", "semantics"),
    [case for case in IN_ORDERS if not case[0].is_custom],
    ids=configuration_id,
)
def test_steps_follow_the_oracle(
    row: UpdaterRow, arguments: Mapping[str, Any], semantics: str
) -> None:
    """Ten steps in float64 with nothing in between: how the state is carried from step to step."""
    made = row.constructor(**arguments)
    spec = oracle_spec(row, made, semantics, 0)
    rng = np.random.default_rng(7)
    params = {"0_W": rng.standard_normal(500)}
    oracle = Network(spec, params)
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=made, semantics=semantics), params
    )
    for iteration in range(10):
        gradient = rng.standard_normal(500)
        oracle.spec = oracle_spec(row, made, semantics, iteration)
        oracle.step({"0_W": gradient}, iteration)
        updater.step({"0_W": gradient})
    np.testing.assert_allclose(params["0_W"], oracle.params["0_W"], rtol=1e-12, atol=1e-13)
    for name, array in state_of(updater, spec)["0_W"].items():
        np.testing.assert_allclose(array, oracle.state["0_W"][name], rtol=1e-12, atol=1e-13)


@EACH
def test_it_learns(row: UpdaterRow) -> None:
    """A quadratic bowl: every updater gets closer to its bottom."""
    made = row.constructor()
    if row.has_rate:
        made = row.constructor(learning_rate=0.05)
    p = np.linspace(-2, 2, 50) + 0.01
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=made), {"0_W": p})
    start = float(p @ p)
    for _ in range(100):
        updater.step({"0_W": 0.1 * p})
    assert float(p @ p) < 0.99 * start


def test_adam_w_is_adam_with_weight_decay() -> None:
    """To the bit, for weights and biases; and it shares a block with an equal Adam."""
    rng = np.random.default_rng(3)
    schedule = fs.StepSchedule(0.1, 0.5, 2)
    start = {"0_W": rng.standard_normal(33), "0_b": rng.standard_normal(3)}
    with_w = {key: array.copy() for key, array in start.items()}
    plain = {key: array.copy() for key, array in start.items()}
    one = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.AdamW(schedule, weight_decay=0.25)), with_w
    )
    other = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(
            updater=fs.Adam(schedule), weight_decay=0.25, weight_decay_bias=0.25
        ),
        plain,
    )
    for _ in range(5):
        gradients = {key: rng.standard_normal(array.shape) for key, array in start.items()}
        one.step(gradients)
        other.step(gradients)
    for key in start:
        np.testing.assert_array_equal(with_w[key], plain[key])
    mixed = fs.MultiLayerConfiguration(
        updater=fs.AdamW(0.1, weight_decay=0.5), bias_updater=fs.Adam(0.1)
    )
    assert len(fs.MultiLayerUpdater(mixed, with_w).updater_blocks) == 1


def test_custom_updater_does_what_its_formula_says() -> None:
    """In numbers that are exact, next to a built-in updater that it must not disturb."""
    custom = next(row for row in TABLE if row.is_custom).constructor(0.5, decay=0.5)
    w, b = np.array([1.0, 2.0]), np.array([4.0])
    config = fs.MultiLayerConfiguration(updater=custom, bias_updater=fs.Sgd(0.25))
    updater = fs.MultiLayerUpdater(config, {"0_W": w, "0_b": b})
    updater.step({"0_W": np.array([2.0, -2.0]), "0_b": np.array([8.0])})
    np.testing.assert_array_equal(w, [0.0, 3.0])
    np.testing.assert_array_equal(b, [2.0])
    updater.step({"0_W": np.array([1.0, 1.0]), "0_b": np.array([0.0])})
    np.testing.assert_array_equal(updater.state("0_W")["m"], [2.0, 0.0])
    np.testing.assert_array_equal(w, [-1.0, 3.0])
