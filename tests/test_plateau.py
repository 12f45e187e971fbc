"""ReduceLROnPlateau in a loop, as a listener, resumed, and what it refuses.

`test_peer_schedules.py` holds its rules to PyTorch's.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import everything

import flatstep as fs

CONFIGURED = fs.LinearSchedule(1.0, 0.0, 16)


def params(dtype: Any = np.float64) -> dict[str, Any]:
    return {key: np.ones(3, dtype) for key in ("0_W", "0_b", "1_W", "1_b")}


def made(dtype: Any = np.float64, **settings: Any) -> fs.MultiLayerUpdater:
    return fs.MultiLayerUpdater(fs.MultiLayerConfiguration(**settings), params(dtype))


HALF = fs.LayerConfiguration(learning_rate_scale=0.5)


def test_a_plateau_reduces_what_has_a_rate() -> None:
    """Each from where it is: a schedule's now, one that was set, one that is scaled."""
    updater = made(
        updater=fs.Sgd(CONFIGURED),
        layers={
            "0": HALF,
            "1": fs.LayerConfiguration(params={"b": fs.ParamConfiguration(updater=fs.NoOp())}),
        },
    )
    updater.set_learning_rate(0.125, layer=1)
    updater.iteration = 8
    plateau = fs.ReduceLROnPlateau(updater, factor=0.5, patience=0)
    assert [plateau.step(1.0), plateau.step(1.0)] == [False, True]
    rates = {key: updater.learning_rate(key) for key in params()}
    assert rates == {"0_W": 0.125, "0_b": 0.125, "1_W": 0.0625, "1_b": None}
    updater.clear_learning_rate()
    assert updater.learning_rate("0_W") == 0.25


def test_the_least_rate_leaves_layers_in_proportion() -> None:
    updater = made(updater=fs.Sgd(1.0), layers={"0": HALF})
    plateau = fs.ReduceLROnPlateau(updater, factor=0.1, patience=0, min_lr=0.25)
    assert [plateau.step(1.0) for _ in range(4)] == [False, True, False, False]
    assert (updater.learning_rate("0_W"), updater.learning_rate("1_W")) == (0.125, 0.25)


SCORES = [*np.linspace(3, 1, 10), *[1.0] * 20, math.nan, -5.0, *[2.0] * 20]


@pytest.mark.parametrize("at", [0, 5, 13, 17, 31, 40])
def test_a_plateau_goes_on_from_its_state(at: int) -> None:
    """Through JSON, beside the updater's own state."""

    def run() -> tuple[Any, Any]:
        updater = made(updater=fs.Sgd(1.0))
        return updater, fs.ReduceLROnPlateau(updater, factor=0.5, patience=3, cooldown=2)

    updater, plateau = run()
    for score in SCORES[:at]:
        plateau.step(score)
    resumed_updater, resumed = run()
    resumed_updater.load_state_dict(updater.state_dict())
    resumed.load_state_dict(json.loads(json.dumps(plateau.state_dict())))
    copied = pickle.loads(pickle.dumps(plateau))
    assert copied.updater is not updater
    for score in SCORES[at:]:
        reduced = plateau.step(score)
        assert resumed.step(score) == copied.step(score) == reduced
        assert resumed_updater.learning_rate("0_W") == updater.learning_rate("0_W")
        assert resumed.state_dict() == plateau.state_dict() == copied.state_dict()
    rate = updater.learning_rate("0_W")
    assert rate is not None
    assert rate < 0.2


def solver_of(updater: Any, scores: list[float], plateau: Any) -> Any:
    coming = iter(scores)
    zeros = {key: np.zeros_like(array) for key, array in updater.parameters.items()}
    return fs.StochasticGradientDescent(updater, lambda: (next(coming), zeros), [plateau])


