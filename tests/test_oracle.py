"""Holds the NumPy oracle to the real DL4J: every golden case, step by step.

The oracle is what the compiled core is tested against, so it is proved first, on its own, without
flatstep.
"""

from __future__ import annotations

import numpy as np
import pytest
from golden_cases import GoldenCase, assert_close, assert_rates_close, load_cases
from oracle import Network, from_state_view, state_view, updater_blocks
from oracle.schedules import value_at
from oracle.state_view import pieces

CASES = list(load_cases())


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
            slot.layer: result.momenta.get(slot.key, value_at(slot.updater.values["momentum"], 0, 0))
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


def test_every_case_is_run() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
