"""Arrays, keys and callbacks that mean no good: a documented error or a step, never a crash.

What a refused call leaves is compared to the bit. Under AddressSanitizer (`nox -s sanitize_python`)
each of these also says that nothing was read or written where it should not be.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from oracle.normalization import CHUNK
from snapshots import nothing_changes

import flatstep as fs

SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0))
REFUSED = (TypeError, ValueError)  # ParameterKeyError and the others derive from these
EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
METHODS = ("step", "update", "bind_gradients", "accumulate")


# ------------------------------------------------------------------------------------------ arrays


class Copying(np.ndarray):
    """A subclass that resizes itself and meddles whenever NumPy makes one."""

    def __array_finalize__(self, made_from: Any) -> None:
        self.seen = getattr(made_from, "seen", 0) + 1


class Failing(np.ndarray):
    """A subclass that cannot be made from another."""

    armed = False

    def __array_finalize__(self, made_from: Any) -> None:
        if Failing.armed:
            raise RuntimeError("armed")


class Masked(np.ndarray):
    """A subclass that says it is something else."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return np.ma.MaskedArray

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError


class Raising(np.ndarray):
    """A subclass whose class cannot be asked for."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError


class Liar:
    """No array, but it says so."""

    __class__ = np.ndarray  # type: ignore[assignment]
    dtype = np.dtype(np.float64)
    shape = (12,)
    nbytes = 96


class Interface:
    """No array, but memory at an address that is none."""

    __array_interface__: ClassVar[dict[str, Any]] = {
        "shape": (12,), "typestr": "<f8", "data": (8, False), "version": 3,
    }  # fmt: skip


def base(dtype: Any = np.float64) -> Any:
    return np.arange(1.0, 13.0).astype(dtype)


def misaligned() -> Any:
    return np.zeros(12 * 8 + 1, np.uint8)[1:].view(np.float64)


# What is neither a parameter nor a gradient, whatever the slot of 12 numbers.
BAD_ARRAYS: dict[str, Callable[[], Any]] = {
    "byte-swapped": lambda: base().astype(">f8"),
    "strided": lambda: np.zeros(24)[::2],
    "negative strides": lambda: base()[::-1],
    "transposed": lambda: np.zeros((2, 3, 2)).transpose(1, 0, 2),
    "broadcast": lambda: np.broadcast_to(np.float64(1), (12,)),
    "as_strided, all elements one": lambda: as_strided(np.zeros(1), (12,), (0,)),
    "as_strided, overlapping": lambda: as_strided(np.zeros(9), (3, 4), (16, 8)),
    "misaligned": misaligned,
    "0-d": lambda: np.array(1.0),
    "empty": lambda: np.zeros(0),
    "empty in many dimensions": lambda: np.zeros((12, 0, 3)),
    "one too long": lambda: np.zeros(13),
    "one too short": lambda: np.zeros(11),
    "structured": lambda: np.zeros(12, [("x", "f4"), ("y", "f4")]),
    "objects": lambda: np.full(12, None),
    "complex": lambda: np.zeros(12, complex),
    "long double": lambda: np.zeros(12, np.longdouble),
    "half": lambda: np.zeros(12, np.half),
    "integers": lambda: np.zeros(12, np.int64),
    "strings": lambda: np.full(12, "1.0"),
    "dates": lambda: np.zeros(12, "M8[s]"),
    "masked": lambda: np.ma.masked_array(base(), mask=True),
    "matrix of another shape": lambda: np.zeros((12, 1)),
    "list": lambda: [1.0] * 12,
    "scalar": lambda: np.float64(1),
    "memoryview": lambda: memoryview(base()),
    "bytes": lambda: b"1" * 96,
    "liar": Liar,
    "interface": Interface,
    "itself nested": lambda: {"W": {"W": base()}},
}
EACH_BAD = pytest.mark.parametrize("make", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())


@pytest.mark.parametrize("method", METHODS)
@EACH_BAD
def test_bad_gradients(make: Callable[[], Any], method: str) -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(), {"0_W": base(), "0_b": np.ones(CHUNK)}
    )
    good = np.ones(CHUNK)
    for gradients in (
        {"0_W": make(), "0_b": good},
        {"0_b": good, "0_W": make()},
        {0: {"W": make(), "b": good}},
        [[make(), good]],
    ):
        with nothing_changes(updater, good), pytest.raises(REFUSED):
            getattr(updater, method)(gradients)
    updater.step({"0_W": base(), "0_b": good})


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_parameters(name: str) -> None:
    """Some are only of another size than the slot above; those are parameters like any other."""
    make = BAD_ARRAYS[name]
    array = make()
    if name in (
        "0-d",
        "empty",
        "empty in many dimensions",
        "one too long",
        "one too short",
        "matrix of another shape",
    ):
        fs.MultiLayerUpdater(SGD, {"0_W": array}).step({"0_W": np.ones_like(array)})
        np.testing.assert_array_equal(array, -1.0 if name != "0-d" else 0.0)
        return
    with pytest.raises(REFUSED):
        fs.MultiLayerUpdater(SGD, {"0_W": base(), "1_W": array})
    with pytest.raises(REFUSED):
        fs.MultiLayerUpdater(SGD, {"0_W": array, "1_W": base()})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cls", [Copying, Failing, np.matrix, np.memmap, np.recarray])
def test_subclasses_are_their_memory(cls: Any, method: str) -> None:
    shape = (3, 4) if cls is np.matrix else (12,)
    parameter = np.zeros(shape).view(cls)
    gradient = np.ones(shape).view(cls)
    updater = fs.MultiLayerUpdater(SGD, {"0_W": parameter})
    Failing.armed = cls is Failing
    try:
        getattr(updater, method)({"0_W": gradient})
        if method in ("bind_gradients", "accumulate"):
            updater.step()
    finally:
        Failing.armed = False
    np.testing.assert_array_equal(np.asarray(parameter), 0.0 if method == "update" else -1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cls", [Masked, Raising])
def test_subclasses_with_a_class_of_their_choice(cls: Any, method: str) -> None:
    """What `__class__` says, or whether it can be asked, decides nothing about memory."""
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12), "1_W": np.zeros(12)})
    gradients = {"0_W": np.ones(12).view(cls), "1_W": np.ones(12)}
    try:
        getattr(updater, method)(gradients)
        if method in ("bind_gradients", "accumulate"):
            updater.step()
    except (*REFUSED, RuntimeError):
        np.testing.assert_array_equal(updater.parameters["1_W"], 0.0)
    else:
        expected = 0.0 if method == "update" else -1.0
        np.testing.assert_array_equal(updater.parameters["0_W"], expected)
        np.testing.assert_array_equal(updater.parameters["1_W"], expected)


@EACH_DTYPE
def test_no_elements_and_no_dimensions(dtype: Any) -> None:
    params = {
        "0_a": np.zeros((0,), dtype),
        "0_b": np.zeros((), dtype),
        "1_a": np.zeros((3, 0, 2), dtype),
        "1_b": np.zeros((1, 1, 1, 1), dtype),
    }
    for strategy in fs.GradientNormalization:
        config = fs.MultiLayerConfiguration(
            updater=fs.Adam(0.5), gradient_normalization=strategy, l2=0.5
        )
        updater = fs.MultiLayerUpdater(config, params, monitor=True)
        for method in (updater.step, updater.update):
            method({key: np.ones_like(array) for key, array in params.items()})
        updater.accumulate({key: np.ones_like(array) for key, array in params.items()})
        updater.step()
        assert updater.last_step is not None
        assert np.isfinite(params["0_b"])
        assert updater.clone() == updater


def test_read_only_memory() -> None:
    parameter, gradient = base(), base()
    parameter.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fs.MultiLayerUpdater(SGD, {"0_W": parameter})
    gradient.flags.writeable = False
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12)})
    updater.step({"0_W": gradient})
    with nothing_changes(updater, gradient), pytest.raises(ValueError, match="read-only"):
        updater.update({"0_W": gradient})
    frozen_bytes = np.frombuffer(bytes(96))
    with pytest.raises(ValueError, match="read-only"):
        fs.MultiLayerUpdater(SGD, {"0_W": frozen_bytes})
    updater.step({"0_W": frozen_bytes})


@pytest.mark.parametrize("shift", [1, 5, 11])
def test_overlaps(shift: int) -> None:
    memory = np.zeros(24)
    with pytest.raises(ValueError, match="overlap"):
        fs.MultiLayerUpdater(SGD, {"0_W": memory[:12], "0_b": memory[shift : shift + 12]})
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12), "0_b": np.zeros(12)})
    gradients = {"0_W": memory[:12], "0_b": memory[shift : shift + 12]}
    updater.step(gradients)  # read only: the caller's business
    with nothing_changes(updater, memory), pytest.raises(ValueError, match="overlap"):
        updater.update(gradients)


# -------------------------------------------------------------------------------------------- keys


class Key(str):
    """A key that does something when it is compared or hashed."""

    __slots__ = ()
    on_eq: Callable[[], None] = staticmethod(lambda: None)
    on_hash: Callable[[], None] = staticmethod(lambda: None)

    def __eq__(self, other: object) -> bool:
        Key.on_eq()
        return str.__eq__(self, other)  # type: ignore[no-any-return]

    def __hash__(self) -> int:
        Key.on_hash()
        return str.__hash__(self)


@pytest.fixture(autouse=True)
def _harmless_keys() -> Iterator[None]:
    yield
    Key.on_eq = staticmethod(lambda: None)
    Key.on_hash = staticmethod(lambda: None)


def fail() -> None:
    raise RuntimeError("from within a key")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moment", ["on_eq", "on_hash"])
def test_keys_that_raise(moment: str, method: str) -> None:
    """Their error comes through; a dict that knows their hashes may not even ask."""
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12), "1_W": np.zeros(12)})
    gradients = {Key("0_W"): np.ones(12), Key("1_W"): np.ones(12)}
    setattr(Key, moment, staticmethod(fail))
    try:
        getattr(updater, method)(gradients)
    except RuntimeError as error:
        raised = str(error)
    else:
        raised = ""
    setattr(Key, moment, staticmethod(lambda: None))
    assert raised == "from within a key" or (moment == "on_hash" and not raised)
    if raised:
        assert updater.iteration == 0
        assert updater.accumulated is None
    updater.step({"0_W": np.ones(12), "1_W": np.ones(12)})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [("0_W", "1_W"), ("1_W", "0_W")])
def test_keys_that_empty_their_dict(order: tuple[str, ...], method: str) -> None:
    """While it is read: what was found is used or the call is refused, and nothing is freed."""
    for after in range(6):
        updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(1000), "1_W": np.zeros(1000)})
        gradients = {Key(key): np.ones(1000) for key in order}
        calls = 0

        def empty(gradients: Any = gradients, after: int = after) -> None:
            nonlocal calls
            calls += 1
            if calls == after + 1:
                gradients.clear()
                for _ in range(4):  # takes what was given back
                    np.full(1000, 9.0)

        Key.on_eq = staticmethod(empty)
        try:
            getattr(updater, method)(gradients)
            if method in ("bind_gradients", "accumulate"):
                updater.step()
        except (*REFUSED, RuntimeError):
            expected = 0.0
        else:
            expected = 0.0 if method == "update" else -1.0
        Key.on_eq = staticmethod(lambda: None)
        for array in updater.parameters.values():
            np.testing.assert_array_equal(array, expected)


BAD_KEYS = [
    "", "_", "0_", "_W", "0", "W", "0W", "00_W", "-1_W", "+0_W", "0x0_W", "1e3_W", "٣_W", "0_W\0",
    "\0", "0\ud800_W", "0_\ud800", "9" * 400 + "_W", None, 1.5, b"0_W", ("0", "W"),
    True, float("nan"), frozenset(),
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_bad_keys(key: Any) -> None:
    """Of parameters and of gradients; where a name is legal after all, it works throughout."""
    try:
        made = fs.MultiLayerUpdater(SGD, {key: np.zeros(3)})
    except (*REFUSED, UnicodeError):
        pass
    else:
        made.step({key: np.ones(3)})
    updater = fs.MultiLayerUpdater(SGD, {"7_W": np.zeros(3)})
    for method in METHODS:
        with nothing_changes(updater), pytest.raises((*REFUSED, UnicodeError)):
            getattr(updater, method)({key: np.ones(3)})
        with nothing_changes(updater), pytest.raises((*REFUSED, UnicodeError)):
            getattr(updater, method)({"7_W": np.ones(3), key: np.ones(3)})


class Strange(Mapping[Any, Any]):
    """A mapping whose answers change, fail or never end the same."""

    def __init__(self, keys: Callable[[], Iterator[Any]], item: Callable[[Any], Any]) -> None:
        self.keys_, self.item = keys, item

    def __iter__(self) -> Iterator[Any]:
        return self.keys_()

    def __len__(self) -> int:
        return -1 if self.item is None else 1

    def __getitem__(self, key: Any) -> Any:
        return self.item(key)


def failing_keys() -> Iterator[Any]:
    yield "0_W"
    raise RuntimeError("no more keys")


STRANGE: dict[str, Callable[[], Any]] = {
    "keys that fail": lambda: Strange(failing_keys, lambda key: np.ones(12)),
    "items that fail": lambda: Strange(lambda: iter(["0_W"]), lambda key: {}[key]),
    "other keys each time": lambda: Strange(lambda: iter([object()]), lambda key: np.ones(12)),
    "a negative length": lambda: Strange(lambda: iter([]), None),  # type: ignore[arg-type]
    "an array twice": lambda: Strange(lambda: iter(["0_W", "0_W"]), lambda key: np.ones(12)),
    "a set": lambda: {1, 2},
    "a generator": lambda: (np.ones(12) for _ in range(1)),
    "a string": lambda: "0_W",
    "a class": lambda: dict,
    "a list of itself": lambda: (lambda x: x.append(x) or x)([]),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE.keys())
def test_strange_gradients(make: Callable[[], Any], method: str) -> None:
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12)})
    with nothing_changes(updater), pytest.raises((*REFUSED, RuntimeError, LookupError)):
        getattr(updater, method)(make())


class Counting:
    """An argument that does something when it is asked for its number."""

    def __init__(self, body: Callable[[], Any]) -> None:
        self.body = body

    def __index__(self) -> Any:
        return self.body()

    __int__ = __float__ = __index__


@pytest.mark.parametrize("argument", ["iteration", "epoch", "batch_size"])
def test_numbers_that_act(argument: str) -> None:
    """`__index__` runs Python: it may raise, answer nonsense, or step the updater itself."""
    updater = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(12)})
    gradients = {"0_W": np.ones(12)}
    for body in (fail, lambda: None, lambda: "3", lambda: 1 << 80, lambda: -1):
        with nothing_changes(updater), pytest.raises((*REFUSED, RuntimeError, OverflowError)):
            updater.step(gradients, **{argument: Counting(body)})

    def step() -> int:
        updater.step({"0_W": np.full(12, 2.0)})
        return 1

    updater.step(gradients, **{argument: Counting(step)})
    np.testing.assert_array_equal(updater.parameters["0_W"], -3.0)


# --------------------------------------------------------------------------------------- callbacks

N = 3000


class Calling(fs.CustomUpdater):
    """Its formula is a function of the test's."""

    state = ("m", "v")
    learning_rate = 1.0

    def __init__(self, body: Callable[[Any, Any], Any]) -> None:
        self._body = body

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> Any:
        return self._body(g, state)


