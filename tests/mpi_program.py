"""What every rank of `test_mpi.py` runs: mpiexec -n 2 python tests/mpi_program.py NAME ARGUMENTS

Each scenario is a function. A rank on which it fails ends with its traceback; the others hear of
it.
The twin of a step is that of one process on the gradients that NumPy has added up in the order of
the ranks.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from mpi4py import MPI

import flatstep as fs
from flatstep import _core
from flatstep.mpi import DistributedUpdater

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()

Arrays = dict[str, Any]

#: More than one chunk of 16384 here and there, and parts of none; "3_W" in Fortran's order.
SHAPES = {
    "0_W": (40, 450),
    "0_b": (450,),
    "1_W": (30, 40),
    "1_b": (40,),
    "2_gamma": (300,),
    "2_beta": (300,),
    "2_mean": (300,),
    "2_var": (300,),
    "3_W": (150, 130),
    "3_b": (130,),
    "4_W": (3, 2, 5),
}
FORTRAN = {"3_W", "4_W"}
LAYERS = {
    "1": fs.LayerConfiguration(frozen=True),
    "2": fs.LayerConfiguration(kind="BatchNormalization"),
}


def ordered(key: str, array: Any) -> Any:
    return np.asfortranarray(array) if key in FORTRAN else np.ascontiguousarray(array)


def parameters(dtype: Any, shapes: Any = SHAPES) -> Arrays:
    numbers = np.random.default_rng(7)
    return {
        key: ordered(key, numbers.standard_normal(shape).astype(dtype))
        for key, shape in shapes.items()
    }


class Gradients:
    """Those of every rank at every step, the same wherever they are made."""

    def __init__(self, dtype: Any, shapes: Any = SHAPES, size: int = SIZE) -> None:
        numbers = np.random.default_rng(11)
        self._dtype = np.dtype(dtype).type
        self._size = size
        self._base = [
            {
                key: ordered(key, numbers.standard_normal(shape).astype(dtype))
                for key, shape in shapes.items()
            }
            for _ in range(size)
        ]

    def of(self, rank: int, step: int) -> Arrays:
        factor = self._dtype(np.cos(0.7 * step + rank) * (3 if step % 5 else 0.01))
        return {key: array * factor for key, array in self._base[rank].items()}

    def reduced(self, step: int, mean: bool = True) -> Arrays:
        return reduced([self.of(rank, step) for rank in range(self._size)], mean)


def reduced(given: list[Arrays], mean: bool = True) -> Arrays:
    total = {key: array.copy(order="K") for key, array in given[0].items()}
    for other in given[1:]:
        for key, array in total.items():
            array += other[key]
    if mean:
        for array in total.values():
            array *= array.dtype.type(1) / array.dtype.type(len(given))
    return total


def same_bits(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(a[key].tobytes("K") == b[key].tobytes("K") for key in a)


def shard_of(updater: Any, one: Any) -> dict[str, dict[str, bytes]]:
    """The part of one process's state that a distributed updater has."""
    found: dict[str, dict[str, bytes]] = {}
    for slot in one.layout:
        own = updater.shard[slot.key]
        whole = own == slice(0, slot.size)
        found[slot.key] = {
            name: (array if whole else array.reshape(-1, order=slot.order)[own]).tobytes("A")
            for name, array in one.state(slot.key).items()
        }
        if not whole and own.start == own.stop:
            found[slot.key] = dict.fromkeys(found[slot.key], b"")
    return found


def state_of(updater: Any) -> dict[str, dict[str, bytes]]:
    return {
        slot.key: {name: array.tobytes("A") for name, array in updater.state(slot.key).items()}
        for slot in updater.layout
    }


def all_of(updater: Any, params: Arrays) -> Any:
    """All that a step may change on this rank, to be compared."""
    return (
        {key: array.tobytes("K") for key, array in params.items()},
        state_of(updater),
        (updater.iteration, updater.epoch, updater.skipped_steps),
        updater._rates(),
    )


def error_of(call: Any) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


def rank_text(rank: int) -> str:
    """What a text says of whose fault it is, where there are others."""
    return f"rank {rank}" if SIZE > 1 else ""


def require_same_error(call: Any, kind: type, *texts: str) -> None:
    error = error_of(call)
    assert type(error) is kind, f"rank {RANK}: expected {kind.__name__}, got {error!r}"
    for text in texts:
        assert text in str(error), f"rank {RANK}: {text!r} is not in {error}"
    assert len(set(COMM.allgather(str(error)))) == 1


# --------------------------------------------------------------------------------------------- bits

STRATEGIES = list(fs.GradientNormalization)
ORDERS = ["dl4j-1.0", "dl4j-0.8"]


def updaters() -> list[Any]:
    """Every updater that flatstep has, with its defaults, and one of the user's own."""
    found = []
    for name in sorted(fs.updaters.__all__):
        cls = getattr(fs, name)
        if isinstance(cls, type) and name not in ("Updater", "CustomUpdater"):
            found.append(cls())
    return [*found, Counting()]


class Counting(fs.CustomUpdater):
    """Has a number and an array of its own shape as state."""

    state = ("sum", "steps")

    def __init__(self) -> None:
        super().__init__()

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {"steps": (1,)}

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        state["steps"] += 1
        state["sum"] += g
        g[...] = 0.01 * state["sum"] / np.sqrt(state["steps"])


def table() -> list[tuple[Any, Any, str, Any]]:
    """Updater × strategy × order, in one dtype and in the other by turns."""
    rows = itertools.product(updaters(), STRATEGIES, ORDERS)
    dtypes = itertools.cycle((np.float32, np.float64, np.float64, np.float32, np.float32))
    return [(*row, dtype) for row, dtype in zip(rows, dtypes, strict=False)]


def compare_with_one(configuration: Any, dtype: Any, steps: int, what: str, **options: Any) -> None:
    params, twins = parameters(dtype), parameters(dtype)
    gradients = Gradients(dtype)
    updater = DistributedUpdater(configuration, params, bucket_bytes=1 << 16, **options)
    one = fs.create_updater(configuration, twins)
    mean = options.get("reduce", "mean") == "mean"
    for step in range(steps):
        updater.step(gradients.of(RANK, step), batch_size=2)
        one.step(gradients.reduced(step, mean), batch_size=2)
    assert same_bits(params, twins), f"{what}: parameters"
    assert state_of(updater) == shard_of(updater, one), f"{what}: state"
    assert repr(updater.last_step) == repr(one.last_step), f"{what}: last step"
    assert updater._rates() == one._rates(), what


def bits(first: str, stride: str) -> None:
    """Every so many of the table."""
    for number, (rule, strategy, order, dtype) in enumerate(table()):
        if number % int(stride) != int(first) % int(stride):
            continue
        fs.set_num_threads(1 + number % 2)
        what = f"{rule} {strategy} {order} {np.dtype(dtype)}"
        try:
            configuration = fs.MultiLayerConfiguration(
                updater=rule,
                gradient_normalization=strategy,
                gradient_normalization_threshold=0.5,
                semantics=order,
                l2=1e-3,
                layers=LAYERS,
            )
            fs.create_updater(configuration, parameters(dtype))
        except (TypeError, ValueError):
            assert order == "dl4j-0.8", what  # which refuses weight decay
            continue
        compare_with_one(configuration, dtype, 50, what)


