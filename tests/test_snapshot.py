"""Snapshots: a run goes back and on bit for bit; what does not fit is refused, by name."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from snapshots import bits, everything
from updater_table import IN_ORDERS, HeavyBall, UpdaterRow, configuration_id

import flatstep as fs
from flatstep import snapshot as snapshot_module

EACH_DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = {"0_W": (4, 5), "0_b": (5,), "1_W": (3, 11), "1_b": (11,)}


def numbers(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    """Of the parameters' shapes; one is in Fortran's order."""
    rng = np.random.default_rng(seed)
    return {
        key: np.asarray(rng.standard_normal(shape), dtype, order="F" if key == "0_W" else "C")
        for key, shape in SHAPES.items()
    }


def train(updater: Any, seeds: Any) -> None:
    for seed in seeds:
        updater.step(numbers(seed, updater.dtype), batch_size=seed % 3 + 1)


def a_run(dtype: Any = np.float64, steps: int = 3, **settings: Any) -> fs.MultiLayerUpdater:
    """An updater with some steps behind it."""
    config = fs.MultiLayerConfiguration(**{"updater": fs.Adam(0.1), **settings})
    updater = fs.MultiLayerUpdater(config, numbers(0, dtype))
    train(updater, range(1, 1 + steps))
    return updater


def digest(updater: Any) -> Any:
    return everything(updater), bits(updater.accumulated), bits(updater._rates())


def goes_back(updater: Any, more: Callable[[Any], None]) -> None:
    """Twice, and once into a clone: each goes on to the same bits."""
    snapshot, before = updater.snapshot(), digest(updater)
    arrays, views = updater.parameters, updater.state_view
    assert digest(updater) == before
    more(updater)
    after = digest(updater)
    assert after != before
    for _ in range(2):
        updater.restore(snapshot)
        assert digest(updater) == before
        more(updater)
        assert digest(updater) == after
    assert all(updater.parameters[key] is array for key, array in arrays.items())
    assert np.shares_memory(updater.state_view, views) or not views.size
    twin = updater.clone({key: np.zeros_like(array) for key, array in arrays.items()})
    for restored in (snapshot, pickle.loads(pickle.dumps(snapshot)), copy.deepcopy(snapshot)):
        twin.restore(restored)
        assert digest(twin) == before
        more(twin)
        assert digest(twin) == after


@EACH_DTYPE
@pytest.mark.parametrize(("row", "arguments", "semantics"), IN_ORDERS, ids=configuration_id)
def test_every_updater(row: UpdaterRow, arguments: Any, semantics: str, dtype: Any) -> None:
    updater = a_run(
        dtype,
        updater=row.constructor(**arguments),
        semantics=semantics,
        gradient_normalization="ClipL2PerLayer",
        l2=0.01,
    )
    goes_back(updater, lambda u: train(u, range(4, 8)))


@EACH_DTYPE
def test_averages(dtype: Any) -> None:
    updater = a_run(dtype, average_decay=fs.MapSchedule({0: 0.5, 4: 0.75}))
    snapshot, average = updater.snapshot(), updater.averages("0_W").copy()
    goes_back(updater, lambda u: train(u, range(4, 8)))
    assert not np.array_equal(updater.averages("0_W"), average)
    updater.restore(snapshot)
    np.testing.assert_array_equal(updater.averages("0_W"), average)


@pytest.mark.parametrize("kind", ["Exponential", "Inverse", "Poly"])
def test_policies_and_momenta(kind: str) -> None:
    arguments: Any = {
        "Exponential": {"decay_rate": 0.9},
        "Inverse": {"decay_rate": 0.3, "power": 0.5},
        "Poly": {"power": 2, "num_iterations": 11},
    }[kind]
    updater = a_run(
        updater=fs.Nesterovs(0.5, momentum=0.5),
        bias_updater=fs.Sgd(0.25),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy(kind, **arguments),  # type: ignore[arg-type]
        momentum_schedule={1: 0.75, 2: 0.8, 5: 0.9},
    )
    goes_back(updater, lambda u: train(u, range(4, 9)))


def test_a_rate_that_a_policy_has_left() -> None:
    """NaN: load_state_dict refuses it, as no run goes on from there; a snapshot is what was."""
    policy = fs.LearningRatePolicy("Exponential", decay_rate=1e200)
    config = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.0), semantics="dl4j-0.8", learning_rate_policy=policy
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
    for _ in range(3):
        updater.step({"0_W": np.ones(3)})  # 0·inf
    assert np.isnan(updater._rates()[0][0])
    snapshot, before = updater.snapshot(), digest(updater)
    updater.set_learning_rate(0.5)
    updater.restore(snapshot)
    assert digest(updater) == before


def test_rates_set_by_hand() -> None:
    updater = a_run(updater=fs.Sgd(fs.LinearSchedule(1.0, 0.0, 20)))
    configured = updater.snapshot()
    updater.set_learning_rate(0.3, layer="1")

    def more(updater: Any) -> None:
        updater.set_learning_rate(0.4)
        train(updater, [5])

    goes_back(updater, more)
    updater.restore(configured)
    assert updater.learning_rate("1_W", iteration=10) == 0.5


def test_accumulated_gradients() -> None:
    """To the bit, the sign of zero too; where there were none, there are none again."""
    updater = a_run()
    without = updater.snapshot()
    negative = {key: np.copysign(0.0, -np.ones_like(a)) for key, a in numbers(4).items()}
    updater.accumulate(negative)
    updater.accumulated["0_W"][...] = -0.0
    goes_back(updater, lambda u: u.step())
    updater.accumulate(numbers(4))
    updater.accumulate(numbers(5))

    def more(updater: Any) -> None:
        updater.accumulate(numbers(6))
        updater.step()
        assert updater.accumulated is None

    goes_back(updater, more)
    updater.accumulate(numbers(7))
    updater.restore(without)
    assert updater.accumulated is None
    with pytest.raises(ValueError, match="none are bound or accumulated"):
        updater.step()


def test_frozen_layers_and_custom_updaters() -> None:
    frozen = fs.LayerConfiguration(frozen=True)
    for semantics in ("dl4j-1.0", "dl4j-0.8"):
        goes_back(a_run(semantics=semantics, layers={"0": frozen}), lambda u: train(u, range(4, 8)))
        goes_back(
            a_run(semantics=semantics, bias_updater=HeavyBall()), lambda u: train(u, range(4, 8))
        )


def test_skipped_steps_and_epochs() -> None:
    updater = a_run(on_nonfinite="skip")
    updater.epoch = 3
    bad = {key: array * np.nan for key, array in numbers(0).items()}

    def more(updater: Any) -> None:
        updater.step(bad)
        updater.epoch += 1

    goes_back(updater, more)
    assert (updater.skipped_steps, updater.epoch) == (1, 4)


def test_one_flat_array_and_no_elements() -> None:
    flat, params = fs.flatten({"0_W": np.ones((2, 3)), "0_b": np.zeros(0), "1_s": np.array(7.0)})
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam(0.1)), params)
    snapshot, before = updater.snapshot(), flat.copy()
    updater.step({key: np.ones_like(array) for key, array in params.items()})
    assert not np.array_equal(flat, before)
    updater.restore(snapshot)
    np.testing.assert_array_equal(flat, before)


def test_a_snapshot_is_a_copy_that_cannot_be_changed() -> None:
    updater = a_run()
    snapshot = updater.snapshot()
    assert repr(snapshot) == "<Snapshot: 4 parameters, 69 elements, float64, iteration 3>"
    with pytest.raises(AttributeError):
        snapshot._counters = (0, 0, 0)  # type: ignore[misc]
    for array in (*snapshot._parameters, *(values for _, _, values in snapshot._arrays)):
        assert not array.flags.writeable
        assert not any(np.shares_memory(array, own) for own in updater.parameters.values())
        assert not np.shares_memory(array, updater.state_view)


def test_what_restore_leaves_alone() -> None:
    updater = a_run()
    bound = numbers(9)
    updater.bind_gradients(bound)
    snapshot = updater.snapshot()
    updater.step()
    last = updater.last_step
    updater.restore(snapshot)
    assert updater.last_step == last
    updater.step()  # the bound ones


# ------------------------------------------------------------------------------- what does not fit


def of(params: Any, **settings: Any) -> fs.Snapshot:
    return fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(**{"updater": fs.Adam(0.1), **settings}), params
    ).snapshot()


def renamed(**names: str) -> dict[str, Any]:
    return {names.get(key.replace("_", ""), key): array for key, array in numbers(0).items()}


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "type": (
        dict,
        TypeError,
        "restore: expected a Snapshot, as snapshot() gives it, got dict",
    ),
    "fewer": (
        lambda: of({key: a for key, a in numbers(0).items() if key[0] == "0"}),
        ValueError,
        'restore: expected a snapshot of the same parameters: the snapshot lacks "1_W", "1_b"',
    ),
    "more": (
        lambda: of({**numbers(0), "2_W": np.ones(2)}),
        ValueError,
        'restore: expected a snapshot of the same parameters: the updater lacks "2_W"',
    ),
    "others": (
        lambda: of({**renamed(**{"1b": "1_bias"})}),
        ValueError,
        'restore: expected a snapshot of the same parameters: the snapshot lacks "1_b"; '
        'the updater lacks "1_bias"',
    ),
    "order": (
        lambda: of({key: numbers(0)[key] for key in ("1_W", "1_b", "0_W", "0_b")}),
        ValueError,
        "restore: expected a snapshot with the parameters in the updater's order, 0_W, 0_b, 1_W, "
        "1_b, got 1_W, 1_b, 0_W, 0_b",
    ),
    "shape": (
        lambda: of({**numbers(0), "1_W": np.ones((11, 3))}),
        ValueError,
        'restore: parameter "1_W": expected a snapshot with shape (3, 11), as the updater has, got '
        "(11, 3)",
    ),
    "memory order": (
        lambda: of({**numbers(0), "0_W": np.ones((4, 5))}),
        ValueError,
        "restore: parameter \"0_W\": expected a snapshot with order 'F', as the updater has, got "
        "'C'",
    ),
    "dtype": (
        lambda: of(numbers(0, np.float32)),
        ValueError,
        "restore: expected a snapshot of dtype float64, as the updater has, got float32",
    ),
    "configuration": (
        lambda: of(numbers(0), updater=fs.Sgd(0.1)),
        ValueError,
        "restore: expected a snapshot of the same configuration, got one that differs in updater: "
        f"the updater has {fs.Adam(0.1)!r}, the snapshot {fs.Sgd(0.1)!r}",
    ),
    "configurations": (
        lambda: of(numbers(0), l2=0.5, average_decay=0.9),
        ValueError,
        "restore: expected a snapshot of the same configuration, got one that differs in l2: the "
        "updater has 0.0, the snapshot 0.5 (and in average_decay)",
    ),
}


@pytest.mark.parametrize(("make", "exception", "text"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_changes_nothing(
    make: Callable[[], Any], exception: type[Exception], text: str
) -> None:
    updater = a_run()
    updater.accumulate(numbers(4))
    before = digest(updater)
    with pytest.raises(exception) as caught:
        updater.restore(make())
    assert str(caught.value) == text
    assert digest(updater) == before


def test_parameters_that_cannot_be_written() -> None:
    """Or have another shape by now; those before them are left as they were."""
    updater = a_run()
    snapshot = updater.snapshot()
    train(updater, [4])
    before = digest(updater)
    array = updater.parameters["1_b"]
    array.flags.writeable = False
    with pytest.raises(ValueError, match=r'"1_b": expected the array as it was .*read-only'):
        updater.restore(snapshot)
    array.flags.writeable = True
    array.shape = (11, 1)
    with pytest.raises(ValueError, match=r'"1_b": expected the array .*shape \(11, 1\)'):
        updater.restore(snapshot)
    array.shape = (11,)
    assert digest(updater) == before


def test_a_failure_in_the_middle_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the state has been written, and where what was accumulated has been discarded."""
    updater = a_run()
    snapshot = updater.snapshot()
    train(updater, [4])
    updater.accumulate(numbers(5))
    before = digest(updater)

    class Bad:
        def __getitem__(self, key: str) -> Any:
            raise KeyboardInterrupt

    for accumulated in (None, Bad()):
        given = copy.copy(snapshot)
        object.__setattr__(given, "_accumulated", accumulated)
        if accumulated is None:
            object.__setattr__(given, "_parameters", (*snapshot._parameters[:2], *"no"))
        with pytest.raises((KeyboardInterrupt, ValueError)):
            updater.restore(given)
        assert digest(updater) == before


