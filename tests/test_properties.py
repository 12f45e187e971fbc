"""Holds the compiled core to the oracle, over networks that Hypothesis invents.

Each step is compared on its own: before it the oracle is given the parameters and the state that
the core holds, and what schedules are in the core, so the only difference is the rounding of one
step. The oracle computes in extended precision and knows for every element how far one evaluation
in float32 or float64 may stray (oracle/bounds.py); that, and not a number found by trying, is the
tolerance. On well-conditioned numbers it is a few ULP, which `test_oracle.py` states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_strategies import (
    RATES,
    SIZES,
    Numbers,
    network_specs,
    numbers,
    policies,
    updaters,
)
from networks import configuration, copies, flat, policy, schedule, state_of
from oracle import LayerSpec, Network, NetworkSpec, Policy, Schedule, SlotSpec, UpdaterSpec
from oracle.bounds import Bounded
from oracle.normalization import CHUNK, STRATEGIES, norm
from oracle.schedules import next_rate, schedules, value_at
from oracle.updaters import UPDATERS

import flatstep as fs

DTYPES = (np.float32, np.float64)
ISAS = fs.available_isas()
RATE_TOLERANCE = 1e-14  # of schedules that go through the C library's exp, cos and pow


def assert_within_bounds(actual: Any, expected: Bounded, what: str) -> None:
    distance = np.abs(np.asarray(actual, expected.value.dtype) - expected.value)
    worst = int(np.argmax(distance - expected.error)) if distance.size else 0
    assert (distance <= expected.error).all(), (
        f"{what}[{worst}]: {actual[worst]!r}, expected {expected.value[worst]!r} "
        f"± {expected.error[worst]!r}, off by {distance[worst]!r}"
    )
    assert_no_subnormals(actual, what)


def assert_no_subnormals(actual: Any, what: str) -> None:
    magnitude = np.abs(actual)
    assert not ((magnitude > 0) & (magnitude < np.finfo(actual.dtype).tiny)).any(), what


def value_in_core(number: Any, iteration: int, epoch: int) -> float:
    """What the core makes of a schedule, near what the oracle makes of it.

    The bounds are of a step's own arithmetic. Where a cosine begins at 0, the C library's rounding
    is more of the value than all that arithmetic.
    """
    expected = value_at(number, iteration, epoch)
    if not isinstance(number, Schedule):
        return expected
    ours: float = schedule(number).value_at(iteration, epoch)
    assert abs(ours - expected) <= RATE_TOLERANCE * max(1, expected), number
    return ours


def hold_to_oracle(
    data: Numbers,
    first_iteration: int,
    epoch: int,
    batch_size: int,
    steps: int,
    apply: bool,
    gradient_scale: float = 1.0,
) -> None:
    """Steps of the core, each compared with one step of the oracle from the same state."""
    spec = data.spec
    params = data.params()
    updater = fs.MultiLayerUpdater(configuration(spec), params)
    data.fill_state({slot.key: updater.state(slot.key) for slot in spec.slots})
    oracle = Network(spec, flat(params), data.dtype, bounded=True, value_at=value_in_core)
    frozen = [slot.key for slot in spec.slots if slot.frozen]
    for iteration in range(first_iteration, first_iteration + steps):
        before = copies(params)
        oracle.params = {key: a.astype(np.float64) for key, a in flat(before).items()}
        oracle.state = state_of(updater, spec)
        gradients = data.gradients(iteration)
        expected = oracle.step(flat(gradients), iteration, epoch, batch_size, gradient_scale)

        when = {
            "iteration": iteration,
            "epoch": epoch,
            "batch_size": batch_size,
            "gradient_scale": gradient_scale,
        }
        given_gradients = copies(gradients)
        if apply:
            updater.step(given_gradients, **when)
            for key, gradient in gradients.items():
                np.testing.assert_array_equal(given_gradients[key], gradient)
            for key, array in flat(params).items():
                if key not in frozen:
                    assert_within_bounds(array, expected.params[key], f"parameter {key}")
        else:
            updater.update(given_gradients, **when)
            for key, update in flat(given_gradients).items():
                assert_within_bounds(update, expected.updates[key], f"update of {key}")
            for key in params:
                np.testing.assert_array_equal(params[key], before[key])
        for key in frozen:
            np.testing.assert_array_equal(params[key], before[key])
        after = state_of(updater, spec)
        for key, arrays in after.items():
            for name, array in arrays.items():
                if key in expected.state:
                    assert_within_bounds(array, expected.state[key][name], f"{name} of {key}")
                else:  # frozen, or the visible bias
                    np.testing.assert_array_equal(array, oracle.state[key][name])
        for key, rate in expected.rates.items():
            ours = updater.state_dict()["learning_rate"][key]  # before it is scaled
            assert abs(ours - rate) <= (iteration + 1) * RATE_TOLERANCE * rate, key
            (slot,) = (slot for slot in spec.slots if slot.key == key)
            assert updater.learning_rate(key) == ours * slot.learning_rate_scale
            oracle.rates[key] = ours
        assert updater.state_dict()["momentum"] == {
            slot.key: oracle.momenta.get(slot.key, slot.updater.values["momentum"])
            for slot in spec.slots
            if slot.momentum_schedule and not slot.frozen
        }


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40)
@given(data=st.data())
def test_networks(isa: str, data: st.DataObject) -> None:
    """Everything at once: layouts, strategies, regularisation, frozen layers, both orders."""
    fs.set_isa(isa)
    spec = data.draw(network_specs())
    dtype = data.draw(st.sampled_from(DTYPES))
    hold_to_oracle(
        data.draw(numbers(spec, dtype)),
        first_iteration=data.draw(st.integers(0, 40)),
        epoch=data.draw(st.integers(0, 12)),
        batch_size=data.draw(st.sampled_from([1, 2, 7, 32])),
        steps=3,
        apply=data.draw(st.booleans()),
        gradient_scale=data.draw(st.sampled_from([1.0, 1.0, 2.0**-10, 0.3, 1e3])),
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", sorted(UPDATERS))
@settings(max_examples=8)
@given(data=st.data())
def test_updaters(name: str, isa: str, data: st.DataObject) -> None:
    """Each updater by itself: all sizes and hyper-parameters, early and late in a training."""
    fs.set_isa(isa)
    semantics = data.draw(st.sampled_from(["dl4j-1.0", "dl4j-0.8"]))
    updater = data.draw(updaters(name))
    slot = SlotSpec("0_W", "0", "W", data.draw(SIZES), updater)
    spec = NetworkSpec(semantics, (LayerSpec("0"),), (slot,))
    hold_to_oracle(
        data.draw(numbers(spec, data.draw(st.sampled_from(DTYPES)))),
        first_iteration=data.draw(st.integers(0, 5) | st.integers(0, 10**7)),
        epoch=data.draw(st.integers(0, 100)),
        batch_size=1,
        steps=2,
        apply=data.draw(st.booleans()),
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=8)
@given(data=st.data())
def test_strategies(strategy: str, isa: str, data: st.DataObject) -> None:
    """Each strategy by itself, on gradients from tiny to huge: the update is the gradient."""
    fs.set_isa(isa)
    sizes = data.draw(st.lists(SIZES, min_size=1, max_size=3))
    in_global = STRATEGIES[strategy].group == "network"
    threshold = data.draw(st.sampled_from([1e-6, 0.5, 1.0, 1e6]))
    spec = NetworkSpec(
        data.draw(st.sampled_from(["dl4j-1.0", "dl4j-0.8"])),
        (LayerSpec("0", "None" if in_global else strategy, threshold, in_global),),
        tuple(
            SlotSpec(f"0_p{i}", "0", f"p{i}", size, UpdaterSpec("NoOp"))
            for i, size in enumerate(sizes)
        ),
        global_threshold=threshold if in_global else None,
        global_strategy=strategy,
    )
    dtype = data.draw(st.sampled_from(DTYPES))
    # Squares of such gradients overflow and vanish in the type itself: norms must not.
    exponent = {np.float32: 30, np.float64: 290}[dtype]
    scale = data.draw(st.sampled_from([10.0**-exponent, 1e-3, 1.0, 10.0**exponent]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    zeros = data.draw(st.sampled_from([0.0, 0.5]))
    hold_to_oracle(
        Numbers(spec, dtype, seed, gradient_scale=scale, zeros=zeros),
        first_iteration=0,
        epoch=0,
        batch_size=data.draw(st.sampled_from([1, 3])),
        steps=1,
        apply=False,
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_every_size(dtype: Any, isa: str) -> None:
    """Whole vectors and every tail, and slots that share a norm: each element counts once."""
    fs.set_isa(isa)
    config = fs.MultiLayerConfiguration(gradient_normalization="ClipL2PerLayer")
    rng = np.random.default_rng(0)
    for size in (*range(1, 131), CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5):
        gradients = {"0_W": rng.standard_normal(size), "0_b": rng.standard_normal(size % 7 + 1)}
        gradients = {key: g.astype(dtype) for key, g in gradients.items()}
        params = {key: np.zeros_like(g) for key, g in gradients.items()}
        updater = fs.MultiLayerUpdater(config, params)
        updater.step(gradients)
        layer = updater.last_step.layers["0"]
        expected = {key: norm(Bounded.exact(g, dtype)) for key, g in gradients.items()}
        expected["0_"] = norm(*(Bounded.exact(g, dtype) for g in gradients.values()))
        found = {"0_": layer.gradient_norm}
        found |= {f"0_{param}": step.gradient_norm for param, step in layer.params.items()}
        for key, bounded in expected.items():
            assert abs(found[key] - bounded.value) <= bounded.error, (key, size)


@settings(max_examples=200)
@given(
    number=schedules(RATES),
    iteration=st.integers(0, 200),
    epoch=st.integers(0, 60),
)
def test_schedules(number: Schedule, iteration: int, epoch: int) -> None:
    """A schedule is a pure function: the rate at any time, in any order."""
    configuration = fs.MultiLayerConfiguration(updater=fs.Sgd(schedule(number)))
    updater = fs.MultiLayerUpdater(configuration, {"0_W": np.zeros(1)})
    expected = value_at(number, iteration, epoch)
    ours = updater.learning_rate("0_W", iteration=iteration, epoch=epoch)
    assert abs(ours - expected) <= RATE_TOLERANCE * expected
    gradient = np.ones(1)
    updater.update({"0_W": gradient}, iteration=iteration, epoch=epoch)
    assert gradient[0] == ours


@settings(max_examples=200)
@given(rule=policies(), rate=RATES, first=st.integers(0, 15), steps=st.integers(1, 8))
def test_policies_compound(rule: Policy, rate: float, first: int, steps: int) -> None:
    """Each step changes the rate that the last one left."""
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Sgd(rate), learning_rate_policy=policy(rule), semantics="dl4j-0.8"
    )
    updater = fs.MultiLayerUpdater(configuration, {"0_W": np.zeros(1)})
    expected = rate
    for iteration in range(first, first + steps):
        expected = next_rate(rule, expected, iteration)
        gradient = np.ones(1)
        updater.update({"0_W": gradient}, iteration=iteration)
        ours = updater.learning_rate("0_W")
        assert gradient[0] == ours
        assert abs(ours - expected) <= (iteration - first + 1) * RATE_TOLERANCE * expected
