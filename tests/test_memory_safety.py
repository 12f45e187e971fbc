"""What Python code may do to the arrays of a step, and to an updater, while it runs."""

from __future__ import annotations

import gc
import os
import pickle
import re
import subprocess
import sys
import threading
import warnings
import weakref
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
        lambda u: u.clear_learning_rate(),
        lambda u: u.state_dict(),
        lambda u: u.load_state_dict(STATE),
        lambda u: u.clone(),
        lambda u: pickle.dumps(u),
        lambda u: u.step(dict(LAZY)),
    ],
    ids=[
        "discard_accumulated", "iteration", "epoch", "skipped_steps", "set_learning_rate",
        "clear_learning_rate", "state_dict", "load_state_dict", "clone", "pickle", "step",
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


# ------------------------------------------------------- arrays that change after they were taken


def resized(array: Any) -> None:
    array.resize(1 << 20, refcheck=False)


def shrunk(array: Any) -> None:
    array.resize(3, refcheck=False)


def emptied(array: Any) -> None:
    array.__setstate__((1, (0,), array.dtype, False, b""))


def moved(array: Any) -> None:
    """To elsewhere: its own memory is given back first, and would be found again."""
    junk: list[Any] = []
    shape, address, values = array.shape, array.ctypes.data, array.tobytes()
    while array.ctypes.data == address:
        array.__setstate__((1, (0,), array.dtype, False, b""))
        junk.append(np.zeros(shape))
        array.__setstate__((1, shape, array.dtype, False, values))


def flattened(array: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.shape = (-1,) if array.ndim > 1 else (1, -1)


def transposed(array: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.strides = array.strides[::-1] if array.ndim == 2 else (0,) * array.ndim


def retyped(array: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.dtype = np.int64


def frozen(array: Any) -> None:
    array.flags.writeable = False


SHAPES = [(64,), (8, 8), (4, 4, 4)]
CHANGES = [resized, shrunk, emptied, moved, flattened, transposed]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("change", [*CHANGES, frozen])
def test_a_parameter_that_changes_after_it_was_given(change: Any, shape: Any) -> None:
    first, second = np.zeros(shape), np.zeros(5)
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": first, "1_W": second})
    gradients = {"0_W": np.ones(shape), "1_W": np.ones(5)}
    updater.bind_gradients(gradients)
    updater.step(gradients)
    change(first)
    for _ in range(2):
        for step in (lambda: updater.step(gradients), updater.step):
            with pytest.raises(ValueError, match=r"^parameter ") as caught:
                step()
            assert re.fullmatch(
                r'parameter "0_W": expected the array as it was when the updater was made, got '
                r"(shape \(.*\)|it at another address|other strides|a read-only one)"
                r"; make a new updater \(clone\(params=arrays\) takes the state along\)",
                str(caught.value),
            )
    np.testing.assert_array_equal(second, -1.0)
    assert updater.iteration == 1
    if change is frozen:  # update() leaves the parameters alone
        updater.update(gradients)
        first.flags.writeable = True
        updater.step({"0_W": np.ones(shape), "1_W": np.ones(5)})
        np.testing.assert_array_equal(first, -2.0)
    else:
        with pytest.raises(ValueError, match=r"^parameter "):
            updater.update(gradients)
        fresh = {"0_W": np.zeros(shape), "1_W": second}
        updater.clone(fresh).step(gradients)
        np.testing.assert_array_equal(fresh["0_W"], -1.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_a_bound_gradient_that_changes_after_it_was_bound(change: Any, shape: Any) -> None:
    parameter, gradient = np.zeros(shape), np.ones(shape)
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": parameter})
    updater.bind_gradients({"0_W": gradient})
    updater.step()
    change(gradient)
    for step in (updater.step, updater.step, updater.update):
        with pytest.raises(ValueError, match=r"^gradient ") as caught:
            step()
        assert str(caught.value).startswith(
            'gradient "0_W": expected the bound array as it was when it was bound, got '
        )
        assert str(caught.value).endswith("; call bind_gradients again")
    np.testing.assert_array_equal(parameter, -1.0)
    updater.bind_gradients({"0_W": np.ones(shape)})
    updater.step()
    np.testing.assert_array_equal(parameter, -2.0)


def test_a_bound_gradient_that_becomes_read_only() -> None:
    """A step reads it, update() would write it."""
    gradient = np.ones(N)
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(N)})
    updater.bind_gradients({"0_W": gradient})
    gradient.flags.writeable = False
    updater.step()
    updater.step()
    with pytest.raises(ValueError, match="got a read-only one; call bind_gradients again"):
        updater.update()
    np.testing.assert_array_equal(updater.parameters["0_W"], -2.0)


@pytest.mark.parametrize("of_state", [False, True], ids=["g", "state"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("change", [*CHANGES, retyped])
def test_a_custom_updater_that_changes_its_arrays(change: Any, order: Any, of_state: bool) -> None:
    class Custom(fs.CustomUpdater):
        state = ("m",)

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            change(state["m"] if of_state else g)

    if change is moved:
        pytest.skip("of the same form, at another address: its values are taken")
    for shape in SHAPES:
        if change is transposed and len(shape) != 2:
            continue
        parameter = np.zeros(shape, order=order)
        updater = fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(updater=Custom()), {"0_W": parameter}
        )
        with pytest.raises((ValueError, AttributeError)) as caught:
            updater.step({"0_W": np.ones(shape, order=order)})
        if "get_gradient" in str(caught.value):  # and not NumPy, which refuses some of these
            what = 'state["m"]' if of_state else "g"
            assert str(caught.value) == (
                f"Custom.get_gradient: {what}: expected it changed in place, got it resized or of "
                f"another shape or dtype; write {what}[...] = value"
            )
        np.testing.assert_array_equal(parameter, 0.0)
        assert updater.iteration == 0


def test_a_custom_updater_whose_array_gets_smaller_elements() -> None:
    class Custom(fs.CustomUpdater):
        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            g.__setstate__((1, g.shape, np.dtype(np.int8), False, bytes(g.size)))

    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=Custom()), {"0_W": np.zeros(N)}
    )
    with pytest.raises(ValueError, match="of another shape or dtype"):
        updater.step({"0_W": np.ones(N)})


def test_a_custom_updater_whose_state_gets_a_key_that_changes_the_dict() -> None:
    class Evil(str):
        state: Any = None

        def __str__(self) -> str:
            self.state.clear()
            return "unknown"

    class Custom(fs.CustomUpdater):
        state = ("m",)

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            key = Evil("k" * 50)
            key.state = state
            state[key] = np.ones(3)

    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=Custom()), {"0_W": np.zeros(N)}
    )
    with pytest.raises(ValueError, match=r'state\["unknown"\]: expected a name that'):
        updater.step({"0_W": np.ones(N)})