def calling(body: Callable[[Any, Any], Any]) -> fs.MultiLayerUpdater:
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(1.0),
        layers={
            "1": fs.LayerConfiguration(updater=Calling(body)),
            "2": fs.LayerConfiguration(updater=Calling(body)),
        },
    )
    return fs.MultiLayerUpdater(config, {f"{layer}_W": np.zeros(N) for layer in range(4)})


def ones() -> dict[str, Any]:
    return {f"{layer}_W": np.ones(N) for layer in range(4)}


def resize(array: Any, size: int) -> None:
    array.resize(size, refcheck=False)


def reshape(array: Any) -> None:
    array.shape = (2, N // 2)


def set_item(state: Any, key: Any, value: Any) -> None:
    state[key] = value


def reenter(updater: Any) -> Callable[[Any, Any], Any]:
    return lambda g, state: updater().step(ones())


# What a callback may do to what it is given, and whether the step must be refused.
DEEDS: dict[str, tuple[Callable[[Any, Any], Any], bool | None]] = {
    "raises": (lambda g, state: fail(), True),
    "raises a lone surrogate": (lambda g, state: {}["\ud800"], True),
    "exits": (lambda g, state: (_ for _ in ()).throw(SystemExit(3)), True),
    "interrupts": (lambda g, state: (_ for _ in ()).throw(KeyboardInterrupt()), True),
    "returns": (lambda g, state: g, True),
    "grows g": (lambda g, state: resize(g, 2 * N), True),
    "shrinks g": (lambda g, state: resize(g, 1), True),
    "empties g": (lambda g, state: resize(g, 0), True),
    "shrinks m": (lambda g, state: resize(state["m"], 1), True),
    "grows v": (lambda g, state: resize(state["v"], 50 * N), True),
    "reshapes g": (lambda g, state: reshape(g), None),
    "retypes g": (lambda g, state: setattr(g, "dtype", np.float32), True),
    "strides g": (lambda g, state: setattr(g, "strides", (0,)), None),
    "locks g": (lambda g, state: g.setflags(write=False), None),
    "clears the state": (lambda g, state: state.clear(), True),
    "replaces m": (lambda g, state: set_item(state, "m", np.zeros(N)), True),
    "swaps m and v": (
        lambda g, state: state.update(m=state["v"], v=state["m"]), True
    ),
    "adds to the state": (lambda g, state: set_item(state, "w", np.zeros(N)), True),
    "adds a number to the state": (lambda g, state: set_item(state, 3, 4), True),
    "adds a hostile key": (lambda g, state: set_item(state, Key("\ud800"), 4), True),
    "fills with NaN": (lambda g, state: g.fill(np.nan), False),
    "does nothing": (lambda g, state: None, False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("deed", "refused"), DEEDS.values(), ids=DEEDS.keys())
def test_callbacks(deed: Callable[[Any, Any], Any], refused: bool | None) -> None:
    """Where it is refused nothing has changed; either way the next step is as good as any."""
    misbehaves = True
    updater = calling(lambda g, state: deed(g, state) if misbehaves else None)
    gradients = ones()
    try:
        updater.step(gradients)
    except BaseException:
        raised = True
        for array in (*updater.parameters.values(), updater.state_view):
            np.testing.assert_array_equal(array, 0.0)
    else:
        raised = False
    assert refused in (raised, None)
    assert updater.iteration == (0 if raised else 1)
    for gradient in gradients.values():
        np.testing.assert_array_equal(gradient, 1.0)
    misbehaves = False
    iteration = updater.iteration
    updater.step(ones())
    assert updater.iteration == iteration + 1
    np.testing.assert_array_equal(updater.parameters["3_W"], -float(updater.iteration))


def test_a_callback_that_keeps_its_arrays() -> None:
    """They are its own: written to later, they change nothing."""
    kept: list[Any] = []
    updater = calling(lambda g, state: kept.extend((g, state, *state.values())))
    updater.step(ones())
    state = updater.state_view.copy()
    for each in kept:
        if isinstance(each, np.ndarray):
            each.fill(77.0)
    updater.step(ones())
    np.testing.assert_array_equal(updater.state_view, state)
    np.testing.assert_array_equal(updater.parameters["1_W"], -2.0)


def test_a_callback_that_deletes_its_updater() -> None:
    """The last name of the updater, from within its own step."""
    held: list[Any] = []

    def drop(g: Any, state: Any) -> None:
        held.clear()
        gc.collect()

    held.append(calling(drop))
    params = held[0].parameters
    held[0].step(ones())
    np.testing.assert_array_equal(params["3_W"], -1.0)


def test_a_callback_that_works_elsewhere() -> None:
    """It may step other updaters, change the threads and the instruction set, and collect."""
    inner = fs.MultiLayerUpdater(SGD, {"0_W": np.zeros(N)})

    def work(g: Any, state: Any) -> None:
        inner.step({"0_W": np.ones(N)})
        fs.set_num_threads(1 + inner.iteration % 3)
        fs.set_isa(fs.available_isas()[inner.iteration % len(fs.available_isas())])
        gc.collect()

    updater = calling(work)
    for count in range(1, 4):
        updater.step(ones())
        np.testing.assert_array_equal(inner.parameters["0_W"], -2.0 * count)
        np.testing.assert_array_equal(updater.parameters["3_W"], -float(count))


def test_a_callback_that_comes_back() -> None:
    """Into its own updater, by every door: refused, and the step with it."""
    doors: list[Callable[[Any], Any]] = [
        lambda u: u.step(ones()),
        lambda u: u.update(ones()),
        lambda u: u.accumulate(ones()),
        lambda u: u.bind_gradients(ones()),
        lambda u: u.discard_accumulated(),
        lambda u: u.set_learning_rate(0.5),
        lambda u: u.clear_learning_rate(),
        lambda u: u.load_state_dict(state),
    ]
    state = calling(lambda g, state: None).state_dict()
    for door in doors:
        held: list[Any] = []
        updater = calling(lambda g, state, door=door, held=held: door(held[0]))  # type: ignore[misc]
        held.append(updater)
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            updater.step(ones())
        assert updater.iteration == 0
        np.testing.assert_array_equal(updater.parameters["0_W"], 0.0)
        held.clear()


def test_state_that_outlives_its_updater() -> None:
    """Views of it keep the memory: written and read after the updater is gone."""
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Adam()), {"0_W": np.zeros(N)}
    )
    updater.accumulate({"0_W": np.ones(N)})
    views = [updater.state_view, *updater.state("0_W").values(), updater.accumulated["0_W"]]
    del updater
    gc.collect()
    for view in views:
        view[...] = 3.0
        assert view.sum() == 3.0 * view.size
