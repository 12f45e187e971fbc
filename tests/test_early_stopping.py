"""EarlyStopping in a loop, as a listener, resumed, and what it refuses."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import bits, everything

import flatstep as fs


def made(**settings: Any) -> fs.MultiLayerUpdater:
    config = fs.MultiLayerConfiguration(**{"updater": fs.Adam(0.1), **settings})
    return fs.MultiLayerUpdater(config, {"0_W": np.ones(3), "0_b": np.zeros(2)})


def gradients(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"0_W": rng.standard_normal(3), "0_b": rng.standard_normal(2)}


def digest(updater: Any) -> Any:
    return everything(updater), bits(updater.accumulated)


def run(
    updater: Any, stopping: fs.EarlyStopping, scores: list[float]
) -> tuple[list[bool], list[Any]]:
    """A step before each score; what `step` said, and everything as it was at each score."""
    said, were = [], []
    for seed, score in enumerate(scores):
        updater.step(gradients(seed))
        were.append(digest(updater))
        said.append(stopping.step(score))
        if said[-1]:
            break
    return said, were


@pytest.mark.parametrize("mode", ["min", "max"])
def test_stops_at_the_best(mode: Any) -> None:
    """After more bad scores in a row than patience; to the bit, with averages."""
    sign = 1 if mode == "min" else -1
    scores = [sign * score for score in (3.0, 4.0, 2.0, 2.0, 5.0, 1.0, 1.5, math.nan, 1.0, 0.0)]
    updater = made(average_decay=0.9)
    stopping = fs.EarlyStopping(updater, patience=2, mode=mode)
    said, were = run(updater, stopping, scores)
    assert said == [False] * 8 + [True]
    assert (stopping.best, stopping.best_iteration) == (sign * 1.0, 6)
    assert (stopping.num_bad_epochs, stopping.stopped) == (3, True)
    assert updater.iteration == 6
    assert digest(updater) == were[5]
    updater.step(gradients(0))
    before = digest(updater), stopping.state_dict()
    assert stopping.step(sign * -9.0)  # it stays so
    assert (digest(updater), stopping.state_dict()) == before
    stopping.restore()
    assert digest(updater) == were[5]


def test_how_much_better() -> None:
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=0, min_delta=0.5)
    assert [stopping.step(score) for score in (3.0, 2.25, 1.75)] == [False, False, True]
    assert stopping.best == 2.25


def test_without_restoring() -> None:
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=1, restore_best=False)
    said, were = run(updater, stopping, [1.0, 2.0, 2.0, 2.0])
    assert said == [False, False, True]
    assert digest(updater) == were[-1]
    assert stopping.best_iteration == 1
    with pytest.raises(ValueError, match="got none: restore_best is False"):
        stopping.restore()
    json.dumps(stopping.state_dict())


def test_nothing_was_ever_better() -> None:
    """NaN from the first score on: there is nothing to go back to."""
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=1)
    with pytest.raises(ValueError, match="got none: no score was better yet"):
        stopping.restore()
    said, were = run(updater, stopping, [math.nan, math.inf])
    assert said == [False, True]
    assert digest(updater) == were[-1]
    assert (stopping.best, stopping.best_iteration) == (math.inf, None)


SCORES = [3.0, 2.0, 2.5, 1.0, 1.5, 1.25, 1.0, 2.0]


@pytest.mark.parametrize("at", range(len(SCORES)))
def test_goes_on_from_its_state(at: int) -> None:
    """Beside the updater's own, and as a pickle of both."""

    def new() -> tuple[Any, Any]:
        updater = made()
        return updater, fs.EarlyStopping(updater, patience=2)

    updater, stopping = new()
    run(updater, stopping, SCORES[:at])
    resumed_updater, resumed = new()
    resumed_updater.restore(updater.snapshot())
    resumed.load_state_dict(pickle.loads(pickle.dumps(stopping.state_dict())))
    copied = pickle.loads(pickle.dumps(stopping))
    said = run(updater, stopping, SCORES[at:])
    for other_updater, other in ((resumed_updater, resumed), (copied.updater, copied)):
        assert run(other_updater, other, SCORES[at:])[0] == said[0]
        assert digest(other_updater) == digest(updater)
        assert (other.best, other.best_iteration) == (1.0, stopping.best_iteration)


# ---------------------------------------------------------------------------------- as a listener