# ------------------------------------------------------------- Python that runs while keys are read


class EvilKey(str):
    """A key whose comparison does something first."""

    action: Callable[[], None] = staticmethod(lambda: None)

    def __eq__(self, other: object) -> bool:
        type(self).action()
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


@pytest.mark.parametrize("method", ["step", "update", "accumulate"])
@pytest.mark.parametrize("action", ["clear", "resize", "parameter"])
def test_a_key_whose_comparison_changes_things(method: str, action: str) -> None:
    """Arrays that were seen already are dropped, or resized, while the next key is looked up."""
    params = {"0_W": np.zeros(N), "1_W": np.zeros(N)}
    updater = fs.MultiLayerUpdater(CONFIG, params)
    key = EvilKey("1_W")
    gradients: dict[str, Any] = {"0_W": np.full(N, 1.0), key: np.full(N, 2.0)}
    junk: list[Any] = []

    def act() -> None:
        EvilKey.action = staticmethod(lambda: None)
        if action == "clear":
            gradients.clear()
            gc.collect()
            junk.extend(np.full(N, 9.0) for _ in range(8))
        elif action == "resize":
            gradients["0_W"].resize(1 << 20, refcheck=False)
        else:
            params["0_W"].resize(1 << 20, refcheck=False)

    EvilKey.action = staticmethod(act)
    try:
        getattr(updater, method)(gradients)
    except (ValueError, KeyError, RuntimeError):
        np.testing.assert_array_equal(params["1_W"], 0.0)
    else:
        assert (action, method) == ("parameter", "accumulate")
    finally:
        EvilKey.action = staticmethod(lambda: None)


