"""Trust ratios: what Lamb and Lars scale by the norm of a whole parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flatstep as fs
from flatstep.last_step import ParamStep

RULES = {
    "Lamb": fs.Lamb(0.1),
    "Lamb, decayed first": fs.Lamb(0.1, decay_first=True),
    "Lars": fs.Lars(0.1, trust_coefficient=0.5),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def arrays(seed: int, size: int = 50_000) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"0_W": random.normal(size=size), "0_b": random.normal(size=7)}


def made(rule: Any, params: dict[str, Any], **settings: Any) -> fs.MultiLayerUpdater:
    monitor = settings.pop("monitor", False)
    config = fs.MultiLayerConfiguration(updater=rule, **settings)
    return fs.MultiLayerUpdater(config, params, monitor=monitor)


def ratios(updater: fs.MultiLayerUpdater) -> dict[str, float | None]:
    last = updater.last_step
    assert last is not None
    return {name: param.trust_ratio for name, param in last.layers["0"].params.items()}


def test_lamb_makes_the_update_as_long_as_its_share_of_the_parameter() -> None:
    params = arrays(0)
    before = {key: array.copy() for key, array in params.items()}
    updater = made(fs.Lamb(0.25), params, weight_decay=0.3, weight_decay_bias=0.3)
    gradients = arrays(1)
    updater.step(gradients)
    for key, name in (("0_W", "W"), ("0_b", "b")):
        # In the first step m̂ is g, and v̂ g².
        direction = gradients[key] / (np.abs(gradients[key]) + 1e-6) + 0.3 * before[key]
        ratio = ratios(updater)[name]
        assert ratio == pytest.approx(np.linalg.norm(before[key]) / np.linalg.norm(direction))
        update = before[key] - params[key]
        np.testing.assert_allclose(update, 0.25 * ratio * direction, rtol=1e-9, atol=1e-15)
        assert np.linalg.norm(update) == pytest.approx(0.25 * np.linalg.norm(before[key]))


def test_lars_scales_the_regularised_gradient_before_the_velocity() -> None:
    params = arrays(0)
    weight = params["0_W"].copy()
    updater = made(fs.Lars(0.5, momentum=0.9, trust_coefficient=0.01), params, l2=0.2)
    velocity = np.zeros_like(weight)
    for step in range(3):
        gradients = arrays(step + 1)
        updater.step(gradients)
        g = gradients["0_W"] + 0.2 * weight
        ratio = 0.01 * np.linalg.norm(weight) / np.linalg.norm(g)
        assert ratios(updater)["W"] == pytest.approx(ratio, rel=1e-12)
        velocity = 0.9 * velocity + 0.5 * ratio * g
        weight -= velocity
        np.testing.assert_allclose(params["0_W"], weight, rtol=0, atol=1e-13)


@pytest.mark.parametrize("decay_first", [False, True])
def test_lamb_is_as_long_whatever_the_batch_an_update_is_divided_by(decay_first: bool) -> None:
    """Under dl4j-0.8, where what is decayed is divided, too."""
    share = 0.25 * (1 - 0.3 / 8 if decay_first else 1)
    rule = fs.Lamb(0.25, decay_first=decay_first)
    params = arrays(0)
    before = {key: array.copy() for key, array in params.items()}
    made(rule, params, l2=0.3, semantics="dl4j-0.8").step(arrays(1), batch_size=8)
    update = before["0_W"] - params["0_W"]
    if decay_first:
        update -= 0.3 / 8 * before["0_W"]
    assert np.linalg.norm(update) == pytest.approx(share * np.linalg.norm(before["0_W"]))
    update = before["0_b"] - params["0_b"]
    assert np.linalg.norm(update) == pytest.approx(0.25 * np.linalg.norm(before["0_b"]))


@each_rule
@pytest.mark.parametrize("what", ["parameter", "gradient"])
def test_where_a_norm_is_zero_the_ratio_is_one(rule: Any, what: str) -> None:
    params, gradients = arrays(0), arrays(1)
    (params if what == "parameter" else gradients)["0_b"][:] = 0.0
    updater = made(rule, params)
    updater.step(gradients)
    assert ratios(updater)["b"] == 1.0
    assert ratios(updater)["W"] != 1.0
    assert np.isfinite(params["0_b"]).all()


@each_rule
def test_a_rate_of_zero_changes_no_parameter(rule: Any) -> None:
    params = arrays(0)
    before = params["0_W"].copy()
    updater = made(rule, params, weight_decay=0.1)
    updater.set_learning_rate(0.0)
    updater.step(arrays(1))
    np.testing.assert_array_equal(params["0_W"], before)


@each_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_update_and_step_and_monitor_give_the_same_bits(rule: Any, dtype: Any) -> None:
    params = [{k: a.astype(dtype) for k, a in arrays(0).items()} for _ in range(3)]
    stepped, monitored, updated = (
        made(rule, p, weight_decay=0.1, l1=1e-3, monitor=i == 1) for i, p in enumerate(params)
    )
    for seed in range(1, 4):
        gradients = {k: a.astype(dtype) for k, a in arrays(seed).items()}
        stepped.step(gradients)
        monitored.step(gradients)
        updated.update(gradients)
        for key, update in gradients.items():
            params[2][key] -= update
    for key in params[0]:
        np.testing.assert_array_equal(params[0][key], params[1][key])
        np.testing.assert_array_equal(params[0][key], params[2][key])
    np.testing.assert_array_equal(stepped.state_view, monitored.state_view)
    assert ratios(stepped) == ratios(monitored)


def test_monitoring_sees_the_update_as_it_was_applied() -> None:
    params = arrays(0)
    updater = made(fs.Lamb(0.125), params, monitor=True)
    updater.step(arrays(1))
    last = updater.last_step
    assert last is not None
    assert last.layers["0"].params["W"].update_ratio == pytest.approx(0.125)


def test_others_have_none() -> None:
    params = arrays(0)
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(),
        layers={"0": fs.LayerConfiguration(params={"W": fs.ParamConfiguration(updater=fs.Lamb())})},
    )
    updater = fs.MultiLayerUpdater(config, params)
    updater.step(arrays(1))
    found = ratios(updater)
    assert found["b"] is None
    assert found["W"] is not None


@each_rule
def test_a_refused_step_changes_nothing(rule: Any) -> None:
    params = arrays(0)
    updater = made(rule, params)
    updater.step(arrays(1))
    state, weight = updater.state_view.copy(), params["0_W"].copy()
    bad = arrays(2)
    bad["0_b"][3] = np.nan
    with pytest.raises(fs.NonFiniteGradientError):
        updater.step(bad)
    np.testing.assert_array_equal(updater.state_view, state)
    np.testing.assert_array_equal(params["0_W"], weight)


def test_an_old_report_has_no_ratio() -> None:
    """A pickle of release 0.1 has five fields."""
    step = ParamStep.__new__(ParamStep)
    step.__setstate__([1.0, 0.5, True, 0.1, None])  # type: ignore[attr-defined]
    assert step.trust_ratio is None
    assert step.factor == 0.5
