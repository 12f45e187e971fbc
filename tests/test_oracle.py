"""Holds the NumPy oracle to the real DL4J: every golden case, step by step.

The oracle is what the compiled core is tested against, so it is proved first, on its own, without
flatstep.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from golden_cases import GoldenCase, assert_close, assert_rates_close, load_cases
from oracle import Network, from_state_view, state_view, updater_blocks
from oracle.bounds import EXACT, Bounded, unit_roundoff
from oracle.schedules import value_at
from oracle.state_view import pieces
from oracle.updaters import UPDATERS

CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_oracle_follows_dl4j(case: GoldenCase) -> None:
    spec = case.spec()
    frozen = {slot.key for slot in spec.slots if slot.frozen}
    initial = case.array("initial_params").astype(np.float64)
    network = Network(spec, case.split(initial), case.dtype)
    expected_state = case.array("initial_state").astype(np.float64)
    fresh = state_view(spec, network.state)
    np.testing.assert_allclose(fresh, expected_state, rtol=case.tolerance)
    if case.updater_blocks is not None:
        ours = [block._asdict() for block in updater_blocks(spec)]
        assert [{k: v for k, v in b.items() if k != "keys"} for b in ours] == case.updater_blocks
    for row, step in enumerate(case.steps):
        assert set(step.absent) == frozen
        expected = case.array("update")[row].astype(np.float64)
        gradient = np.where(np.isnan(expected), 0, case.array("gradient")[row])
        expected = np.where(np.isnan(expected), 0, expected)
        rates = {
            slot.key: rate
            for slot in spec.slots
            if (rate := network.rate(slot, step.iteration, step.epoch)) is not None
        }
        result = network.step(case.split(gradient), step.iteration, step.epoch, step.batch_size)
        rates |= result.rates
        assert_rates_close(
            rates, {key: rate for key, rate in step.learning_rate.items() if key in rates}
        )
        momenta = {
            slot.layer: result.momenta.get(
                slot.key, value_at(slot.updater.values["momentum"], 0, 0)
            )
            for slot in spec.slots
            if slot.updater.name == "Nesterovs"
        }
        assert_rates_close(momenta, step.momentum)
        for key, update in case.split(expected).items():
            if key not in frozen:
                what = f"{key} in iteration {step.iteration}"
                assert_close(result.updates[key], update, case.tolerance, what)
    for key, params in case.split(case.array("final_params").astype(np.float64)).items():
        if key not in frozen and not case.written_by_forward_pass(key):
            known = ~np.isnan(params)
            assert_close(network.params[key][known], params[known], case.tolerance, key)
    final_state = case.array("final_state")
    if final_state is not None:
        recorded = from_state_view(spec, final_state.astype(np.float64))
        for slot, name in pieces(spec):
            what = f"{name} of {slot.key}"
            assert_close(
                network.state[slot.key][name], recorded[slot.key][name], case.tolerance, what
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(UPDATERS))
def test_bounds_hold_and_are_tight(name: str, dtype: type) -> None:
    """NumPy's own evaluation in `dtype` stays within the bounds, which are a few ULP: as many as
    the updater's row says. This is the tolerance of the property tests, stated.
    """
    updater = UPDATERS[name]
    rng = np.random.default_rng(0)
    g = (rng.standard_normal(5000) * 10.0 ** rng.uniform(-3, 3, 5000)).astype(dtype)
    values = {
        "learning_rate": 0.05, "momentum": 0.9, "rms_decay": 0.95, "rho": 0.95, "beta1": 0.9,
        "beta2": 0.999, "epsilon": 1e-8,
    }  # fmt: skip
    hyper = {argument: values.get(argument, x) for argument, x in updater.defaults.items()}
    hyper |= {"t": 10, "dl4j_0_8": False}
    share = rng.uniform(0.01, 0.25, 5000)
    state = {n: array.beside(g, share).astype(dtype) for n, array in updater.state.items()}
    computed, computed_state = updater.formula(g, state, **hyper)
    exact, exact_state = updater.formula(
        Bounded.exact(g, dtype), {n: Bounded.exact(a, dtype) for n, a in state.items()}, **hyper
    )
    assert computed.dtype == dtype
    pairs = [(computed, exact)] + [(computed_state[n], exact_state[n]) for n in state]
    for plain, bounded in pairs:
        assert (np.abs(plain.astype(EXACT) - bounded.value) <= bounded.error).all()
    unit = unit_roundoff(dtype) * (1 if dtype is np.float32 else 3)
    roundoffs = exact.error / np.maximum(np.abs(exact.value), np.finfo(dtype).tiny) / unit
    assert np.max(roundoffs) <= updater.roundoffs


def test_bounds_grow_where_digits_cancel() -> None:
    """1 + ε − 1 keeps few digits, and the bound says how few."""
    one = Bounded.exact(np.array([1.0, 1e3, 1e6]), np.float32)
    difference = (one + Bounded.exact(np.full(3, 1e-3), np.float32)) - one
    relative = difference.error / np.abs(difference.value)
    assert (np.diff(relative) > 0).all()
    computed = (np.float32([1.0, 1e3, 1e6]) + np.float32(1e-3)) - np.float32([1.0, 1e3, 1e6])
    assert (np.abs(computed - difference.value) <= difference.error).all()


def test_every_case_is_run() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    if "FLATSTEP_GOLDENS" not in os.environ:
        assert len(CASES) == 498