def test_not_during_a_step() -> None:
    """Which a CustomUpdater is called in the middle of."""
    raised: list[Exception] = []

    class Nosy(fs.CustomUpdater):
        def get_gradient(
            self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
        ) -> None:
            for call in (updater.snapshot, lambda: updater.restore(snapshot)):
                with pytest.raises(RuntimeError, match="in the middle of a step") as caught:
                    call()
                raised.append(caught.value)

    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=Nosy()), {"0_W": np.ones(3)})
    snapshot = updater.snapshot()
    updater.step({"0_W": np.full(3, 0.25)})
    assert len(raised) == 2
    np.testing.assert_array_equal(updater.parameters["0_W"], 0.75)


def test_a_restore_that_is_refused_leaves_a_step_of_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that begins as soon as it can, and is under way as long as it may be."""
    entered, leave = threading.Event(), threading.Event()

    class Waits(fs.CustomUpdater):
        def get_gradient(
            self, g: Any, state: Mapping[str, Any], learning_rate: float | None, iteration: int
        ) -> None:
            if iteration > 0:
                entered.set()
                leave.wait(10)

    w = np.ones(3)
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=Waits()), {"0_W": w})
    snapshot = updater.snapshot()
    updater.step({"0_W": np.full(3, 0.25)})

    def step() -> None:
        with contextlib.suppress(RuntimeError):  # it is not let in
            updater.step({"0_W": np.full(3, 0.25)})

    other = threading.Thread(target=step)
    copied = snapshot_module._copied

    def copied_then_stepped(*arguments: Any) -> Any:
        made = copied(*arguments)
        other.start()
        entered.wait(0.2)  # in vain where nobody gets in
        return made

    monkeypatch.setattr(snapshot_module, "_copied", copied_then_stepped)
    try:
        updater.restore(snapshot)
        restored = True
    except RuntimeError:
        restored = False
    leave.set()
    other.join()
    assert restored
    assert (w == 1.0).all()


def test_not_while_others_are_in_the_parameters_place() -> None:
    """The end of the with statement would write over what is restored."""
    updater = a_run(updater=fs.ScheduleFreeAdamW(0.1), average_decay=0.5)
    snapshot = updater.snapshot()
    for show in (updater.averaged, updater.evaluation):
        before = digest(updater)
        with show():
            for name, call in {
                "snapshot": updater.snapshot,
                "restore": lambda: updater.restore(snapshot),
            }.items():
                with pytest.raises(RuntimeError, match=rf"{name}: .* what {show.__name__}\(\) has"):
                    call()
        assert digest(updater) == before
        updater.restore(updater.snapshot())