def test_an_array_whose_class_is_a_property() -> None:
    """What it is is asked of its type: it could do anything when it is asked itself."""
    gradients: dict[str, Any] = {}
    asked = []

    class Evil(np.ndarray):
        @property
        def __class__(self) -> Any:
            asked.append(1)
            gradients.clear()
            return Evil

        @__class__.setter
        def __class__(self, value: Any) -> None:
            pass

    params = zeros()
    updater = fs.MultiLayerUpdater(CONFIG, params)
    gradients["0_W"] = np.full(N, 1.0)
    gradients["1_W"] = np.ndarray.__new__(Evil, (N,))
    gradients["1_W"][:] = 2.0
    asked.clear()
    updater.step(gradients)
    assert not asked
    check(params)


def test_masked_arrays_are_refused_still() -> None:
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(N)})
    with pytest.raises(TypeError, match=r"expected a NumPy array, got MaskedArray; fill it"):
        updater.step({"0_W": np.ma.zeros(N)})


# -------------------------------------------------------------------------------- shared memory

ADAM = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))


@pytest.mark.parametrize("method", ["step", "update", "accumulate", "bind_gradients"])
@pytest.mark.parametrize("source", ["state", "state_view", "accumulated"])
def test_gradients_that_are_the_updaters_own_memory(method: str, source: str) -> None:
    updater = fs.MultiLayerUpdater(ADAM, {"0_W": np.zeros(N), "1_W": np.zeros(3)})
    updater.accumulate({"0_W": np.ones(N), "1_W": np.ones(3)})
    given = {"0_W": np.ones(N), "1_W": np.ones(3)}
    if source == "state":
        given["0_W"] = updater.state("0_W")["v"]
    elif source == "state_view":
        given["0_W"] = updater.state_view[7 : 7 + N]
    else:
        given = updater.accumulated
    before = updater.state_view.tobytes(), updater.accumulated["0_W"].tobytes()
    for _ in range(2):
        with pytest.raises(ValueError, match="overlap in memory; ") as caught:
            getattr(updater, method)(given)
        name = "the accumulated gradients" if source == "accumulated" else "the updater's state"
        assert name in str(caught.value)
        assert 'gradient "0_W"' in str(caught.value)
    assert before == (updater.state_view.tobytes(), updater.accumulated["0_W"].tobytes())
    assert updater.iteration == 0


def test_a_gradient_where_sums_lie_that_came_later() -> None:
    """An address that was once apart from everything is looked at again."""
    updater = fs.MultiLayerUpdater(CONFIG, {"0_W": np.zeros(N)})
    for _ in range(20):
        updater.step({"0_W": np.ones(N)})
    updater.accumulate({"0_W": np.ones(N)})
    with pytest.raises(ValueError, match="the accumulated gradients"):
        updater.step(updater.accumulated)


def test_live_state_that_is_loaded_into_another_place() -> None:
    """Each is read before any is written."""
    updater = fs.MultiLayerUpdater(ADAM, {"0_W": np.zeros(N), "1_W": np.zeros(N)})
    updater.step({"0_W": np.arange(N) / N, "1_W": np.arange(N) * 2.0})
    saved = updater.state_dict()
    swapped = {**saved, "state": {"0_W": updater.state("1_W"), "1_W": updater.state("0_W")}}
    updater.load_state_dict(swapped)
    for key, other in (("0_W", "1_W"), ("1_W", "0_W")):
        for name, array in updater.state(key).items():
            assert array.tobytes() == saved["state"][other][name].tobytes()
    shifted = {**saved, "state": {key: dict(updater.state(key)) for key in ("0_W", "1_W")}}
    shifted["state"]["0_W"]["m"] = updater.state_view[3 : 3 + N]
    expected = updater.state_view[3 : 3 + N].copy()
    updater.load_state_dict(shifted)
    assert updater.state("0_W")["m"].tobytes() == expected.tobytes()