def variants() -> None:
    """What the table does not have."""
    adam = fs.Adam(1e-2)
    clipped = {"gradient_normalization": "ClipL2Global", "layers": LAYERS}
    mixed = {
        **LAYERS,
        "0": fs.LayerConfiguration(updater=fs.Nesterovs(0.1)),
        "3": fs.LayerConfiguration(
            updater=fs.Lamb(0.01), params={"b": fs.ParamConfiguration(updater=Counting())}
        ),
    }
    configurations = {
        "averages": fs.MultiLayerConfiguration(updater=adam, average_decay=0.9, **clipped),
        "mixed": fs.MultiLayerConfiguration(
            updater=adam, layers=mixed, gradient_normalization="RenormalizeL2PerLayer"
        ),
        "propagate": fs.MultiLayerConfiguration(updater=adam, on_nonfinite="propagate"),
        "schedule": fs.MultiLayerConfiguration(
            updater=fs.Adam(fs.CosineSchedule(0.1, 20)), maximize=True, **clipped
        ),
        "policy": fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.1),
            semantics="dl4j-0.8",
            learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.99),
        ),
    }
    for name, configuration in configurations.items():
        for dtype in (np.float32, np.float64):
            for options in (
                {},
                {"monitor": True},
                {"shard": False},
                {"reduce": "sum"},
                {"shard": False, "monitor": True, "reduce": "sum"},
            ):
                if options.get("monitor") and name == "mixed" and "shard" in options:
                    continue
                what = f"{name} {dtype} {options}"
                params, twins = parameters(dtype), parameters(dtype)
                gradients = Gradients(dtype)
                updater = DistributedUpdater(configuration, params, bucket_bytes=1, **options)
                monitor = bool(options.get("monitor"))
                one = fs.create_updater(configuration, twins, monitor=monitor)
                for step in range(6):
                    updater.step(gradients.of(RANK, step))
                    one.step(gradients.reduced(step, options.get("reduce") != "sum"))
                assert same_bits(params, twins), what
                assert state_of(updater) == shard_of(updater, one), what
                assert repr(updater.last_step) == repr(one.last_step), what


def own_order() -> None:
    """deterministic=False: what MPI adds up, near what we do."""
    configuration = fs.MultiLayerConfiguration(updater=fs.Adam(1e-2), layers=LAYERS)
    for shard in (True, False):
        params, twins = parameters(np.float64), parameters(np.float64)
        gradients = Gradients(np.float64)
        updater = DistributedUpdater(
            configuration, params, deterministic=False, shard=shard, bucket_bytes=1 << 16
        )
        one = fs.create_updater(configuration, twins)
        for step in range(10):
            updater.step(gradients.of(RANK, step))
            one.step(gradients.reduced(step))
        for key, array in params.items():
            np.testing.assert_allclose(array, twins[key], rtol=1e-10, atol=1e-12)
        found = COMM.allgather({key: array.tobytes("K") for key, array in params.items()})
        assert all(each == found[0] for each in found)


# -------------------------------------------------------------------------------------------- doors


def doors() -> None:
    """All that a MultiLayerUpdater has and makes sense here, against one process."""
    dtype = np.float32
    gradients = Gradients(dtype)
    configuration = fs.MultiLayerConfiguration(
        updater=fs.ScheduleFreeAdamW(1e-2), average_decay=0.5, layers=LAYERS
    )
    params, twins = parameters(dtype), parameters(dtype)
    _, views = fs.flatten(params)
    updater = DistributedUpdater(configuration, views)
    one = fs.MultiLayerUpdater(configuration, twins)
    assert (updater.rank, updater.size) == (RANK, SIZE)
    # bound gradients
    bound = gradients.of(RANK, 0)
    updater.bind_gradients(bound)
    updater.step()
    one.step(gradients.reduced(0))
    assert same_bits(views, twins)
    # what is accumulated is added up on each rank, then over the ranks
    for step in (1, 2):
        assert updater.accumulate(gradients.of(RANK, step))
    sums = []
    for rank in range(SIZE):
        first, second = gradients.of(rank, 1), gradients.of(rank, 2)
        sums.append({key: (0 + first[key]) + second[key] for key in first})
    updater.step(gradient_scale=0.5)
    one.step(reduced(sums), gradient_scale=0.5)
    assert same_bits(views, twins)
    assert updater.accumulated is None
    # updates instead of steps
    given, twin = gradients.of(RANK, 3), gradients.reduced(3)
    updater.update(given, iteration=7, epoch=2)
    one.update(twin, iteration=7, epoch=2)
    assert same_bits(given, twin)
    assert same_bits(views, twins)
    assert (updater.iteration, updater.epoch) == (8, 2)
    replicated = DistributedUpdater(fs.MultiLayerConfiguration(layers=LAYERS), views, shard=False)
    other = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(layers=LAYERS), twins)
    given, twin = gradients.of(RANK, 3), gradients.reduced(3)
    replicated.update(given)
    other.update(twin)
    assert same_bits(given, twin)
    # rates
    updater.set_learning_rate(0.25, layer=0)
    one.set_learning_rate(0.25, layer=0)
    require_same_error(
        lambda: updater.set_learning_rate(0.25 if RANK else 0.5),
        ValueError if SIZE > 1 else type(None),
        *(["set_learning_rate: expected the same rates"] if SIZE > 1 else []),
    )
    if SIZE == 1:
        one.set_learning_rate(0.5)
    assert updater._rates() == one._rates()
    updater.step(gradients.of(RANK, 4))
    one.step(gradients.reduced(4))
    updater.clear_learning_rate()
    one.clear_learning_rate()
    updater.step(gradients.of(RANK, 5))
    one.step(gradients.reduced(5))
    # points
    before = {key: array.copy(order="K") for key, array in views.items()}
    with updater.averaged(), one.averaged():
        assert same_bits(views, twins)
    with updater.evaluation(), one.evaluation():
        assert same_bits(views, twins)
        assert not same_bits(views, before)
    assert same_bits(views, before)
    assert same_bits(views, twins)
    # what it is
    assert str(updater.settings()) == str(one.settings())
    assert updater.updater_blocks == one.updater_blocks
    assert updater.layout == one.layout
    for name, call in {
        "clone": updater.clone,
        "state_dict": updater.state_dict,
        "load_state_dict": lambda: updater.load_state_dict({}),
        "snapshot": updater.snapshot,
        "restore": lambda: updater.restore(None),
        "pickle": lambda: __import__("pickle").dumps(updater),
        "copy": lambda: __import__("copy").deepcopy(updater),
    }.items():
        error = error_of(call)
        assert type(error) is TypeError, (name, error)
        assert name in str(error), (name, error)
        assert "DistributedUpdater" in str(error)
    assert updater == updater
    assert updater != replicated
    # names, nested as anywhere
    nested = {"fc": {"kernel": np.ones((3, 2)), "bias": np.zeros(2)}}
    DistributedUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), nested).step(
        {"fc": {"kernel": np.full((3, 2), RANK + 1.0), "bias": np.ones(2)}}
    )
    mean = sum(range(1, SIZE + 1)) / SIZE
    np.testing.assert_allclose(nested["fc"]["kernel"], 1 - 0.5 * mean)
    bare = np.ones(4)
    DistributedUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), bare).step(np.ones(4))
    assert (bare == 0.5).all()
    # a communicator of some of the ranks
    half = COMM.Split(RANK % 2, RANK)
    alone = {"0_W": np.ones(40000)}
    part = DistributedUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), alone, comm=half)
    part.step({"0_W": np.full(40000, float(RANK))})
    mine = [rank for rank in range(SIZE) if rank % 2 == RANK % 2]
    np.testing.assert_allclose(alone["0_W"], 1 - np.mean(mine))


