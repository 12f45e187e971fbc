"""What Python code may do to the arrays of a step, and to an updater, while it runs."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs

N = 1000
CONFIG = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0))


class Lazy(Mapping[str, Any]):
    """A mapping that makes its arrays when they are asked for, as np.load's archives do."""

    def __init__(self, **values: float) -> None:
        self.values_ = values

    def __getitem__(self, key: str) -> Any:
        return np.full(N, self.values_[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def zeros() -> dict[str, Any]:
    return {"0_W": np.zeros(N), "1_W": np.zeros(N)}


LAZY = Lazy(**{"0_W": 1.0, "1_W": 2.0})


def check(params: dict[str, Any]) -> None:
    np.testing.assert_array_equal(params["0_W"], -1.0)
    np.testing.assert_array_equal(params["1_W"], -2.0)


@pytest.mark.parametrize("method", ["step", "bind_gradients", "accumulate"])
def test_a_mapping_that_makes_its_arrays_on_access(method: str) -> None:
    params = zeros()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    getattr(updater, method)(LAZY)
    junk = [np.full(N, 9.0) for _ in range(8)]  # takes memory that was given back too early
    if method != "step":
        updater.step()
    check(params)
    assert len(junk) == 8


def test_the_archive_of_savez(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", **dict(LAZY))
    params = zeros()
    with np.load(tmp_path / "g.npz") as archive:
        fs.MultiLayerUpdater(CONFIG, params).step(archive)
    check(params)


def test_update_refuses_arrays_that_nobody_keeps() -> None:
    """The updates would be written into temporaries."""
    updater = fs.MultiLayerUpdater(CONFIG, zeros())
    with pytest.raises(TypeError) as caught:
        updater.update(LAZY)
    assert str(caught.value) == (
        'gradient "0_W": expected an array that the mapping keeps, got a new one at each access; '
        "update() would write into a temporary: give it a dict (dict(…))"
    )
    assert updater.iteration == 0


def custom(body: Callable[[], None]) -> fs.MultiLayerConfiguration:
    class Custom(fs.CustomUpdater):
        learning_rate = 1.0

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            body()

    return fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0), layers={"0": fs.LayerConfiguration(updater=Custom())}
    )


def test_a_custom_updater_that_empties_the_dict() -> None:
    gradients = dict(LAZY)
    params = zeros()
    fs.MultiLayerUpdater(custom(gradients.clear), params).step(gradients)
    check(params)


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda u: u.discard_accumulated(),
        lambda u: setattr(u, "iteration", 77),
        lambda u: setattr(u, "epoch", 77),
        lambda u: setattr(u, "skipped_steps", 77),
        lambda u: u.set_learning_rate(0.5),
        lambda u: u.state_dict(),
        lambda u: u.load_state_dict(STATE),
        lambda u: u.clone(),
        lambda u: pickle.dumps(u),
        lambda u: u.step(dict(LAZY)),
    ],
    ids=[
        "discard_accumulated", "iteration", "epoch", "skipped_steps", "set_learning_rate",
        "state_dict", "load_state_dict", "clone", "pickle", "step",
    ],
)  # fmt: skip
def test_a_custom_updater_may_not_change_its_updater(forbidden: Callable[[Any], None]) -> None:
    held: list[Any] = []
    params = zeros()
    updater = fs.MultiLayerUpdater(custom(lambda: forbidden(held[0])), params)
    held.append(updater)
    updater.accumulate(dict(LAZY))
    with pytest.raises(RuntimeError, match="in the middle of a step"):
        updater.step()
    np.testing.assert_array_equal(params["1_W"], 0.0)
    assert (updater.iteration, updater.epoch, updater.skipped_steps) == (0, 0, 0)
    np.testing.assert_array_equal(updater.accumulated["1_W"], 2.0)


STATE = fs.MultiLayerUpdater(custom(lambda: None), zeros()).state_dict()


def test_another_thread_that_empties_the_dict() -> None:
    """The step of a large network gives the interpreter's lock away."""
    n = 1 << 20
    params = {"0_W": np.zeros(n, np.float32)}
    updater = fs.MultiLayerUpdater(CONFIG, params)
    for _ in range(20):
        gradients = {"0_W": np.ones(n, np.float32)}
        thread = threading.Thread(target=updater.step, args=(gradients,))
        thread.start()
        gradients_of = gradients.pop("0_W", None)
        del gradients_of
        thread.join()
    assert set(np.unique(params["0_W"])) == {-float(updater.iteration)}


def test_arrays_are_given_back_after_a_step() -> None:
    """A step holds on to nothing; bound gradients are held until others are bound."""
    array = np.ones(1 << 17)
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(1 << 17)})
    before = sys.getrefcount(array)
    updater.step({"0_W": array})
    updater.step({0: {"W": array}})
    updater.accumulate({"0_W": array})
    assert sys.getrefcount(array) == before
    updater.bind_gradients({"0_W": array})
    assert sys.getrefcount(array) > before


def test_an_updater_that_was_never_made() -> None:
    for cls in (fs.MultiLayerUpdater, fs.ComputationGraphUpdater, fs.LayerUpdater):
        raw = cls.__new__(cls)
        for use in (
            lambda u: u.iteration,
            lambda u: u.state_view,
            lambda u: u.accumulated,
            lambda u: u.discard_accumulated(),
            lambda u: u.bind_gradients({}),
            lambda u: u.step({}),
            lambda u: setattr(u, "iteration", 3),
        ):
            with pytest.raises(TypeError, match="expected __init__ to have run"):
                use(raw)


@pytest.mark.parametrize("shift", [1, 50, 100])
def test_gradients_that_are_parameters(shift: int) -> None:
    """What is read must not be what is written: the result would depend on the order."""
    memory = np.arange(201.0)
    before = memory.copy()
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)),
        {"0_a": memory[:100], "0_b": memory[100:200]},
    )
    with pytest.raises(ValueError, match="overlap in memory") as caught:
        updater.step({"0_a": memory[shift : shift + 100], "0_b": np.ones(100)})
    assert str(caught.value).startswith('gradient "0_a" and parameter "0_')
    assert str(caught.value).endswith(
        "overlap in memory; a step changes the parameters while it reads the gradients: expected "
        "gradients of their own (np.copy)"
    )
    np.testing.assert_array_equal(memory, before)
    updater.step({"0_a": memory[:100], "0_b": memory[100:200]})  # ‖p‖²/2: each its own gradient
    np.testing.assert_array_equal(memory[:200], before[:200] / 2)
