"""Every recorded run of the real DL4J, through the public API: 498 cases, one test each.

`FLATSTEP_GOLDENS=DIR pytest tests/test_dl4j_goldens.py` runs the cases of DIR. Settings come from
the case alone. Each case is run twice: `update` on one flat view with the parameters updated by the
test, as DL4J's solver does, and `step` on separate arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from golden_cases import GoldenCase, Step, assert_close, assert_rates_close, load_cases
from networks import configuration, copies, flat
from oracle import NetworkSpec, from_state_view
from oracle.state_view import pieces

import flatstep as fs

UPDATERS = {
    "MultiLayerNetwork": fs.MultiLayerUpdater,
    "ComputationGraph": fs.ComputationGraphUpdater,
}


def make_updater(case: GoldenCase, spec: NetworkSpec, params: dict[str, Any]) -> Any:
    """An updater that starts where the recorded run started."""
    updater = UPDATERS[case.network](configuration(spec), params)
    recorded = case.array("initial_state")
    assert updater.state_view.shape == recorded.shape
    np.testing.assert_allclose(updater.state_view, recorded, rtol=case.tolerance)
    updater.state_view[...] = recorded
    return updater


def recorded_steps(case: GoldenCase) -> Iterator[tuple[Step, Any, Any]]:
    """(step, gradient, update) with NaN as zero: 0.8.0 renormalises a zero gradient to NaN."""
    for row, step in enumerate(case.steps):
        update = case.array("update")[row]
        gradient = np.where(np.isnan(update), 0, case.array("gradient")[row])
        yield step, gradient, np.where(np.isnan(update), 0, update)


def assert_rates(case: GoldenCase, spec: NetworkSpec, updater: Any, step: Step) -> None:
    """The rates and momenta that the step used."""
    with_rate = [s.key for s in spec.slots if "learning_rate" in s.updater.values]
    rates = {key: updater.learning_rate(key, step.iteration, step.epoch) for key in with_rate}
    assert_rates_close(rates, {k: v for k, v in step.learning_rate.items() if k in with_rate})
    kept = updater.state_dict()["momentum"]
    momenta = {
        slot.layer: kept.get(slot.key, slot.updater.values["momentum"])
        for slot in spec.slots
        if slot.updater.name == "Nesterovs"
    }
    assert_rates_close(momenta, step.momentum)


def assert_updates(
    case: GoldenCase, actual: dict[str, Any], expected: Any, step: Step, what: str
) -> None:
    for key, update in case.split(expected.astype(np.float64)).items():
        if key not in step.absent:
            where = f"{what} of {key} in iteration {step.iteration}"
            assert_close(actual[key], update, case.tolerance, where)


def assert_end(
    case: GoldenCase, spec: NetworkSpec, updater: Any, params: dict[str, Any], frozen: set[str]
) -> None:
    """Final parameters and state, in the release's own order."""
    expected = case.split(case.array("final_params").astype(np.float64))
    initial = case.split(case.array("initial_params"))
    for key, array in flat(params).items():
        if key in frozen:
            np.testing.assert_array_equal(array, initial[key])
        elif not case.written_by_forward_pass(key):
            known = ~np.isnan(expected[key])
            assert_close(array[known], expected[key][known], case.tolerance, key)
    ours = from_state_view(spec, updater.state_view)
    for slot, name in pieces(spec):
        named = flat(updater.state(slot.key))[name]
        np.testing.assert_array_equal(named, ours[slot.key][name])
    recorded = case.array("final_state")
    if recorded is not None:
        theirs = from_state_view(spec, recorded.astype(np.float64))
        for slot, name in pieces(spec):
            where = f"{name} of {slot.key}"
            assert_close(ours[slot.key][name], theirs[slot.key][name], case.tolerance, where)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_follows_dl4j(case: GoldenCase) -> None:
    spec = case.spec()
    frozen = {slot.key for slot in spec.slots if slot.frozen}

    flat_params = case.array("initial_params").copy()
    params = case.shaped(flat_params)
    updater = make_updater(case, spec, params)
    own_params = copies(params)
    stepper = make_updater(case, spec, own_params)

    if case.updater_blocks is not None:
        ranges = ("param_start", "param_end", "state_start", "state_end")
        blocks = [{n: getattr(b, n) for n in ranges} for b in updater.updater_blocks]
        assert blocks == case.updater_blocks

    for step, gradient, expected in recorded_steps(case):
        assert set(step.absent) == frozen
        when = {
            "iteration": step.iteration,
            "epoch": step.epoch,
            "batch_size": step.batch_size,
        }
        gradients = {k: g for k, g in case.shaped(gradient.copy()).items() if k not in frozen}
        updater.update(gradients, **when)
        assert_updates(case, flat(gradients), expected, step, "update")
        assert_rates(case, spec, updater, step)
        for key, update in gradients.items():
            params[key] -= update

        gradients = copies({k: g for k, g in case.shaped(gradient).items() if k not in frozen})
        before = copies(own_params)
        stepper.step(gradients, **when)
        assert_rates(case, spec, stepper, step)
        for key, array in case.shaped(gradient).items():
            if key not in frozen:
                np.testing.assert_array_equal(gradients[key], array)
        # What was subtracted shows up to the rounding of the subtraction itself.
        for key, update in case.split(expected.astype(np.float64)).items():
            if key not in frozen:
                old = flat(before)[key].astype(np.float64)
                moved = old - flat(own_params)[key].astype(np.float64)
                room = case.tolerance * np.max(np.abs(update)) + np.spacing(
                    np.max(np.abs(old)).astype(case.dtype)
                )
                assert np.max(np.abs(moved - update)) <= room, f"{key}, {step.iteration}"

    assert_end(case, spec, updater, params, frozen)
    assert_end(case, spec, stepper, own_params, frozen)