# ------------------------------------------------------------------------------------------- faults


class Fragile(fs.CustomUpdater):
    """Fails where it is told to: its slots are one rank's alone."""

    state = ("m",)
    fails = False

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        state["m"] += g
        if Fragile.fails:
            raise LookupError("no such thing")
        g *= 0.1


def faulty(fault: str, gradients: Arrays) -> Arrays:
    """These gradients, with something wrong."""
    if fault == "key":
        del gradients["0_b"]
    elif fault == "dtype":
        gradients["0_b"] = gradients["0_b"].astype(np.int32)
    elif fault == "nan":
        gradients["3_W"][2, 3] = np.nan
    elif fault == "infinity":
        gradients["0_W"][39, 1] = -np.inf
    return gradients


ERRORS: dict[str, tuple[type, tuple[str, ...]]] = {
    "key": (fs.ParameterKeyError, ('missing "0_b"',)),
    "dtype": (TypeError, ('"0_b"', "int32")),
    "nan": (fs.NonFiniteGradientError, ('"3_W"',)),
    "infinity": (fs.NonFiniteGradientError, ('"0_W"',)),
}


def fragile_network() -> tuple[Any, Arrays, Any, Arrays, Gradients]:
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(1e-2),
        gradient_normalization="ClipL2PerLayer",
        layers={**LAYERS, "3": fs.LayerConfiguration(updater=Fragile())},
    )
    params, twins = parameters(np.float32), parameters(np.float32)
    updater = DistributedUpdater(configuration, params)
    one = fs.create_updater(configuration, twins)
    return updater, params, one, twins, Gradients(np.float32)


def faults() -> None:
    """Each rank in turn is given each fault: all raise, nothing changes, and all can go on."""
    updater, params, one, twins, gradients = fragile_network()
    step = 0

    def go_on() -> None:
        nonlocal step
        updater.step(gradients.of(RANK, step))
        one.step(gradients.reduced(step))
        step += 1
        assert same_bits(params, twins)
        assert state_of(updater) == shard_of(updater, one)

    go_on()
    for bad in range(SIZE):
        for fault, (kind, texts) in ERRORS.items():
            before = all_of(updater, params)
            given = gradients.of(RANK, step)
            if bad == RANK:
                given = faulty(fault, given)
            for method in (updater.step, updater.update):
                kept = {key: array.tobytes("K") for key, array in given.items()}
                require_same_error(lambda m=method, g=given: m(g), kind, rank_text(bad), *texts)
                assert {key: array.tobytes("K") for key, array in given.items()} == kept
                assert all_of(updater, params) == before
            require_same_error(lambda g=given: updater.accumulate(g), kind, rank_text(bad), *texts)
            assert updater.accumulated is None
            go_on()
        # an exception in a CustomUpdater, on the ranks that have its slots
        before = all_of(updater, params)
        Fragile.fails = True
        owners = [
            rank
            for rank, shard in enumerate(COMM.allgather(updater.shard))
            if any(shard[key] == slice(0, int(np.prod(SHAPES[key]))) for key in ("3_W", "3_b"))
        ]
        require_same_error(
            lambda: updater.step(gradients.of(RANK, step)),
            LookupError,
            *(["no such thing"] + ([f"rank {owners[0]}"] if SIZE > 1 else [])),
        )
        Fragile.fails = False
        assert all_of(updater, params) == before
        go_on()
        # arguments that are not the same
        before = all_of(updater, params)
        if SIZE > 1:
            for name, value in {"iteration": 70, "epoch": 3, "batch_size": 4}.items():
                given = {name: value} if bad == RANK else {}
                require_same_error(
                    lambda g=given: updater.step(gradients.of(RANK, step), **g),
                    ValueError,
                    f"expected the same {name} on every rank",
                )
            require_same_error(
                (lambda: updater.set_learning_rate(0.1))
                if bad == RANK
                else (lambda: updater.step(gradients.of(RANK, step))),
                RuntimeError,
                "expected the same call on every rank",
            )
        require_same_error(
            lambda b=bad: updater.step(gradients.of(RANK, step), batch_size=0 if b == RANK else 1),
            ValueError,
            "batch_size",
        )
        assert all_of(updater, params) == before
        go_on()


