"""The solver: what it calls in which order, and that the fused step is what both halves do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flatstep as fs


def _quadratic(
    configuration: fs.MultiLayerConfiguration | None = None,
) -> tuple[fs.MultiLayerUpdater, dict[str, np.ndarray], Any]:
    """An updater, its parameters, and a function that computes half their squared length."""
    rng = np.random.default_rng(1)
    parameters = {
        "0_W": rng.standard_normal((5, 4)),
        "0_b": rng.standard_normal(4),
        "1_W": rng.standard_normal((4, 3)),
    }

    def gradient_and_score() -> tuple[float, dict[str, np.ndarray]]:
        score = sum(float(np.sum(array * array)) for array in parameters.values()) / 2
        return score, {key: array.copy() for key, array in parameters.items()}

    if configuration is None:
        configuration = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))
    return fs.MultiLayerUpdater(configuration, parameters), parameters, gradient_and_score


class _Recorder(fs.Listener):
    def __init__(self, calls: list[tuple[Any, ...]], weights: np.ndarray) -> None:
        self.calls = calls
        self.weights = weights

    def on_gradient_calculation(self, solver: Any, gradients: Any) -> None:
        self.calls.append(("gradient", solver.score, gradients, self.weights.copy()))

    def iteration_done(self, solver: Any, iteration: int) -> None:
        self.calls.append(("done", solver.score, iteration, self.weights.copy()))


def test_listeners_are_told_before_and_after_the_step() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    updater.iteration = 7
    before = parameters["0_W"].copy()
    first: list[tuple[Any, ...]] = []
    second: list[tuple[Any, ...]] = []
    computed = gradient_and_score()
    solver = fs.StochasticGradientDescent(
        updater,
        lambda: computed,
        [_Recorder(first, parameters["0_W"]), _Recorder(second, parameters["0_W"])],
    )
    assert solver.optimize() == computed[0]
    assert [call[0] for call in first] == ["gradient", "done"]
    assert [call[:2] for call in first] == [call[:2] for call in second]
    (_, score, gradients, weights), (_, _, iteration, weights_after) = first
    assert score == computed[0]
    assert gradients is computed[1]
    np.testing.assert_array_equal(weights, before)
    assert iteration == 7
    assert updater.iteration == 8
    np.testing.assert_array_equal(weights_after, before - 0.5 * computed[1]["0_W"])


def test_every_listener_hears_of_the_gradients_before_any_hears_of_the_step() -> None:
    updater, _, gradient_and_score = _quadratic()
    calls: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_gradient_calculation(self, solver: Any, gradients: Any) -> None:
            calls.append(f"gradient {self.name}")

        def iteration_done(self, solver: Any, iteration: int) -> None:
            calls.append(f"done {self.name}")

    listeners: Any = [Named("a"), Named("b")]
    fs.StochasticGradientDescent(updater, gradient_and_score, listeners).optimize()
    assert calls == ["gradient a", "gradient b", "done a", "done b"]


def test_score_and_old_score() -> None:
    updater, _, gradient_and_score = _quadratic()
    solver = fs.StochasticGradientDescent(updater, gradient_and_score)
    assert math.isnan(solver.score)
    assert math.isnan(solver.old_score)
    scores = [solver.optimize() for _ in range(3)]
    assert scores == sorted(scores, reverse=True)
    assert (solver.old_score, solver.score) == (scores[1], scores[2])


def test_a_score_of_any_number_type_becomes_a_float() -> None:
    updater, _, gradient_and_score = _quadratic()
    solver = fs.StochasticGradientDescent(
        updater, lambda: (np.float32(2.5), gradient_and_score()[1])
    )
    assert type(solver.optimize()) is float
    assert solver.score == 2.5


def test_the_step_leaves_the_gradients_as_they_were() -> None:
    updater, _, gradient_and_score = _quadratic()
    computed = gradient_and_score()
    copies = {key: array.copy() for key, array in computed[1].items()}
    fs.StochasticGradientDescent(updater, lambda: computed).optimize()
    for key, copy in copies.items():
        np.testing.assert_array_equal(computed[1][key], copy)


def test_a_listener_that_changes_the_gradients_changes_the_step() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = parameters["1_W"].copy()

    class Silence(fs.Listener):
        def on_gradient_calculation(self, solver: Any, gradients: Any) -> None:
            gradients["1_W"][...] = 0

    fs.StochasticGradientDescent(updater, gradient_and_score, [Silence()]).optimize()
    np.testing.assert_array_equal(parameters["1_W"], before)


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
def test_batch_size_is_passed_on(semantics: Any) -> None:
    configuration = fs.MultiLayerConfiguration(updater=fs.Nesterovs(0.1), semantics=semantics)
    updater, parameters, gradient_and_score = _quadratic(configuration)
    twin, twin_parameters, _ = _quadratic(configuration)
    solver = fs.StochasticGradientDescent(updater, gradient_and_score, batch_size=8)
    for batch_size in (8, 8, 3):
        twin.step({k: a.copy() for k, a in twin_parameters.items()}, batch_size=batch_size)
        solver.batch_size = batch_size
        solver.optimize()
    for key, array in parameters.items():
        np.testing.assert_array_equal(array, twin_parameters[key])


def test_gradient_and_score_may_set_the_batch_size_of_its_own_step() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = parameters["0_b"].copy()

    def compute() -> Any:
        solver.batch_size = 4
        return gradient_and_score()

    solver = fs.StochasticGradientDescent(updater, compute)
    solver.optimize()
    np.testing.assert_array_equal(parameters["0_b"], before - 0.5 * before / 4)


def test_bound_and_accumulated_gradients_need_not_be_returned() -> None:
    updater, parameters, _ = _quadratic()
    gradients = {key: np.ones_like(array) for key, array in parameters.items()}
    before = parameters["0_b"].copy()
    updater.bind_gradients(gradients)
    solver = fs.StochasticGradientDescent(updater, lambda: (1.0, None))
    solver.optimize()
    np.testing.assert_array_equal(parameters["0_b"], before - 0.5)
    updater.accumulate(gradients)
    updater.accumulate(gradients)
    solver.optimize()
    np.testing.assert_array_equal(parameters["0_b"], before - 0.5 - 1.0)


class _TwoHalves(fs.StochasticGradientDescent):
    """Comes between the halves without changing anything."""

    def update_gradient_according_to_params(self, gradients: Any) -> None:
        super().update_gradient_according_to_params(gradients)


@pytest.mark.parametrize("semantics", ["dl4j-1.0", "dl4j-0.8"])
@pytest.mark.parametrize(
    "kind", [fs.Sgd(0.1), fs.Adam(), fs.Nesterovs(), fs.AdaDelta()], ids=lambda k: type(k).__name__
)
def test_the_fused_step_is_both_halves(kind: Any, semantics: Any) -> None:
    configuration = fs.MultiLayerConfiguration(
        updater=kind,
        semantics=semantics,
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=0.5,
        l1=1e-3,
        l2=1e-2,
    )
    updater, parameters, gradient_and_score = _quadratic(configuration)
    twin, twin_parameters, twin_gradient_and_score = _quadratic(configuration)
    fused = fs.StochasticGradientDescent(updater, gradient_and_score, batch_size=2)
    halves = _TwoHalves(twin, twin_gradient_and_score, batch_size=2)
    for _ in range(5):
        assert fused.optimize() == halves.optimize()
    assert updater == twin
    for key, array in parameters.items():
        np.testing.assert_array_equal(array, twin_parameters[key])


def test_an_override_may_change_the_updates() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = {key: array.copy() for key, array in parameters.items()}

    class Halved(fs.StochasticGradientDescent):
        def update_gradient_according_to_params(self, gradients: Any) -> None:
            super().update_gradient_according_to_params(gradients)
            for update in gradients.values():
                update *= 0.5

    solver = Halved(updater, gradient_and_score)
    solver.optimize()
    assert updater.iteration == 1
    for key, array in parameters.items():
        np.testing.assert_array_equal(array, before[key] - 0.25 * before[key])


def test_an_override_of_one_solver_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = parameters["0_W"].copy()
    solver = fs.StochasticGradientDescent(updater, gradient_and_score)
    calls = []
    original = solver.update_gradient_according_to_params

    def spy(gradients: Any) -> None:
        calls.append(parameters["0_W"].copy())
        original(gradients)

    monkeypatch.setattr(solver, "update_gradient_according_to_params", spy)
    solver.optimize()
    np.testing.assert_array_equal(calls, [before])
    np.testing.assert_array_equal(parameters["0_W"], before * 0.5)


@pytest.mark.parametrize("form", ["nested", "sequence", "flat"])
def test_the_two_halves_take_gradients_in_any_form(form: str) -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = {key: array.copy() for key, array in parameters.items()}

    def compute() -> Any:
        score, gradients = gradient_and_score()
        weights, bias, last = gradients.values()
        forms = {
            "nested": {0: {"W": weights, "b": bias}, 1: {"W": last}},
            "sequence": [{"W": weights, "b": bias}, {"W": last}],
            "flat": np.concatenate([array.ravel() for array in gradients.values()]),
        }
        return score, forms[form]

    _TwoHalves(updater, compute).optimize()
    for key, array in parameters.items():
        np.testing.assert_array_equal(array, before[key] * 0.5)


def test_the_two_halves_leave_a_frozen_layer_alone() -> None:
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.5), layers={"0": fs.LayerConfiguration(frozen=True)}
    )
    updater, parameters, gradient_and_score = _quadratic(configuration)
    before = {key: array.copy() for key, array in parameters.items()}

    def compute() -> Any:
        score, gradients = gradient_and_score()
        return score, {"0_W": None, "1_W": gradients["1_W"]}

    _TwoHalves(updater, compute).optimize()
    np.testing.assert_array_equal(parameters["0_W"], before["0_W"])
    np.testing.assert_array_equal(parameters["1_W"], before["1_W"] * 0.5)


def test_the_two_halves_do_not_apply_a_skipped_step() -> None:
    configuration = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), on_nonfinite="skip")
    updater, parameters, gradient_and_score = _quadratic(configuration)
    before = {key: array.copy() for key, array in parameters.items()}

    def compute() -> Any:
        score, gradients = gradient_and_score()
        gradients["0_b"][1] = np.nan
        return score, gradients

    solver = _TwoHalves(updater, compute)
    solver.optimize()
    assert solver.last_step.skipped
    for key, array in parameters.items():
        np.testing.assert_array_equal(array, before[key])


def test_the_two_halves_need_the_gradients_themselves() -> None:
    updater, parameters, _ = _quadratic()
    updater.bind_gradients({key: np.ones_like(array) for key, array in parameters.items()})
    with pytest.raises(TypeError, match=r"expected the gradients themselves, got None"):
        _TwoHalves(updater, lambda: (1.0, None)).optimize()
    assert updater.iteration == 0


def test_update_gradient_according_to_params_leaves_the_parameters() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = parameters["0_W"].copy()
    solver = fs.StochasticGradientDescent(updater, gradient_and_score, batch_size=2)
    gradients = gradient_and_score()[1]
    solver.update_gradient_according_to_params(gradients)
    np.testing.assert_array_equal(parameters["0_W"], before)
    np.testing.assert_array_equal(gradients["0_W"], 0.5 * before / 2)


def test_last_step() -> None:
    updater, _, gradient_and_score = _quadratic()
    solver = fs.StochasticGradientDescent(updater, gradient_and_score)
    with pytest.raises(ValueError, match="no step yet"):
        _ = solver.last_step
    solver.optimize()
    first = solver.last_step
    assert first is solver.last_step
    assert first == updater.last_step
    solver.optimize()
    assert (first.iteration, solver.last_step.iteration) == (0, 1)


def test_a_refused_gradient_ends_the_step() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    before = parameters["0_W"].copy()
    calls: list[tuple[Any, ...]] = []

    def compute() -> Any:
        score, gradients = gradient_and_score()
        gradients["1_W"][0, 0] = np.inf
        return score, gradients

    solver = fs.StochasticGradientDescent(updater, compute, [_Recorder(calls, parameters["0_W"])])
    with pytest.raises(fs.NonFiniteGradientError, match="1_W"):
        solver.optimize()
    assert [call[0] for call in calls] == ["gradient"]
    assert updater.iteration == 0
    np.testing.assert_array_equal(parameters["0_W"], before)


def test_listeners_can_be_exchanged() -> None:
    updater, parameters, gradient_and_score = _quadratic()
    calls: list[tuple[Any, ...]] = []
    solver = fs.StochasticGradientDescent(updater, gradient_and_score)
    solver.optimize()
    solver.listeners += (_Recorder(calls, parameters["0_W"]),)
    solver.optimize()
    solver.listeners = ()
    solver.optimize()
    assert [call[0] for call in calls] == ["gradient", "done"]


def test_a_listener_may_have_one_method_only() -> None:
    updater, _, gradient_and_score = _quadratic()
    iterations: list[int] = []

    class Counter:
        def iteration_done(self, solver: Any, iteration: int) -> None:
            iterations.append(iteration)

    listeners: Any = [Counter()]
    solver = fs.StochasticGradientDescent(updater, gradient_and_score, listeners)
    solver.optimize()
    solver.optimize()
    assert iterations == [0, 1]


def test_something_else_than_a_listener_is_refused() -> None:
    updater, _, gradient_and_score = _quadratic()
    listeners: Any = [print]
    with pytest.raises(TypeError, match=r"^listeners: expected .* got builtin_function_or_method$"):
        fs.StochasticGradientDescent(updater, gradient_and_score, listeners)


@pytest.mark.parametrize(
    ("result", "described"),
    [
        (({"0_W": np.ones(2)}, 1.0), r"\(dict, float\)"),
        (None, "a NoneType"),
        ((1.0,), r"\(float\)"),
        ((1.0, {}, {}), r"\(float, dict, dict\)"),
        (("low", {}), r"\(str, dict\)"),
    ],
)
def test_something_else_than_score_and_gradients_is_refused(result: Any, described: str) -> None:
    updater, _, _ = _quadratic()
    solver = fs.StochasticGradientDescent(updater, lambda: result)
    with pytest.raises(
        TypeError, match=rf"must return \(score, gradients\), .* it returned {described}$"
    ):
        solver.optimize()
    assert math.isnan(solver.score)
    assert updater.iteration == 0