def test_the_advice_for_threads_does_not_share_the_parameters() -> None:
    held: list[Any] = []
    updater = fs.MultiLayerUpdater(custom(lambda: held[0].state_dict()), zeros())
    held.append(updater)
    with pytest.raises(RuntimeError) as caught:
        updater.step(dict(LAZY))
    assert "(clone(params=copies); clone() alone shares the parameters)" in str(caught.value)


# -------------------------------------------------------------------------------------- objects


def test_a_second_init_is_refused() -> None:
    params = {"0_W": np.zeros(3)}
    updater = fs.MultiLayerUpdater(ADAM, params)
    updater.step({"0_W": np.ones(3)})
    view, before = updater.state_view, updater.state_dict()
    with pytest.raises(TypeError, match=r"expected one call of __init__, got another"):
        updater.__init__(CONFIG, {"0_a": np.zeros(5), "0_b": np.zeros(7)})  # type: ignore[misc]
    assert [slot.key for slot in updater.layout] == ["0_W"]
    assert str(updater.state_dict()) == str(before)
    updater.step({"0_W": np.ones(3)})
    assert view.tobytes() == updater.state_view.tobytes()


class Viewer(fs.MultiLayerUpdater):
    """One that keeps views of itself."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.accumulate({"0_W": np.ones(3)})
        self.views = [self.state_view, self.state("0_W"), self.accumulated]


class Keeper(fs.CustomUpdater):
    """One that keeps the updater of the network."""

    updater: Any = None

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        pass


class Attached(np.ndarray):
    """An array that has attributes."""


def viewer() -> Any:
    return Viewer(ADAM, {"0_W": np.zeros(3)})


def keeper() -> Any:
    custom = Keeper()
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=custom), {"0_W": np.zeros(3), "1_W": np.zeros(2)}
    )
    object.__setattr__(custom, "updater", updater)
    return updater


def attached(bound: bool) -> Any:
    array: Any = np.zeros(3).view(Attached)
    updater = fs.MultiLayerUpdater(ADAM, {"0_W": np.zeros(3) if bound else array})
    if bound:
        updater.bind_gradients({"0_W": array})
    array.updater = updater
    return updater


@pytest.mark.parametrize(
    "make",
    [viewer, keeper, lambda: attached(False), lambda: attached(True)],
    ids=["views", "custom updater", "parameter", "bound gradient"],
)
def test_cycles_are_collected(make: Any) -> None:
    gc.collect()
    gone = weakref.ref(make())
    gc.collect()
    assert gone() is None
    kept = make()
    gc.collect()
    kept.step({slot.key: np.ones(slot.shape) for slot in kept.layout})


def test_the_collector_comes_at_every_allocation() -> None:
    """Also while the first object of a class is made, which has its type but nothing else yet."""

    class Own(fs.MultiLayerUpdater):
        pass

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        updater = Own(ADAM, {"0_W": np.zeros(N)})
    finally:
        gc.set_threshold(*thresholds)
    updater.step({"0_W": np.ones(N)})


def test_views_outlive_their_updater() -> None:
    updater = fs.MultiLayerUpdater(ADAM, {"0_W": np.zeros(N)})
    updater.accumulate({"0_W": np.ones(N)})
    state, view, sums = updater.state("0_W")["m"], updater.state_view, updater.accumulated["0_W"]
    del updater
    gc.collect()
    junk = [np.full(2 * N, 9.0) for _ in range(8)]
    view[:N] = 5.0
    np.testing.assert_array_equal(state, 5.0)
    np.testing.assert_array_equal(sums, 1.0)
    assert len(junk) == 8


@pytest.mark.parametrize("name", ["iteration", "epoch", "batch_size"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_what_an_index_raises_comes_through(name: str, error: Any) -> None:
    class Index:
        def __index__(self) -> int:
            raise error

    params = {"0_W": np.zeros(3)}
    updater = fs.MultiLayerUpdater(CONFIG, params)
    with pytest.raises(error):
        updater.step({"0_W": np.ones(3)}, **{name: Index()})
    with pytest.raises(error):
        fs.set_num_threads(Index())  # type: ignore[arg-type]
    np.testing.assert_array_equal(params["0_W"], 0.0)


def test_ramps_are_nested_to_a_limit() -> None:
    schedule: Any = fs.FixedSchedule(0.5)
    for _ in range(100):
        schedule = fs.RampSchedule(schedule, 1)
    assert fs.Sgd(schedule) == fs.Sgd(schedule)
    assert schedule.value_at(3) == 0.5
    for argument, nest in (
        ("RampSchedule: base", lambda: fs.RampSchedule(schedule, 1)),
        ("SequenceSchedule: pieces", lambda: fs.SequenceSchedule([(0.5, 1), schedule])),
        ("ProductSchedule: factors", lambda: 0.5 * schedule),
    ):
        with pytest.raises(
            ValueError, match=f"{argument}: expected at most 99 ramps, sequences and products in it"
        ):
            nest()
    loop = fs.RampSchedule(0.5, 1)
    object.__setattr__(loop, "base", loop)
    with pytest.raises(RecursionError):
        loop.value_at(0)
    loop_of_pieces = fs.SequenceSchedule([(0.5, 1), 0.5])
    object.__setattr__(loop_of_pieces, "pieces", ((0.5, 1), (loop_of_pieces, None)))
    with pytest.raises(RecursionError):
        loop_of_pieces.value_at(0)


def test_schedules_that_share_their_parts_do_not_grow_without_end() -> None:
    """Each of these is twice the one before: what is counted is calls, not objects."""
    schedule: Any = fs.SequenceSchedule([(0.5, 1), 1.0])
    for _ in range(5):
        schedule = fs.ProductSchedule((schedule, schedule))
    assert schedule.value_at(0) == 0.5**32
    with pytest.raises(ValueError, match="ProductSchedule: factors: expected at most 99 ramps"):
        fs.ProductSchedule((schedule, schedule))


ALONE = "a\ud800b"  # half of a surrogate pair: no text


class Named(fs.CustomUpdater):
    state = (ALONE,)

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.MultiLayerUpdater(CONFIG, {f"0_{ALONE}": np.zeros(3)}),
        lambda: fs.MultiLayerUpdater(CONFIG, {0: {ALONE: np.zeros(3)}}),
        lambda: fs.ComputationGraphUpdater(CONFIG, {ALONE: {"W": np.zeros(3)}}),
        lambda: fs.LayerUpdater(CONFIG, {ALONE: np.zeros(3)}),
        lambda: fs.LayerUpdater(CONFIG, {"W": np.zeros(3)}).step({ALONE: np.zeros(3)}),
        lambda: fs.LayerUpdater(CONFIG, {"W": np.zeros(3)}).state(ALONE),
        lambda: fs.LayerUpdater(CONFIG, {"W": np.zeros(3)}).is_frozen(ALONE),
        lambda: fs.MultiLayerConfiguration(layers={ALONE: fs.LayerConfiguration()}),
        lambda: fs.MultiLayerConfiguration(
            layers={"0": fs.LayerConfiguration(params={ALONE: fs.ParamConfiguration()})}
        ),
        lambda: fs.MultiLayerConfiguration(bias_params=(ALONE,)),
        lambda: fs.MultiLayerConfiguration(semantics=ALONE),
        lambda: fs.MultiLayerConfiguration(gradient_normalization=ALONE),
        lambda: fs.FixedSchedule(0.1, schedule_type=ALONE),
        lambda: fs.LearningRatePolicy(ALONE),
        lambda: fs.set_isa(ALONE),
        lambda: fs.MultiLayerUpdater(
            fs.MultiLayerConfiguration(updater=Named()), {"0_W": np.zeros(3)}
        ),
    ],
)  # fmt: skip
def test_names_that_are_no_text(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        make()
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize("variable", ["FLATSTEP_ISA", "FLATSTEP_NUM_THREADS"])
def test_environment_variables_that_are_no_text(variable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import flatstep"],
        env={**os.environb, variable.encode(): b"a\xffb"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"ImportError: {variable}: expected" in done.stderr
    assert r'got "a\xffb"' in done.stderr
    assert "Unicode" not in done.stderr
