"""What the real releases get wrong, and that flatstep does what their documents say instead.

One test per slip: DL4J 0.8.0 and 0.9.1, then 1.0.0-M2.1. The golden cases hold flatstep to the
releases everywhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_cases import load_cases

import flatstep as fs

OLD: dict[str, Any] = {"semantics": "dl4j-0.8"}


def update(updater: Any, gradient: Any, **options: Any) -> Any:
    """The update of a single parameter."""
    (key,) = updater.parameters
    gradient = np.array(gradient, updater.dtype)
    updater.update({key: gradient}, **options)
    return gradient


# --------------------------------------------------------------------------------- 0.8.0 and 0.9.1


@pytest.mark.parametrize("semantics", ["dl4j-0.8", "dl4j-1.0"])
@pytest.mark.parametrize("strategy", ["RenormalizeL2PerLayer", "RenormalizeL2PerParamType"])
def test_renormalising_a_zero_gradient(strategy: str, semantics: Any) -> None:
    """0.8.0 divides by zero and gives NaN, 1.0 divides by 1e-5; a zero gradient stays zero."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.5), gradient_normalization=strategy, semantics=semantics
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(4)})
    np.testing.assert_array_equal(update(updater, np.zeros(4)), 0.0)
    tiny = update(updater, [3e-6, 0, 0, 4e-6])
    np.testing.assert_allclose(tiny, [0.3, 0, 0, 0.4], rtol=1e-15)


def test_the_recorded_runs_show_that_0_8_0_gives_nan() -> None:
    """The slip is real, and it is the only NaN in an update of any recorded run."""
    cases = {case.name: case for case in load_cases()}
    with_nan = {name for name, case in cases.items() if np.isnan(case.array("update")).any()}
    assert with_nan
    assert all(cases[name].raw["semantics"] == "dl4j-0.8" for name in with_nan)
    for name in with_nan:
        strategies = {
            layer["gradient_normalization"] for layer in cases[name].raw["layers"].values()
        }
        assert strategies <= {"RenormalizeL2PerLayer", "RenormalizeL2PerParamType"}


def test_nesterovs_state_view_is_live() -> None:
    """0.8.0 replaces the array behind its view, so a saved model loses its momentum."""
    config = fs.MultiLayerConfiguration(updater=fs.Nesterovs(0.5, momentum=0.5), **OLD)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    view = updater.state_view
    update(updater, np.ones(3))
    np.testing.assert_array_equal(view, -0.5)
    saved = np.array(updater.state_view)
    resumed = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    resumed.state_view[:] = saved
    resumed.iteration = updater.iteration
    np.testing.assert_array_equal(update(resumed, np.ones(3)), update(updater, np.ones(3)))


def test_ada_deltas_rho_has_a_default() -> None:
    """0.8.0 leaves rho NaN unless it is set, and every update with it."""
    config = fs.MultiLayerConfiguration(updater=fs.AdaDelta(), **OLD)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    assert fs.AdaDelta().rho == 0.95
    s = 0.05
    expected = np.sqrt(1e-6) / np.sqrt(s + 1e-6)
    np.testing.assert_allclose(update(updater, np.ones(3)), expected, rtol=1e-14)


def test_bias_learning_rate_is_used() -> None:
    """0.9.1 reports it but steps with the weights' rate."""
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), bias_learning_rate=0.125, **OLD)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "0_b": np.ones(2)})
    gradients = {"0_W": np.ones(2), "0_b": np.ones(2)}
    updater.update(gradients)
    np.testing.assert_array_equal(gradients["0_W"], 0.5)
    np.testing.assert_array_equal(gradients["0_b"], 0.125)
    assert updater.learning_rate("0_b") == 0.125


def test_visible_bias_is_not_divided_by_the_batch() -> None:
    """0.9.1 divides it; it stops after normalisation, as in 0.8.0."""
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), **OLD)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2), "0_vb": np.ones(2)})
    gradients = {"0_W": np.ones(2), "0_vb": np.ones(2)}
    updater.update(gradients, batch_size=4)
    np.testing.assert_array_equal(gradients["0_W"], 0.125)
    np.testing.assert_array_equal(gradients["0_vb"], 1.0)