def solver_of(updater: Any, scores: list[float], *listeners: Any) -> Any:
    coming = iter(enumerate(scores))

    def compute() -> Any:
        seed, score = next(coming)
        return score, gradients(seed)

    return fs.StochasticGradientDescent(updater, compute, listeners)


def test_listens_by_iterations() -> None:
    """Each two scores are one, their mean; the step that ends the bad ones is taken back."""
    scores = [4.0, 2.0, 1.0, 2.0, 3.0, 3.0, 2.0, 2.0, 0.0, 0.0]
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=1, every=2)
    solver = solver_of(updater, scores, stopping)
    were = []
    while not stopping.stopped:
        solver.optimize()
        were.append(digest(updater))
    assert len(were) == 8
    assert (stopping.best, stopping.best_iteration) == (1.5, 4)
    assert digest(updater) == were[3]
    solver.optimize()  # it stays so
    assert stopping.stopped
    assert digest(updater) != were[3]
    stopping.restore()
    assert digest(updater) == were[3]


def test_listens_by_epochs() -> None:
    """It knows with the next epoch's first gradient, whose step is taken back."""
    epochs = [[4.0, 2.0], [1.0], [3.0, 2.0, 1.0], [1.5, 2.5], [0.0, 0.0]]
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=1)
    seen = fs.HistoryListener()
    solver = solver_of(updater, [score for epoch in epochs for score in epoch], stopping, seen)
    ends = []
    for epoch, scores in enumerate(epochs):
        updater.epoch = epoch
        ends.append(digest(updater))
        for _ in scores:
            solver.optimize()
            if stopping.stopped:
                break
    assert (stopping.best, stopping.best_iteration) == (1.0, 3)
    assert digest(updater) == ends[2]  # when the second epoch was over
    assert len(seen.history) == 9
    assert (updater.iteration, updater.epoch) == (3, 2)


def test_what_is_accumulated_belongs_to_the_step() -> None:
    """Neither a snapshot before a step nor going back there is in its way."""
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=0)
    coming = iter(enumerate([2.0, 1.0, 3.0, 5.0]))

    def compute() -> Any:
        seed, score = next(coming)
        updater.accumulate(gradients(seed))
        return score, None

    solver = fs.StochasticGradientDescent(updater, compute, [stopping])
    while not stopping.stopped:
        solver.optimize()
        updater.epoch += 1
    assert (stopping.best, stopping.best_iteration, updater.iteration) == (1.0, 2, 2)
    assert updater.accumulated is None


def test_of_another_solver() -> None:
    updater, other = made(), made()
    solver = solver_of(other, [1.0], fs.EarlyStopping(updater))
    before = everything(other)
    with pytest.raises(ValueError, match="EarlyStopping: expected a listener of the solver of its"):
        solver.optimize()
    assert everything(other) == before


# --------------------------------------------------------------------------------- what is refused


def refused(**arguments: Any) -> Callable[[], Any]:
    return lambda: fs.EarlyStopping(made(), **arguments)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "updater": (
        lambda: fs.EarlyStopping(fs.Adam()),  # type: ignore[arg-type]
        TypeError,
        "updater: expected an updater such as MultiLayerUpdater, got Adam",
    ),
    "patience": (refused(patience=-1), ValueError, "patience: expected an integer >= 0, got -1"),
    "min_delta": (
        refused(min_delta=-0.5),
        ValueError,
        "min_delta: expected a finite number >= 0, got -0.5",
    ),
    "mode": (refused(mode="most"), ValueError, 'mode: expected "min" or "max", got \'most\''),
    "restore_best": (
        refused(restore_best=1),
        TypeError,
        "restore_best: expected True or False, got 1 of type int",
    ),
    "every": (refused(every=0), ValueError, "every: expected an integer >= 1, got 0"),
}


@pytest.mark.parametrize(("call", "exception", "text"), BAD.values(), ids=BAD.keys())
def test_what_it_cannot_be(call: Callable[[], Any], exception: type[Exception], text: str) -> None:
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == f"EarlyStopping: {text}"


