"""`DynamicLossScale` against ``torch.amp.GradScaler``, step by step: run by test_peers.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from peers import peer

import flatstep as fs

torch: Any = peer("torch")

SETTINGS: list[dict[str, Any]] = [
    {},
    {"growth_interval": 7},
    {"init_scale": 3.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 2},
    {"init_scale": 1e4 / 3, "growth_factor": 1.001, "backoff_factor": 0.999, "growth_interval": 1},
]
#: What both have in common: theirs goes on to 0, and to the largest number of float32.
LEAST, LARGEST = 2.0**-90, 2.0**90


def updater_of(on_nonfinite: Any) -> fs.MultiLayerUpdater:
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.125), on_nonfinite=on_nonfinite)
    return fs.MultiLayerUpdater(config, {"0_W": np.ones(4, np.float32)})


def scaler_of(settings: dict[str, Any]) -> tuple[Any, Any, Any]:
    parameter = torch.nn.Parameter(torch.ones(4))
    scaler = torch.amp.GradScaler("cpu", **settings)
    scaler.scale(torch.zeros(1))  # from now on its scale is a number of float32
    return parameter, torch.optim.SGD([parameter], lr=0.125), scaler


def test_the_defaults() -> None:
    theirs = torch.amp.GradScaler("cpu")
    ours = fs.DynamicLossScale(updater_of("raise"))
    assert ours.value == theirs.get_scale()
    assert ours.growth_factor == theirs.get_growth_factor()
    assert ours.backoff_factor == theirs.get_backoff_factor()
    assert ours.growth_interval == theirs.get_growth_interval()


@pytest.mark.parametrize("how", ["raise", "skip"])
@pytest.mark.parametrize("bad", [0.0, 0.002, 0.1, 0.5])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_course_of_the_scale(settings: dict[str, Any], bad: float, how: str) -> None:
    """Every scale, every count, which steps are taken, and what they do to the parameters."""
    random = np.random.default_rng(3)
    updater = updater_of(how)
    ours = fs.DynamicLossScale(updater, **settings)
    parameter, optimizer, theirs = scaler_of(settings)
    scales = []
    for step in range(600 if settings else 4500):
        gradient = random.standard_normal(4).astype(np.float32)
        if random.random() < bad:
            gradient[random.integers(4)] = random.choice([np.inf, -np.inf, np.nan])
        # From the same parameters, so that what one step rounds is not in all that follow.
        updater.parameters["0_W"][...] = parameter.detach().numpy()
        optimizer.zero_grad()
        theirs.scale((parameter * torch.from_numpy(gradient)).sum()).backward()
        scaled = parameter.grad.numpy().copy()
        theirs.step(optimizer)
        theirs.update()
        before = updater.parameters["0_W"].copy()
        assert ours.step({"0_W": scaled}) == np.isfinite(scaled).all()
        assert ours.value == theirs.get_scale(), step
        assert ours.good_steps == theirs._get_growth_tracker()
        change, expected = updater.parameters["0_W"] - before, parameter.detach().numpy() - before
        np.testing.assert_allclose(change, expected, rtol=0, atol=1e-6)
        scales.append(ours.value)
        if not LEAST < ours.value < LARGEST:
            break
    assert len(set(scales)) > 1
    assert ours.skipped_steps == len(scales) - updater.iteration


@pytest.mark.parametrize("how", ["raise", "skip"])
def test_micro_batches(how: str) -> None:
    """One that overflows costs its step, there as an infinity in what was added up."""
    random = np.random.default_rng(4)
    settings = {"growth_interval": 3}
    updater = updater_of(how)
    ours = fs.DynamicLossScale(updater, **settings)
    parameter, optimizer, theirs = scaler_of(settings)
    steps = []
    for _ in range(300):
        optimizer.zero_grad()
        for _ in range(3):
            gradient = random.standard_normal(4).astype(np.float32)
            gradient[0] = np.inf if random.random() < 0.1 else gradient[0]
            theirs.scale((parameter * torch.from_numpy(gradient)).sum()).backward()
            ours.accumulate({"0_W": gradient * np.float32(ours.value)})
        theirs.step(optimizer)
        theirs.update()
        steps.append(ours.step())
        assert ours.value == theirs.get_scale()
        assert ours.good_steps == theirs._get_growth_tracker()
    assert 0.5 < np.mean(steps) < 0.9
    np.testing.assert_allclose(updater.parameters["0_W"], parameter.detach().numpy(), rtol=1e-4)


def test_the_scale_of_half_precision() -> None:
    """Rounded to its dtype, infinite where it is too large."""
    values = np.float16(np.logspace(-7, 4, 200))
    ours = fs.DynamicLossScale(updater_of("raise"))
    theirs = torch.amp.GradScaler("cpu")
    expected = theirs.scale(torch.from_numpy(values)).numpy()
    assert expected.dtype == np.float16
    assert np.isinf(expected).any()
    assert ours.scale(values).tobytes() == expected.tobytes()