def test_poly_policy_past_its_end() -> None:
    """0.8.0 takes a power of a negative number, NaN; the rate stays 0."""
    policy = fs.LearningRatePolicy("Poly", power=0.5, num_iterations=2)
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), learning_rate_policy=policy, **OLD)
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(1)})
    rates = [float(update(updater, np.ones(1))[0]) for _ in range(4)]
    assert rates == [1.0, np.sqrt(0.5), 0.0, 0.0]


def test_the_documents_clamp() -> None:
    """They say sign(g)·max(threshold, |g|), which would enlarge small gradients: it is min."""
    for semantics in ("dl4j-0.8", "dl4j-1.0"):
        config = fs.MultiLayerConfiguration(
            updater=fs.NoOp(),
            gradient_normalization="ClipElementWiseAbsoluteValue",
            gradient_normalization_threshold=1.0,
            semantics=semantics,
        )
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(5)})
        clamped = update(updater, [-3.0, -0.5, 0.0, 0.25, 7.0])
        np.testing.assert_array_equal(clamped, [-1.0, -0.5, 0.0, 0.25, 1.0])


# ------------------------------------------------------------------------------------- 1.0.0-M2.1


def test_poly_schedule_decays() -> None:
    """1.0.0-M2.1 computes (1 + i/max)^power, which grows."""
    schedule = fs.PolySchedule(1.0, power=2.0, max_iter=4)
    assert [schedule.value_at(i) for i in range(6)] == [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(schedule))
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(1)})
    rates = [float(update(updater, np.ones(1))[0]) for _ in range(6)]
    assert rates == [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]


def test_ramp_schedule_is_saved_with_its_fields() -> None:
    """1.0.0-M2.1 writes a RampSchedule without base and length, so it cannot be read again."""
    schedule = fs.RampSchedule(fs.StepSchedule(0.5, decay_rate=0.5, step=8), num_iter=4)
    assert [schedule.value_at(i) for i in (0, 1, 2, 3, 8)] == [0.125, 0.25, 0.375, 0.5, 0.25]
    saved = fs.MultiLayerConfiguration(updater=fs.Sgd(schedule)).to_json()
    again = fs.MultiLayerConfiguration.from_json(saved).updater.learning_rate  # type: ignore[union-attr]
    assert [again.value_at(i) for i in (0, 1, 2, 3, 8)] == [0.125, 0.25, 0.375, 0.5, 0.25]


def test_ada_belief_can_be_created_and_works() -> None:
    """1.0.0-M2.1 has the formula, but its class cannot be instantiated."""
    config = fs.MultiLayerConfiguration(updater=fs.AdaBelief(0.1, beta1=0.5, beta2=0.75))
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    np.testing.assert_allclose(update(updater, [4.0, 4.0]), 0.2, rtol=1e-12)  # m 2, s 1, ŝ 4
    assert sorted(updater.state("0_W")) == ["m", "s"]


def test_ada_grad_with_a_schedule_keeps_its_epsilon() -> None:
    """1.0.0-M2.1 leaves epsilon NaN when AdaGrad is made with a schedule."""
    made = fs.AdaGrad(fs.FixedSchedule(0.5))
    assert made.epsilon == 1e-6
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=made), {"0_W": np.ones(2)})
    expected = 0.5 * 3 / (np.sqrt(9 + 1e-6) + 1e-6)
    np.testing.assert_allclose(update(updater, [3.0, 3.0]), expected, rtol=1e-14)


# ---------------------------------------------------- what no recorded run covers, by its document


def test_ada_grads_initial_value() -> None:
    """ε in 0.8, 1e-6 in 1.0 whatever ε: which of the two no recorded run tells apart."""
    for semantics, initial in (("dl4j-0.8", 0.25), ("dl4j-1.0", 1e-6)):
        config = fs.MultiLayerConfiguration(updater=fs.AdaGrad(0.5, 0.25), semantics=semantics)
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
        np.testing.assert_array_equal(updater.state("0_W")["h"], initial)


def test_adams_alpha_in_0_8() -> None:
    """Where α is 0, 0.8 takes ε in its place; 1.0 does not."""
    for semantics, alpha in (("dl4j-0.8", 1e-3), ("dl4j-1.0", 0.0)):
        config = fs.MultiLayerConfiguration(
            updater=fs.Adam(0.0, beta1=0.5, beta2=0.75, epsilon=1e-3), semantics=semantics
        )
        updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
        expected = alpha * 2 / (2 + 1e-3)  # m 2, √v 2
        np.testing.assert_allclose(update(updater, [4.0, 4.0]), expected, rtol=1e-14)