def test_a_plateau_listens_by_iterations() -> None:
    """Each two scores are one, their mean."""
    scores = [4.0, 2.0, 2.0, 3.0, 3.0, 3.0, 1.0, 5.0, 9.0, 9.0]
    updater = made(updater=fs.Sgd(1.0))
    plateau = fs.ReduceLROnPlateau(updater, factor=0.5, patience=0, every=2)
    solver = solver_of(updater, scores, plateau)
    rates = []
    for _ in scores:
        rates.append(updater.learning_rate("0_W"))
        solver.optimize()
    assert rates == [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert updater.learning_rate("0_W") == 0.125
    assert plateau.best == 2.5


def test_a_plateau_listens_by_epochs() -> None:
    """The rate changes before an epoch's first step, by the mean of the epoch before."""
    epochs = [[4.0, 2.0], [3.0], [2.0, 4.0, 3.0], [1.0], [1.0]]
    updater = made(updater=fs.Sgd(1.0))
    plateau = fs.ReduceLROnPlateau(updater, factor=0.5, patience=0)
    solver = solver_of(updater, [score for epoch in epochs for score in epoch], plateau)
    used = []
    for epoch, scores in enumerate(epochs):
        updater.epoch = epoch
        for _ in scores:
            solver.optimize()
            used.append(solver.last_step.layers["0"].learning_rate)
    assert used == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau.best == 1.0
    resumed = fs.ReduceLROnPlateau(updater, factor=0.5, patience=0)
    resumed.load_state_dict(plateau.state_dict())
    updater.epoch += 1
    solver_of(updater, [0.0], resumed).optimize()  # takes what the last epoch had left
    assert resumed.num_bad_epochs == 0
    assert updater.learning_rate("0_W") == 0.125


def test_a_plateau_of_another_solver() -> None:
    updater, other = made(updater=fs.Sgd(1.0)), made(updater=fs.Sgd(1.0))
    solver = solver_of(other, [1.0], fs.ReduceLROnPlateau(updater))
    before = everything(other)
    with pytest.raises(ValueError, match="listener of the solver of its own updater"):
        solver.optimize()
    assert everything(other) == before


def refused_plateau(**arguments: Any) -> Callable[[], Any]:
    return lambda: fs.ReduceLROnPlateau(made(), **arguments)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "updater": (
        lambda: fs.ReduceLROnPlateau(fs.Adam()),  # type: ignore[arg-type]
        TypeError,
        "updater: expected an updater such as MultiLayerUpdater, got Adam",
    ),
    "no rate": (
        lambda: fs.ReduceLROnPlateau(made(updater=fs.NoOp())),
        ValueError,
        "expected a parameter whose updater has a learning rate; those of layer=None, param=None "
        "have none",
    ),
    "mode": (
        refused_plateau(mode="least"),
        ValueError,
        'mode: expected "min" or "max", got \'least\'',
    ),
    "threshold_mode": (
        refused_plateau(threshold_mode=None),
        ValueError,
        'threshold_mode: expected "rel" or "abs", got None',
    ),
    "factor 1": (
        refused_plateau(factor=1),
        ValueError,
        "factor: expected a number in [0, 1), got 1",
    ),
    "factor": (
        refused_plateau(factor=-0.5),
        ValueError,
        "factor: expected a number in [0, 1), got -0.5",
    ),
    "factor's type": (
        refused_plateau(factor="0.1"),
        TypeError,
        "factor: expected a number, got '0.1' of type str",
    ),
    "patience": (
        refused_plateau(patience=-1),
        ValueError,
        "patience: expected an integer >= 0, got -1",
    ),
    "patience's type": (
        refused_plateau(patience=2.0),
        TypeError,
        "patience: expected an integer, got 2.0 of type float",
    ),
    "cooldown": (
        refused_plateau(cooldown=-2),
        ValueError,
        "cooldown: expected an integer >= 0, got -2",
    ),
    "threshold": (
        refused_plateau(threshold=math.nan),
        ValueError,
        "threshold: expected a finite number, got nan",
    ),
    "min_lr": (
        refused_plateau(min_lr=-1),
        ValueError,
        "min_lr: expected a finite number >= 0, got -1.0",
    ),
    "eps": (
        refused_plateau(eps=-1e-3),
        ValueError,
        "eps: expected a finite number >= 0, got -0.001",
    ),
    "every": (refused_plateau(every=0), ValueError, "every: expected an integer >= 1, got 0"),
}


@pytest.mark.parametrize(("call", "exception", "text"), BAD.values(), ids=BAD.keys())
def test_what_a_plateau_cannot_be(
    call: Callable[[], Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == f"ReduceLROnPlateau: {text}"


def test_scores_and_states_that_are_refused() -> None:
    updater = made(updater=fs.Sgd(1.0))
    plateau = fs.ReduceLROnPlateau(updater, patience=1)
    for score in (3.0, 3.0):
        plateau.step(score)
    before = plateau.state_dict()
    state = dict(before)
    del state["best"]
    refused: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: plateau.step("3"), TypeError, "step: score: expected a number"),  # type: ignore[arg-type]
        (lambda: plateau.load_state_dict(None), TypeError, "got NoneType"),  # type: ignore[arg-type]
        (lambda: plateau.load_state_dict(state), ValueError, "missing or unknown: best"),
        (lambda: plateau.load_state_dict({**before, "x": 1}), ValueError, "missing or unknown: x"),
        (
            lambda: plateau.load_state_dict({**before, "version": 2}),
            ValueError,
            "expected version 1",
        ),
        (
            lambda: plateau.load_state_dict({**before, "num_bad_epochs": -1}),
            ValueError,
            "num_bad_epochs: expected an integer >= 0, got -1",
        ),
        (
            lambda: plateau.load_state_dict({**before, "best": None}),
            TypeError,
            "best: expected a number",
        ),
        (
            lambda: plateau.load_state_dict({**before, "epoch": 0.5}),
            TypeError,
            "epoch: expected an int",
        ),
    ]
    for call, exception, text in refused:
        with pytest.raises(exception, match=text):
            call()
        assert plateau.state_dict() == before
    assert updater.learning_rate("0_W") == 1.0
    assert plateau.step(3.0)


def test_a_rate_that_cannot_be_set_changes_nothing() -> None:
    """Neither the rates nor the counts, so that the score may come again."""
    updater = made(np.float32, updater=fs.Sgd(1e-30))
    plateau = fs.ReduceLROnPlateau(updater, factor=1e-9, patience=0, eps=0.0)
    plateau.step(1.0)
    before = (everything(updater), plateau.state_dict())
    with pytest.raises(ValueError, match=r'parameter "0_W": learning_rate: expected .*float32'):
        plateau.step(1.0)
    assert (everything(updater), plateau.state_dict()) == before