def skipping() -> None:
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(1e-2), on_nonfinite="skip", layers=LAYERS
    )
    params, twins = parameters(np.float64), parameters(np.float64)
    updater = DistributedUpdater(configuration, params, bucket_bytes=1 << 15)
    one = fs.create_updater(configuration, twins)
    gradients = Gradients(np.float64)
    for step in range(4 * SIZE):
        given = [gradients.of(rank, step) for rank in range(SIZE)]
        if step % 4 == 1:
            faulty("nan", given[step // 4])
        if step % 4 == 3:
            assert updater.accumulate(given[RANK])
            faulty("infinity", given[step // 4])
            skipped = updater.skipped_steps
            assert not updater.accumulate(given[RANK])
            assert updater.skipped_steps == skipped + 1
            updater.step()
            one.skipped_steps += 1
            clean = [gradients.of(rank, step) for rank in range(SIZE)]
            one.step(reduced([{k: 0 + a for k, a in g.items()} for g in clean]))
        else:
            updater.step(given[RANK])
            one.step(reduced(given))
        assert updater.skipped_steps == one.skipped_steps
        assert repr(updater.last_step) == repr(one.last_step)
    assert same_bits(params, twins)
    assert state_of(updater) == shard_of(updater, one)


def overflow() -> None:
    """Finite on every rank, and not as a sum."""
    params = {"0_W": np.zeros(3, np.float32)}
    updater = DistributedUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), params)
    largest = np.full(3, np.finfo(np.float32).max)
    with np.errstate(over="ignore"):
        require_same_error(
            lambda: updater.step({"0_W": largest}),
            fs.NonFiniteGradientError,
            "only the ranks' sum",
        )
    assert not params["0_W"].any()


def construction() -> None:
    """Every rank in turn is different."""
    config = fs.MultiLayerConfiguration(updater=fs.Adam(1e-2))

    def make(configuration: Any, params: Any, **options: Any) -> None:
        DistributedUpdater(configuration, params, **options)

    a = np.ones((3, 2))
    for odd in range(SIZE):
        mine = odd == RANK
        cases: list[tuple[str, Any, Any, dict[str, Any], type]] = [
            ("configuration.updater", fs.MultiLayerConfiguration(), {"0_W": a}, {}, ValueError),
            ("configuration.l2", fs.MultiLayerConfiguration(updater=fs.Adam(1e-2), l2=0.1),
             {"0_W": a}, {}, ValueError),
            ("list of keys", config, {"0_b": a}, {}, ValueError),
            ("layout", config, {"0_W": np.ones((2, 3))}, {}, ValueError),
            ("layout", config, {"0_W": np.asfortranarray(a)}, {}, ValueError),
            ("dtype", config, {"0_W": a.astype(np.float32)}, {}, ValueError),
            ("values of parameter", config, {"0_W": a * 2}, {}, ValueError),
            ("reduce", config, {"0_W": a}, {"reduce": "sum"}, ValueError),
            ("shard", config, {"0_W": a}, {"shard": False}, ValueError),
            ("bucket_bytes", config, {"0_W": a}, {"bucket_bytes": 5}, ValueError),
            (f"rank {odd}", config, {"0_W": a.astype(int)}, {}, TypeError),
            (f"rank {odd}", config, {"0_W": a}, {"bucket_bytes": 0}, ValueError),
            (f"rank {odd}", config, {"0_W": a}, {"reduce": "max"}, ValueError),
            (f"rank {odd}", config, {"0_W": a, "0_b": a}, {}, ValueError),
        ]  # fmt: skip
        for text, configuration, params, options, kind in cases:
            if mine:
                error = error_of(lambda c=configuration, p=params, o=options: make(c, p, **o))
            else:
                error = error_of(lambda: make(config, {"0_W": a.copy()}))
            assert type(error) is kind, (text, repr(error))
            assert text in str(error), (text, str(error))
    assert type(error_of(lambda: make(config, {"0_W": a}, comm=3))) is TypeError
    make(config, {"0_W": a})


def schedules_of_faults(seed: str, count: str) -> None:
    """Random sequences of calls, some of which a rank spoils; twins take those that nobody does."""
    for number in range(int(count)):
        choice = random.Random(int(seed) * 1000003 + number)  # the same on every rank
        updater, params, one, twins, gradients = fragile_network()
        for step in range(choice.randint(3, 8)):
            bad = {rank for rank in range(SIZE) if choice.random() < 0.25}
            fault = {rank: choice.choice([*ERRORS, "argument", "custom"]) for rank in bad}
            kind = choice.choice(["step", "step", "update", "accumulate", "rate", "leave"])
            mine = fault.get(RANK)
            Fragile.fails = any(each == "custom" for each in fault.values())
            given = gradients.of(RANK, step)
            twin = gradients.reduced(step)
            if mine in ERRORS:
                given = faulty(mine, given)
            options = {"batch_size": 0} if mine == "argument" else {}
            before = all_of(updater, params)
            if kind == "step":
                error = error_of(lambda u=updater, g=given, o=options: u.step(g, **o))
            elif kind == "update":
                error = error_of(lambda u=updater, g=given, o=options: u.update(g, **o))
            elif kind == "accumulate":
                error = error_of(lambda u=updater, g=given: u.accumulate(g))
            elif kind == "rate":
                value = -1.0 if mine else 0.02
                error = error_of(lambda u=updater, v=value: u.set_learning_rate(v))
            else:
                error = None
            kinds = {type(each).__name__ for each in COMM.allgather(error)}
            assert len(kinds) == 1, kinds
            if error is not None:
                assert all_of(updater, params) == before
                assert bad
                continue
            if kind == "step":
                one.step(twin)
            elif kind == "update":
                one.update(twin)
                assert same_bits(given, twin)
            elif kind == "accumulate":
                updater.discard_accumulated()
            elif kind == "rate":
                one.set_learning_rate(0.02)
            assert same_bits(params, twins), (number, step, kind)
            assert state_of(updater) == shard_of(updater, one), (number, step, kind)
        Fragile.fails = False


def leaving(who: str, how: str) -> None:
    """One rank ends its program between steps: the others hear of it in the next call."""
    updater, params, _, _, gradients = fragile_network()
    updater.step(gradients.of(RANK, 0))
    before = all_of(updater, params)
    if int(who) == RANK:
        if how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        elif how == "exit":
            sys.exit(3)
        raise ArithmeticError("this rank's own fault")
    error = error_of(lambda: updater.step(gradients.of(RANK, 1)))
    assert type(error) is RuntimeError, error
    reason = {"interrupt": "KeyboardInterrupt", "exit": "program has ended", "error": "own fault"}
    assert f"rank {who} has left" in str(error), error
    assert reason[how] in str(error), error
    assert all_of(updater, params) == before
    again = error_of(lambda: updater.save("never"))  # nobody waits
    assert type(again) is RuntimeError, again
    print(f"rank {RANK} heard", flush=True)
    sys.exit(4)


def interrupted() -> None:
    """Ctrl-C while a step is under way comes when it is over, on that rank alone."""
    updater, params, one, twins, gradients = fragile_network()
    comm = InterruptingComm(updater._ranks.comm)
    updater._ranks.comm = comm
    updater._ranks.ranks.comm = comm
    for step in range(12 * SIZE):
        comm.calls_left = step // SIZE if step % SIZE == RANK else -1
        error = error_of(lambda s=step: updater.step(gradients.of(RANK, s)))
        came, comm.calls_left = comm.has_come, -1
        assert type(error) is (KeyboardInterrupt if came else type(None)), (step, error)
        comm.has_come = False
        one.step(gradients.reduced(step))
        assert same_bits(params, twins), step


class InterruptingComm:
    """A communicator in one of whose calls Ctrl-C is pressed."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.calls_left = -1
        self.has_come = False

    def __getattr__(self, name: str) -> Any:
        if self.calls_left == 0:
            self.has_come = True
            os.kill(os.getpid(), signal.SIGINT)
        self.calls_left -= 1
        return getattr(self._comm, name)


def killed(path: str, who: str, steps: str) -> None:
    """Saves after every step; one rank is killed in the middle."""
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(1e-2), gradient_normalization="ClipL2Global"
    )
    params = parameters(np.float32)
    updater = DistributedUpdater(configuration, params)
    gradients = Gradients(np.float32, size=3)
    for step in range(int(steps)):
        if step == int(steps) - 1 and int(who) == RANK:
            os.kill(os.getpid(), signal.SIGKILL)
        # The same reduced gradient for any number of ranks.
        updater.step(gradients.reduced(step))
        updater.save(path)
    raise AssertionError("the job went on without one of its ranks")


def resumed(path: str, steps: str) -> None:
    """Goes on from there, on another number of ranks, to the bits of a run without a kill."""
    updater = fs.mpi.load_updater(path)
    gradients = Gradients(np.float32, size=3)
    twins = parameters(np.float32)
    one = fs.create_updater(
        fs.MultiLayerConfiguration(updater=fs.Adam(1e-2), gradient_normalization="ClipL2Global"),
        twins,
    )
    assert SIZE in (1, 2, 4), "a power of two leaves the mean of equals as it is"
    for step in range(int(steps)):
        one.step(gradients.reduced(step))
        if step >= updater.iteration:
            updater.step(gradients.reduced(step))
    assert same_bits(updater.parameters, twins)


# -------------------------------------------------------------------------------------- checkpoints


def checkpoint_configuration() -> Any:
    fs.register_updater(Counting)
    return fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.CosineSchedule(1e-2, 30)),
        average_decay=0.9,
        layers={
            **LAYERS,
            "0": fs.LayerConfiguration(updater=fs.ScheduleFreeAdamW(0.01)),
            "4": fs.LayerConfiguration(updater=Counting()),
        },
    )


def zero_like(arrays: Arrays) -> Arrays:
    return {key: np.zeros_like(array) for key, array in arrays.items()}


def save_steps(folder: str, first: str, last: str) -> None:
    """Steps on from the file of step `first`, with the sum of what the ranks have, and saves."""
    configuration = checkpoint_configuration()
    gradients = Gradients(np.float64, size=4)
    old, new = (f"{folder}/{step}.safetensors" for step in (first, last))
    if first == "0":
        updater = DistributedUpdater(configuration, parameters(np.float64), reduce="sum")
        updater.set_learning_rate(0.003, layer=3)
    else:
        updater = fs.mpi.load_updater(old, bucket_bytes=1 << 14, reduce="sum")
    assert updater.iteration == int(first)
    for step in range(int(first), int(last)):
        whole = gradients.reduced(step)
        updater.step(whole if RANK == SIZE - 1 else zero_like(whole))
    updater.save(new)


def plain_steps(folder: str, last: str) -> None:
    """What one process makes of the same, without MPI, for its file to be compared."""
    one = fs.create_updater(checkpoint_configuration(), parameters(np.float64))
    one.set_learning_rate(0.003, layer=3)
    gradients = Gradients(np.float64, size=4)
    for step in range(int(last)):
        one.step(gradients.reduced(step))
    one.save(f"{folder}/plain.safetensors")


def refuse_files(folder: str) -> None:
    """Every rank hears of what is wrong with a file, or with the place for one."""
    updater = DistributedUpdater(checkpoint_configuration(), parameters(np.float64))
    path = f"{folder}/good.safetensors"
    updater.save(path)
    before = Path(path).read_bytes()
    require_same_error(lambda: updater.save(f"{folder}/none/x"), FileNotFoundError, "none")
    updater.accumulate(Gradients(np.float64).of(RANK, 0))
    require_same_error(lambda: updater.save(path), ValueError, "accumulated")
    assert Path(path).read_bytes() == before
    COMM.Barrier()
    params = parameters(np.float64)
    kept = {key: array.tobytes("K") for key, array in params.items()}
    for name, place in {"early": 9, "header": 300, "late": len(before) - 3}.items():
        bad = f"{folder}/{name}.safetensors"
        if RANK == 0:
            Path(bad).write_bytes(before[:place] + bytes([before[place] ^ 4]) + before[place + 1 :])
        COMM.Barrier()
        require_same_error(lambda b=bad: fs.mpi.load_updater(b, params), fs.CheckpointError, name)
    cut = f"{folder}/cut.safetensors"
    if RANK == 0:
        Path(cut).write_bytes(before[: len(before) // 2])
    COMM.Barrier()
    require_same_error(lambda: fs.mpi.load_updater(cut, params), fs.CheckpointError, "cut")
    require_same_error(lambda: fs.mpi.load_updater(f"{folder}/no"), FileNotFoundError, "no")
    odd = parameters(np.float64)
    if RANK == SIZE - 1:
        del odd["0_b"]
    require_same_error(
        lambda: fs.mpi.load_updater(path, odd), fs.CheckpointError, f"rank {SIZE - 1}" * (SIZE > 1)
    )
    assert {key: array.tobytes("K") for key, array in params.items()} == kept
    one = fs.load_updater(path)  # on one process
    one.accumulate(Gradients(np.float64).of(0, 0))
    if RANK == 0:
        one.save(f"{folder}/sums.safetensors")
    COMM.Barrier()
    require_same_error(
        lambda: fs.mpi.load_updater(f"{folder}/sums.safetensors"), fs.CheckpointError, "accumulated"
    )


# ----------------------------------------------------------------------------------- narrow storage

BFLOAT16 = ml_dtypes.bfloat16
HALF = np.float16
SMALL = {"state_storage": "8bit"}  # where a slot of few elements is not left full
#: "3_W" is cut on any number of ranks.
NARROW_SHAPES = {**SHAPES, "3_W": (150, 260)}

#: Dtypes of parameters and of gradients, each by turns, and what the configuration says.
STORAGES: list[tuple[list[Any], list[Any], dict[str, Any]]] = [
    ([np.float32], [BFLOAT16], {}),
    ([np.float32], [HALF, np.float32, BFLOAT16], {"state_storage": "8bit"}),
    ([np.float64], [np.float32], {}),
    ([np.float64], [np.float64, np.float32], {"average_decay": 0.9}),
    ([np.float32], [np.float32], {"state_storage": "16bit", "average_decay": 0.9}),
    ([BFLOAT16], [BFLOAT16], {"master": "split", "state_storage": "8bit"}),
    ([BFLOAT16], [np.float32], {"master": "split", "average_decay": 0.9}),
    ([BFLOAT16], [HALF], {"master": "full", "state_storage": "16bit"}),
    ([HALF], [HALF], {"master": "full", "state_storage": "8bit", "average_decay": 0.5}),
    ([np.float32, BFLOAT16, HALF], [BFLOAT16, HALF], {"master": "full", "state_storage": "16bit"}),
]


def by_turns(arrays: Arrays, dtypes: list[Any]) -> Arrays:
    """Each in one of the dtypes."""
    each = itertools.cycle(dtypes)
    return {key: array.astype(next(each), order="K") for key, array in arrays.items()}


def wide(arrays: Arrays, dtype: Any) -> Arrays:
    return {key: array.astype(dtype) for key, array in arrays.items()}


def narrow_rows() -> list[tuple[Any, Any, int]]:
    """Updater, strategy and the number of a storage: every pair of updater and storage."""
    return [
        (rule, STRATEGIES[(place + storage) % len(STRATEGIES)], storage)
        for place, rule in enumerate(updaters())
        for storage in range(len(STORAGES))
    ]


class Narrow:
    """A distributed updater of some storage, and its twin of one process."""

    def __init__(
        self,
        storage: int,
        options: dict[str, Any] | None = None,
        shapes: Any = NARROW_SHAPES,
        **fields: Any,
    ) -> None:
        params, gradients, more = STORAGES[storage]
        self.dtype = np.float64 if params == [np.float64] else np.float32
        if "state_storage" in more:
            layers = {**LAYERS, "4": fs.LayerConfiguration(**SMALL)}
        else:
            layers = LAYERS
        self.configuration = fs.MultiLayerConfiguration(**{"layers": layers, **more, **fields})
        self.params = by_turns(parameters(self.dtype, shapes), params)
        self.twins = by_turns(parameters(self.dtype, shapes), params)
        self._gradients = Gradients(self.dtype, shapes)
        self._dtypes = gradients
        options = options or {}
        self._mean = options.get("reduce", "mean") == "mean"
        self.one = fs.create_updater(
            self.configuration, self.twins, monitor=options.get("monitor", False)
        )
        self.updater = DistributedUpdater(
            self.configuration, self.params, **{"bucket_bytes": 1 << 16, **options}
        )

    def of(self, rank: int, step: int) -> Arrays:
        return by_turns(self._gradients.of(rank, step), self._dtypes)

    def reduced(self, step: int) -> Arrays:
        return self.reduced_of([self.of(rank, step) for rank in range(SIZE)])

    def reduced_of(self, given: list[Arrays]) -> Arrays:
        return reduced([wide(each, self.dtype) for each in given], self._mean)

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            self.updater.step(self.of(RANK, step), batch_size=2)
            self.one.step(self.reduced(step), batch_size=2)

    def require_same(self, what: str) -> None:
        assert same_bits(self.params, self.twins), f"{what}: parameters"
        for place, slot in enumerate(self.one.layout):
            own = self.updater.shard[slot.key]
            whole = own == slice(0, slot.size)
            blocks = slice(own.start // 256, -(-own.stop // 256))
            for name, array in self.one._kept(place).items():
                kept = self.updater._kept(place)[name]
                if not whole:
                    flat = array.reshape(-1, order=slot.order)
                    is_scale = array.shape != slot.shape and name.endswith(".scale")
                    array = flat[blocks if is_scale else own]
                    if own.start == own.stop:
                        array = array[:0]
                assert kept.dtype == array.dtype, (what, slot.key, name)
                assert kept.tobytes("A") == array.tobytes("A"), (what, slot.key, name)
            average = self.one._average(place)
            if average is not None:
                flat = average.reshape(-1, order=slot.order)[own]
                found = self.updater._average(place).reshape(-1, order=slot.order)
                assert found.tobytes() == flat.tobytes(), (what, slot.key)
        assert repr(self.updater.last_step) == repr(self.one.last_step), what


def narrow_bits(first: str, stride: str) -> None:
    """Every so many pairs of updater and storage."""
    rows = narrow_rows()[int(first) % int(stride) :: int(stride)]
    for number, (rule, strategy, storage) in enumerate(rows):
        fs.set_num_threads(1 + number % 2)
        what = f"{rule} {strategy} {STORAGES[storage]}"
        options: dict[str, Any] = [
            {},
            {"monitor": True},
            {"shard": False},
            {"bucket_bytes": 1, "reduce": "sum"},
        ][number // 2 % 4]
        fields = {
            "updater": rule,
            "gradient_normalization": strategy,
            "gradient_normalization_threshold": 0.5,
            "l2": 1e-3,
        }
        try:
            fs.MultiLayerConfiguration(**STORAGES[storage][2], **fields)
        except (TypeError, ValueError):
            continue
        pair = Narrow(storage, options, **fields)
        pair.steps(0, 4)
        pair.require_same(what)


def narrow_doors() -> None:
    """All that a DistributedUpdater has, with narrow gradients, parameters and state."""
    for storage in range(len(STORAGES)):
        pair = Narrow(storage, updater=fs.ScheduleFreeAdamW(1e-2))
        updater, one = pair.updater, pair.one
        what = str(STORAGES[storage])
        bound = pair.of(RANK, 0)
        updater.bind_gradients(bound)
        updater.step()
        one.step(pair.reduced(0))
        pair.require_same(f"{what}: bound")
        assert updater.accumulate(pair.of(RANK, 1))
        assert updater.accumulate(pair.of(RANK, 2))
        sums = []
        for rank in range(SIZE):
            a, b = (wide(pair.of(rank, step), pair.dtype) for step in (1, 2))
            sums.append({key: (0 + a[key]) + b[key] for key in a})
        updater.step(gradient_scale=0.5)
        one.step(pair.reduced_of(sums), gradient_scale=0.5)
        pair.require_same(f"{what}: accumulated")
        given = pair.of(RANK, 3)
        updates = pair.reduced(3)
        updater.update(given)
        one.update(updates)
        expected = {key: updates[key].astype(array.dtype) for key, array in given.items()}
        assert same_bits(given, expected), f"{what}: updates"
        pair.require_same(f"{what}: update")
        with updater.evaluation(), one.evaluation():
            assert same_bits(pair.params, pair.twins), f"{what}: evaluation"
        if "average_decay" in STORAGES[storage][2]:
            with updater.averaged(), one.averaged():
                assert same_bits(pair.params, pair.twins), f"{what}: averaged"
        pair.steps(4, 6)
        pair.require_same(f"{what}: after")
        assert COMM.allreduce(updater.state_view.size) == one.state_view.size
        for key, own in updater.shard.items():
            order = one.layout[one._places[key]].order

            def part(array: Any, own: Any = own, order: Any = order) -> bytes:
                return bytes(array.reshape(-1, order=order)[own])

            found = updater.master(key).reshape(-1, order=order)
            assert found.tobytes() == part(one.master(key)), (what, key)
            for name, array in updater.state(key).items():
                whole = one.state(key)[name]
                if array.size:
                    assert array.reshape(-1, order=order).tobytes() == part(whole), (what, name)
    # what is written into parameters with masters, by each rank
    for storage, (_, _, more) in enumerate(STORAGES):
        if more.get("master") != "full":
            continue
        pair = Narrow(storage, updater=fs.Adam(1e-2))
        pair.steps(0, 2)
        for arrays in (pair.params, pair.twins):
            for array in arrays.values():
                array[...] = (array.astype(np.float32) * 0.75).astype(array.dtype)
        pair.updater.adopt_parameters()
        pair.one.adopt_parameters()
        pair.steps(2, 4)
        pair.require_same(f"{STORAGES[storage]}: adopted")
    # elements of four bytes behind an odd number of two each, in one message
    shapes = {"0_a": (3,), "0_b": (5, 1), "1_W": (7,), "2_gamma": (1,), "3_W": (3, 3), "4_W": (9,)}
    for storage in (1, 9):
        for options in ({}, {"shard": False}):
            pair = Narrow(storage, options, shapes, updater=fs.Adam(1e-2))
            pair.steps(0, 3)
            given, updates = pair.of(RANK, 3), pair.reduced(3)
            pair.updater.update(given)
            pair.one.update(updates)
            assert same_bits(given, {k: updates[k].astype(a.dtype) for k, a in given.items()})
            pair.require_same(f"odd sizes, {STORAGES[storage]} {options}")
    # the whole step everywhere, updates included
    pair = Narrow(9, {"shard": False}, updater=fs.Adam(1e-2))
    given, updates = pair.of(RANK, 0), pair.reduced(0)
    pair.updater.update(given)
    pair.one.update(updates)
    assert same_bits(given, {key: updates[key].astype(a.dtype) for key, a in given.items()})
    pair.require_same("update without shards")
    # what MPI adds up are numbers
    for shard in (True, False):
        pair = Narrow(5, {"deterministic": False, "shard": shard}, updater=fs.Adam(1e-2))
        pair.steps(0, 3)
        for key, array in pair.params.items():
            np.testing.assert_allclose(
                array.astype("f4"), pair.twins[key].astype("f4"), rtol=0.02, atol=0.02
            )


def narrow_faults() -> None:
    """Gradients of another dtype on one rank, and some that are not finite."""
    pair = Narrow(5, updater=fs.Adam(1e-2))
    pair.steps(0, 1)
    params, updater = pair.params, pair.updater

    def all_of_pair() -> Any:
        kept = [
            array.tobytes("A") for i in range(len(SHAPES)) for array in updater._kept(i).values()
        ]
        return all_of(updater, params), kept

    for bad in range(SIZE):
        before = all_of_pair()
        given = pair.of(RANK, 1)
        if bad == RANK:
            given["3_W"] = given["3_W"].astype(HALF)
        if SIZE > 1:
            for method in (updater.step, updater.update):
                require_same_error(
                    lambda m=method, g=given: m(g),
                    ValueError,
                    'expected the same dtype of gradient "3_W" on every rank',
                    "float16 on rank",
                    "bfloat16 on rank",
                )
        given = pair.of(RANK, 1)
        for fault in ("nan", "infinity"):
            kind, texts = ERRORS[fault]
            spoilt = faulty(fault, pair.of(RANK, 1)) if bad == RANK else given
            for method in (updater.step, updater.update, updater.accumulate):
                require_same_error(lambda m=method, g=spoilt: m(g), kind, rank_text(bad), *texts)
        assert all_of_pair() == before
        pair.steps(1 + bad, 2 + bad)
        given = pair.of(RANK, 2 + bad)
        if bad == RANK:
            given["1_W"] = given["1_W"].astype(HALF)  # frozen: it does not travel
        updater.step(given, batch_size=2)
        pair.one.step(pair.reduced(2 + bad), batch_size=2)
        pair.require_same("after faults")
    # parameters of other dtypes
    if SIZE > 1:
        config = fs.MultiLayerConfiguration(updater=fs.Adam(1e-2), master="full")
        w = np.ones(30, BFLOAT16 if RANK == 0 else HALF)
        require_same_error(
            lambda: DistributedUpdater(config, {"0_W": w}),
            ValueError,
            "expected the same dtype of parameter '0_W' on every rank",
        )
    skips = Narrow(8, updater=fs.Adam(1e-2), on_nonfinite="skip")
    for step in range(2 * SIZE):
        given = [skips.of(rank, step) for rank in range(SIZE)]
        if step % 2:
            faulty("nan", given[step // 2])
        skips.updater.step(given[RANK], batch_size=2)
        skips.one.step(skips.reduced_of(given), batch_size=2)
        skips.require_same("skipping")
    assert skips.updater.skipped_steps == skips.one.skipped_steps == SIZE
    scaled = Narrow(8, updater=fs.Adam(1e-2))
    loss_scale = fs.DynamicLossScale(scaled.updater, init_scale=4.0)
    assert not loss_scale.step(faulty("nan", scaled.of(RANK, 0)) if RANK == 0 else given[RANK])
    assert loss_scale.value == 2.0
    assert loss_scale.step(scaled.of(RANK, 1))
    scaled.one.step(scaled.reduced(1), gradient_scale=0.5)
    scaled.require_same("a scaled loss")


def narrow_files(folder: str) -> None:
    """From the file of any number of ranks on, to the file that one process writes."""
    for storage in range(len(STORAGES)):
        fields = {"updater": fs.Adam(1e-2), "gradient_normalization": "ClipL2PerLayer"}
        path = f"{folder}/{storage}.safetensors"
        pair = Narrow(storage, **fields)
        if Path(path).exists():
            pair.updater = fs.mpi.load_updater(path, pair.params, bucket_bytes=1 << 15)
            one = fs.load_updater(path, pair.twins)
            pair.one = fs.create_updater(pair.configuration, pair.twins)
            pair.one.load_state_dict(one.state_dict())
            new = fs.mpi.load_updater(path)
            assert same_bits(new.parameters, pair.params)
            for key, array in new.parameters.items():
                assert array.dtype == pair.params[key].dtype
        first = pair.updater.iteration
        pair.steps(first, first + 2)
        pair.require_same(f"{STORAGES[storage]}")
        COMM.Barrier()
        pair.updater.save(path)
        if RANK == 0:
            plain = f"{folder}/plain.safetensors"
            pair.one.save(plain)
            assert Path(path).read_bytes() == Path(plain).read_bytes(), STORAGES[storage]
        COMM.Barrier()
        other = {key: array.astype(np.float64) for key, array in pair.params.items()}
        if pair.dtype == np.float32:
            require_same_error(
                lambda p=path, o=other: fs.mpi.load_updater(p, o), fs.CheckpointError, "dtype"
            )


def narrow_averaging() -> None:
    """fs.mpi.average of state in codes is fs.aggregate; parameters with masters are refused."""
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(1e-2), state_storage="8bit", layers=LAYERS
    )
    workers = []
    for rank in range(SIZE):
        workers.append(fs.MultiLayerUpdater(configuration, parameters(np.float32)))
        for step in range(2):
            workers[-1].step(Gradients(np.float32).of(rank, step))
    expected = fs.aggregate(workers)
    fs.mpi.average(workers[RANK])
    for place in range(len(SHAPES)):
        for name, array in expected._kept(place).items():
            assert workers[RANK]._kept(place)[name].tobytes("A") == array.tobytes("A"), name
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.1), master="split")
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3, BFLOAT16)})
    require_same_error(lambda: fs.mpi.average(updater), ValueError, '"0_W"', "master")


def narrow_traffic() -> None:
    """Two bytes an element each way, and codes and masters by shards."""
    shapes = {"0_W": (1100, 1000), "0_b": (1000,), "1_W": (1000, 900), "1_b": (900,)}
    params = by_turns(parameters(np.float32, shapes), [BFLOAT16])
    size = sum(array.size for array in params.values())
    config = fs.MultiLayerConfiguration(updater=fs.Adam(), master="split", state_storage="8bit")
    updater = DistributedUpdater(config, params)
    counting = CountingComm(updater._ranks.comm)
    updater._ranks.comm = counting
    updater.step(by_turns(Gradients(np.float32, shapes).of(RANK, 0), [BFLOAT16]))
    most = 2 * size * (SIZE - 1) / SIZE + (SIZE - 1) * 16384
    assert counting.sent / 2 <= most, (counting.sent / 2, most)
    sent = COMM.allreduce(counting.sent)
    assert sent == 2 * 2 * size * (SIZE - 1), "all ranks together: exactly that"
    one = fs.create_updater(config, by_turns(parameters(np.float32, shapes), [BFLOAT16]))
    assert updater.nbytes <= one.nbytes / SIZE * 1.02 + 5 * 16384 * len(shapes)
    padding = 64 * 8 * len(shapes) * SIZE
    assert 0 <= COMM.allreduce(updater.nbytes) - one.nbytes <= padding


def narrow(first: str, stride: str) -> None:
    narrow_bits(first, stride)
    narrow_doors()
    narrow_faults()
    narrow_averaging()
    if SIZE > 1:
        narrow_traffic()


# --------------------------------------------------------------------------------------- the others


def averaging() -> None:
    """fs.mpi.average is fs.aggregate over processes."""
    for rule in (fs.Adam(1e-2), fs.Nesterovs(0.1)):
        configuration = fs.MultiLayerConfiguration(updater=rule, average_decay=0.5, layers=LAYERS)
        gradients = Gradients(np.float32)
        workers, everyones = [], []
        for rank in range(SIZE):
            params = parameters(np.float32)
            worker = fs.MultiLayerUpdater(configuration, params)
            worker.set_learning_rate(0.01 + rank * 0.001)
            for step in range(3):
                worker.step(gradients.of(rank, step))
            workers.append(worker)
            everyones.append(params)
        mean = {
            key: np.mean([p[key] for p in everyones], axis=0, dtype=np.float64).astype(np.float32)
            for key in SHAPES
        }
        expected = fs.aggregate(workers)
        own, params = workers[RANK], everyones[RANK]
        state = own.state_view
        fs.mpi.average(own, params)
        for key in SHAPES:
            assert (params[key] == mean[key]).all(), key
            assert own.averages(key).tobytes() == expected.averages(key).tobytes()
        assert state.tobytes() == expected.state_view.tobytes()
        np.testing.assert_allclose(
            [rate for rate, _ in own._rates() if rate], [r for r, _ in expected._rates() if r]
        )
        if SIZE > 1:
            if RANK == 1:
                own.iteration = 9
            require_same_error(
                lambda u=own: fs.mpi.average(u), ValueError, "the same iteration on every rank"
            )
    params = parameters(np.float32)
    updater = DistributedUpdater(fs.MultiLayerConfiguration(), params)
    require_same_error(lambda: fs.mpi.average(updater), TypeError, "its own steps")


class CountingComm:
    """A communicator that counts what is sent through it, elements of gradients and parameters."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.sent = 0
        self.reduced = 0

    def Isend(self, array: Any, *given: Any) -> Any:
        self.sent += array.nbytes
        return self._comm.Isend(array, *given)

    def Allreduce(self, first: Any, array: Any, *given: Any) -> Any:
        self.reduced += array.nbytes
        return self._comm.Allreduce(first, array, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)


def traffic() -> None:
    """Bytes that each rank sends in a step, and the state that it has, against the promise."""
    shapes = {"0_W": (1100, 1000), "0_b": (1000,), "1_W": (1000, 900), "1_b": (900,)}
    params = parameters(np.float32, shapes)
    size = sum(array.size for array in params.values())
    updater = DistributedUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), params)
    counting = CountingComm(updater._ranks.comm)
    updater._ranks.comm = counting
    gradients = Gradients(np.float32, shapes)
    updater.step(gradients.of(RANK, 0))
    chunk = 16384
    # A part is its share to half a chunk, so the gradients and parameters of a step are, too.
    most = 2 * size * (SIZE - 1) / SIZE + (SIZE - 1) * chunk
    assert counting.sent / 4 <= most, (counting.sent / 4, most)
    sent = COMM.allreduce(counting.sent)
    assert sent == 4 * 2 * size * (SIZE - 1), "all ranks together: exactly that"
    # Sums for norms and looks: four doubles for a chunk.
    assert counting.reduced <= 32 * (size / chunk + len(params))
    state = updater.state_view.size
    assert state <= 2 * size / SIZE * 1.01 + 2 * chunk * len(params)
    assert COMM.allreduce(state) == 2 * size
    print(json.dumps({"rank": RANK, "sent": counting.sent / 4, "of": most, "state": state}))