def test_scores_and_states_that_are_refused() -> None:
    updater = made()
    stopping = fs.EarlyStopping(updater, patience=1)
    run(updater, stopping, [2.0, 3.0])
    before = stopping.state_dict()
    other = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(3)}).snapshot()
    given: list[tuple[Any, type[Exception], str]] = [
        ({**before, "snapshot": other}, ValueError, 'snapshot: .* the snapshot lacks "0_b"'),
        ({**before, "snapshot": {}}, TypeError, "snapshot: expected a Snapshot, .* got dict"),
        ({**before, "snapshot": None}, ValueError, "snapshot: expected that of the best"),
        ({**before, "stopped": 1}, TypeError, "stopped: expected True or False"),
        ({**before, "best_iteration": -1}, ValueError, "best_iteration: expected an integer >= 0"),
        ({**before, "version": 2}, ValueError, "expected version 1"),
        ({"version": 1}, ValueError, "missing or unknown: best, best_iteration"),
    ]
    for state, exception, text in given:
        with pytest.raises(exception, match=f"EarlyStopping.load_state_dict: {text}"):
            stopping.load_state_dict(state)
        assert stopping.state_dict() == before
    with pytest.raises(TypeError, match=r"EarlyStopping\.step: score: expected a number"):
        stopping.step("3")  # type: ignore[arg-type]
    assert stopping.state_dict() == before


def test_not_inside_of_averaged() -> None:
    """Where the snapshot would have the averages for parameters."""
    updater = made(average_decay=0.5)
    stopping = fs.EarlyStopping(updater, patience=0)
    for score, said in ((1.0, False), (2.0, True)):
        before = stopping.state_dict()
        with updater.averaged(), pytest.raises(RuntimeError, match=r"what averaged\(\) has put"):
            stopping.step(score)
        assert stopping.state_dict() == before
        assert stopping.step(score) is said


# ------------------------------------------------------------------- with what else a solver meets


def test_what_is_restored_is_not_decayed_by_the_policy_score() -> None:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Score", decay_rate=0.5),
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(1)})
    stopping = fs.EarlyStopping(updater, patience=1, every=1)
    states = []
    solver = fs.StochasticGradientDescent(updater, lambda: (3.0, {"0_W": -np.ones(1)}), [stopping])
    while not stopping.stopped:
        solver.optimize()
        states.append(digest(updater))
    assert len(states) == 3
    assert states[-1] == states[0]


def test_a_step_that_raises_leaves_the_best() -> None:
    """It is the one before which the mean of an epoch has come."""
    w = np.zeros(1)
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), {"0_W": w})
    stopping = fs.EarlyStopping(updater, patience=0)
    given = iter([(1.0, -1.0), (2.0, -1.0), (3.0, np.nan)])

    def gradient_and_score() -> tuple[float, Any]:
        score, gradient = next(given)
        return score, {"0_W": np.full(1, gradient)}

    solver = fs.StochasticGradientDescent(updater, gradient_and_score, [stopping])
    for _ in range(2):
        solver.optimize()
        updater.epoch += 1
    with pytest.raises(fs.NonFiniteGradientError):
        solver.optimize()
    assert stopping.stopped
    assert (w[0], updater.iteration, stopping.best_iteration) == (1.0, 1, 1)


def test_what_was_accumulated_for_the_step_it_stops_before_is_still_there() -> None:
    w = np.zeros(1)
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), {"0_W": w})
    stopping = fs.EarlyStopping(updater, patience=0)
    scores = iter([1.0, 2.0, 3.0])

    def gradient_and_score() -> tuple[float, Any]:
        updater.accumulate({"0_W": -np.ones(1)})
        return next(scores), None

    solver = fs.StochasticGradientDescent(updater, gradient_and_score, [stopping])
    for _ in range(3):
        solver.optimize()
        updater.epoch += 1
    assert stopping.stopped
    assert (w[0], updater.accumulated) == (1.0, None)


@pytest.mark.parametrize("listener", [fs.EarlyStopping, fs.ReduceLROnPlateau])
def test_scores_of_skipped_steps_do_not_count(listener: Any) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), on_nonfinite="skip")
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(1)})
    counts = listener(updater, patience=0)
    given = iter([(5.0, 1.0), (math.nan, math.nan), (4.0, 1.0), (9.0, 1.0)])

    def gradient_and_score() -> tuple[float, Any]:
        score, gradient = next(given)
        return score, {"0_W": np.full(1, gradient)}

    solver = fs.StochasticGradientDescent(updater, gradient_and_score, [counts])
    for _ in range(3):
        solver.optimize()
    updater.epoch += 1
    solver.optimize()
    assert (counts.best, counts.num_bad_epochs) == (4.5, 0)
