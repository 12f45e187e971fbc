"""Numbers at the ends of their ranges: rates that a policy has made NaN, scalars that the dtype
cannot hold, state that has overflowed, subnormal numbers inside a callback."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs


def run_to_nan() -> tuple[fs.MultiLayerUpdater, np.ndarray]:
    """0·inf: a rate of 0, and a power beyond the range of double."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=1e200),
    )
    params = np.ones(3)
    updater = fs.MultiLayerUpdater(config, {"0_W": params})
    for _ in range(3):
        updater.step({"0_W": np.ones(3)})
    return updater, params


def test_a_rate_that_a_policy_made_nan_is_nan(tmp_path: Path) -> None:
    updater, params = run_to_nan()
    assert np.isnan(params).all()
    rate = updater.learning_rate("0_W")
    assert rate is not None
    assert math.isnan(rate)
    state = updater.state_dict()
    assert math.isnan(state["learning_rate"]["0_W"])
    with pytest.raises(ValueError, match=r'learning_rate\["0_W"\]: expected a number, got nan'):
        updater.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r'save: learning_rate\["0_W"\]: .* got nan.*; set_learning_rate'
    ):
        updater.save(tmp_path / "run.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_rate_set_by_hand_ends_the_nan(tmp_path: Path) -> None:
    updater, params = run_to_nan()
    updater.set_learning_rate(0.5)
    params[:] = 1
    updater.iteration = 0
    updater.step({"0_W": np.ones(3)})
    np.testing.assert_array_equal(params, 0.5)
    updater.save(tmp_path / "run.safetensors")


def test_an_updater_without_a_rate_has_none() -> None:
    config = fs.MultiLayerConfiguration(updater=fs.NoOp())
    assert fs.MultiLayerUpdater(config, {"0_W": np.ones(3)}).learning_rate("0_W") is None


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"updater": fs.Adam(epsilon=1e-39)}, "Adam: epsilon"),
        ({"updater": fs.Adam(1e39)}, "Adam: learning_rate"),
        ({"updater": fs.Sgd(fs.MapSchedule({0: 0.1, 7: 1e-40}))}, "Sgd: learning_rate"),
        ({"updater": fs.Sgd(0.1), "l2": 1e39}, "l2"),
        ({"updater": fs.Sgd(0.1), "l1": 1e-40}, "l1"),
        ({"updater": fs.AdamW(0.1, 1e39)}, "weight_decay"),
    ],
)
def test_scalars_that_float32_cannot_hold_are_refused(settings: dict[str, Any], what: str) -> None:
    config = fs.MultiLayerConfiguration(**settings)
    with pytest.raises(
        ValueError,
        match=rf'^parameter "0_W": {what}: expected a number from 1\.17549435e-38 to '
        r"3\.40282347e\+38, the range of float32 or 0, got \S+; use float64 parameters, or a "
        "number in that range$",
    ):
        fs.MultiLayerUpdater(config, {"0_W": np.ones(3, np.float32)})
    fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})


@pytest.mark.parametrize("rate", [1e39, 1e-39])
def test_a_rate_that_float32_cannot_hold_is_not_set(rate: float) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match=r'^parameter "0_W": learning_rate: .* float32 or 0, got '):
        updater.set_learning_rate(rate)
    assert updater.learning_rate("0_W") == 0.5


def test_state_that_has_overflowed_is_reported() -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Adam())
    params = {"0_W": np.ones(2, np.float32), "1_W": np.ones(2, np.float32)}
    updater = fs.MultiLayerUpdater(config, params, monitor=True)
    ones = {key: np.ones(2, np.float32) for key in params}
    updater.step(ones)
    assert updater.last_step is not None
    assert updater.last_step.state_nonfinite == ()
    updater.step({**ones, "1_W": np.array([1, 1e21], np.float32)})
    before = params["1_W"].copy()
    for _ in range(3):
        updater.step(ones)
    assert updater.last_step.state_nonfinite == ("1_W",)
    assert params["1_W"][0] != before[0]
    assert params["1_W"][1] == before[1]  # for ever


class Halves(fs.CustomUpdater):
    """Looks at a subnormal number."""

    def __init__(self, seen: list[bool]) -> None:
        self.seen = seen

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        self.seen.append(float("5e-324") * 1.0 != 0)
        g *= 0.5


def test_a_callback_has_subnormal_numbers() -> None:
    seen: list[bool] = []
    config = fs.MultiLayerConfiguration(updater=Halves(seen))
    params = np.ones(3)
    fs.MultiLayerUpdater(config, {"0_W": params}).step({"0_W": np.ones(3)})
    np.testing.assert_array_equal(params, 0.5)
    assert seen == [True]