def peak_of_files(folder: str) -> None:
    """No rank ever holds what others have: what saving and loading take beside parameters and own
    state is a few blocks."""
    import tracemalloc  # NumPy tells it of its memory

    shapes = {"0_W": (4000, 1000), "1_W": (1000, 3000), "1_b": (3000,)}
    numbers = np.random.default_rng(3)
    params = {
        "0_W": numbers.standard_normal((4000, 1000), np.float32),
        "1_W": np.asfortranarray(numbers.standard_normal((1000, 3000), np.float32)),
        "1_b": np.zeros(3000, np.float32),
    }
    assert {key: array.shape for key, array in params.items()} == shapes
    size = sum(array.size for array in params.values())
    configuration = fs.MultiLayerConfiguration(updater=fs.Adam(), average_decay=0.9)
    updater = DistributedUpdater(configuration, params)
    path = f"{folder}/large.safetensors"
    few = 12 << 20
    tracemalloc.start()
    updater.save(path)
    _, peak = tracemalloc.get_traced_memory()
    assert peak < few < 4 * size, (peak, size)
    del updater
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    updater = fs.mpi.load_updater(path, params)  # state and averages are the core's own memory
    assert updater.iteration == 0
    after, peak = tracemalloc.get_traced_memory()
    assert peak - before < few + (after - before), (peak, before, after)
    print(json.dumps({"rank": RANK, "peak of save and load, MiB": peak / 2**20}))


def docstrings() -> None:
    """The examples of the room, of one process each."""
    import doctest
    import importlib
    import pkgutil

    names = [module.name for module in pkgutil.iter_modules(fs.mpi.__path__, "flatstep.mpi.")]
    count = 0
    for name in ["flatstep.mpi", *names]:
        failures, tried = doctest.testmod(importlib.import_module(name))
        assert not failures, name
        count += tried
    assert count > 10


def main() -> None:
    scenario, *arguments = sys.argv[1:]
    globals()[scenario](*arguments)
    if RANK == 0:
        print("all is well", flush=True)


if __name__ == "__main__":
    assert _core
    main()
