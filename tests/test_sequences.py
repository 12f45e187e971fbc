"""Sequences of calls, held to a twin that goes the plain way.

A random updater (any form, any settings, separate arrays, several threads, any instruction set) is
taken through random calls: steps, updates, bound and accumulated gradients, counters and rates set
by hand, copies, pickles, state dicts and files in between, gradients that are not finite, and calls
that must be refused and change nothing. The twin gets fresh dicts and single steps, on one flat
buffer, one thread and the emulated instruction set. After every call both are equal to the bit. A
share of the steps is also held to the oracle's bounds.

`FLATSTEP_FUZZ=1000 pytest tests/test_sequences.py` runs so many; a failure names its seed.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import copies, flat
from oracle import LayerSpec, Network, NetworkSpec, SlotSpec, UpdaterSpec
from oracle.bounds import Bounded
from oracle.normalization import CHUNK, STRATEGIES, strategies_of
from oracle.updater_row import VALUES
from oracle.updaters import UPDATERS
from snapshots import bits, everything, nothing_changes, report

import flatstep as fs

SEQUENCES = int(os.environ.get("FLATSTEP_FUZZ") or 60)
#: What a layer may have: a norm of the whole network is the network's alone.
LAYER_STRATEGIES = strategies_of("", "parameter", "layer")
CALLS = 14
FUSED = [isa for isa in fs.available_isas() if isa != "sse2"]

SIZES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 70, 127, 129, 1000)
LARGE_SIZES = (CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17, 5 * CHUNK)
NAMES = ("W", "b", "vb", "gamma", "beta", "mean", "kernel")


def schedule(rng: random.Random, value: float) -> Any:
    choices: list[Callable[[], Any]] = [
        lambda: value,
        lambda: fs.ExponentialSchedule(value, 0.9),
        lambda: fs.StepSchedule(value, 0.5, 3, schedule_type="EPOCH"),
        lambda: fs.MapSchedule({0: value, 2: value / 2, 5: 0.0}),
        lambda: fs.PolySchedule(value, 1.5, 9),
        lambda: fs.CosineSchedule(value, 12),
        lambda: fs.SigmoidSchedule(value, 0.3, 4),
        lambda: fs.InverseSchedule(value, 0.5, 0.75),
        lambda: fs.RampSchedule(fs.ExponentialSchedule(value, 0.9), 4),
        lambda: fs.CycleSchedule(value / 2, value, 6, 2, 0.5),
        lambda: fs.SequenceSchedule([(fs.LinearSchedule(0.0, value, 3), 3), value]),
        lambda: 0.5 * fs.OneCycleSchedule(value, 9),
    ]
    return rng.choice(choices)()


def updater_of(rng: random.Random, scheduled: bool, adam_w: bool) -> Any:
    name = rng.choice([*UPDATERS, "AdamW", "AdamW"] if adam_w else list(UPDATERS))
    arguments: dict[str, Any] = {}
    for argument in {} if name == "AdamW" else UPDATERS[name].defaults:
        if rng.random() < 0.5:
            continue
        if argument == "learning_rate":
            rate = rng.choice([0.5, 0.01, 1e-4, 0.0])
            arguments[argument] = schedule(rng, rate) if scheduled else rate
        elif argument == "momentum":
            arguments[argument] = rng.choice([0.0, 0.5, 0.9, 1.0])
        elif argument in VALUES:
            arguments[argument] = rng.choice(VALUES[argument])
        else:
            arguments[argument] = rng.choice([0.0, 0.5, 0.9, 0.999])
    return getattr(fs, name)(**arguments)


def policy(rng: random.Random) -> Any:
    return rng.choice(
        [
            fs.LearningRatePolicy("Exponential", decay_rate=0.9),
            fs.LearningRatePolicy("Inverse", decay_rate=0.1, power=0.75),
            fs.LearningRatePolicy("Step", decay_rate=0.5, steps=3),
            fs.LearningRatePolicy("TorchStep", decay_rate=0.5, steps=6),
            fs.LearningRatePolicy("Poly", power=2, num_iterations=30),
            fs.LearningRatePolicy("Sigmoid", decay_rate=0.1, steps=5),
            fs.LearningRatePolicy("Schedule", schedule={1: 0.2, 4: 0.05}),
        ]
    )


def settings_of_layer(rng: random.Random, dl4j_0_8: bool, adam_w: bool, params: list[str]) -> Any:
    """No weight decay where there may be AdamW, which has its own."""
    own: dict[str, Any] = {
        "frozen": rng.random() < 0.15,
        "pretrain": rng.random() < 0.2,
    }
    if rng.random() < 0.4:
        own["updater"] = updater_of(rng, not dl4j_0_8, adam_w)
    if rng.random() < 0.4:
        own["gradient_normalization"] = rng.choice(LAYER_STRATEGIES)
        own["gradient_normalization_threshold"] = rng.choice([1e-3, 1.0, 50.0])
    if rng.random() < 0.2:
        own["learning_rate_scale"] = rng.choice([0.0, 0.1, 2.0])
    for name in ("l1", "l2", "l2_bias", *(() if dl4j_0_8 or adam_w else ("weight_decay",))):
        if rng.random() < 0.3:
            own[name] = rng.choice([0.0, 1e-3, 0.5])
    own["params"] = {}
    for param in params:
        if param == "mean":
            own["params"][param] = fs.ParamConfiguration(statistic=True)
        elif rng.random() < 0.2:
            own["params"][param] = fs.ParamConfiguration(
                updater=updater_of(rng, not dl4j_0_8, adam_w)
            )
    return fs.LayerConfiguration(**own)


class Case:
    """A random network: its configuration, the form of its arrays, and what draws numbers."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.dtype = rng.choice([np.float32, np.float64])
        self.cls = rng.choice(
            [
                fs.MultiLayerUpdater,
                fs.MultiLayerUpdater,
                fs.ComputationGraphUpdater,
                fs.LayerUpdater,
            ]
        )
        dl4j_0_8 = rng.random() < 0.4
        adam_w = not dl4j_0_8 and rng.random() < 0.3
        one_layer = self.cls is fs.LayerUpdater
        layers = ["0"] if one_layer else [str(i) for i in range(rng.randint(1, 4))]
        if self.cls is fs.ComputationGraphUpdater:
            layers = [f"vertex_{name}" for name in layers]
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        configured = {}
        for layer in layers:
            params = rng.sample(NAMES, rng.randint(1, 3))
            for param in params:
                key = param if one_layer else f"{layer}_{param}"
                self.shapes[key] = self.shape()
            if rng.random() < 0.7:
                configured[layer] = settings_of_layer(rng, dl4j_0_8, adam_w, params)
        more: dict[str, Any] = {}
        updater = updater_of(rng, not dl4j_0_8, adam_w)
        if dl4j_0_8:
            if hasattr(updater, "learning_rate") and rng.random() < 0.5:
                more["learning_rate_policy"] = policy(rng)
            # It is refused where no parameter has a momentum: some layer must have this updater.
            uses_it = len(configured) < len(layers)
            if hasattr(updater, "momentum") and uses_it and rng.random() < 0.7:
                more["momentum_schedule"] = {1: 0.3, 3: 0.8}
        else:
            more["weight_decay"] = 0.0 if adam_w else rng.choice([0.0, 0.0, 0.01])
            more["weight_decay_apply_lr"] = rng.random() < 0.5
        self.on_nonfinite = rng.choice(["raise", "raise", "skip", "propagate"])
        self.configuration = fs.MultiLayerConfiguration(
            updater=updater,
            gradient_normalization=rng.choice(list(STRATEGIES)),
            gradient_normalization_threshold=rng.choice([0.5, 10.0]),
            l1=rng.choice([0.0, 1e-3]),
            l2=rng.choice([0.0, 1e-2]),
            mini_batch=rng.random() < 0.7,
            semantics="dl4j-0.8" if dl4j_0_8 else "dl4j-1.0",
            on_nonfinite=self.on_nonfinite,
            layers=configured,
            **more,
        )

    def shape(self) -> tuple[tuple[int, ...], str]:
        rng = self.rng
        size = rng.choice(SIZES if rng.random() < 0.9 else LARGE_SIZES)
        for rows in (3, 2):
            if size % rows == 0 and size > rows and rng.random() < 0.7:
                return (rows, size // rows), rng.choice("CF")
        return (size,), "C"

    def draw(self, scale: float = 1.0) -> dict[str, Any]:
        return {
            key: np.asarray(self.numbers.standard_normal(shape) * scale, self.dtype, order=order)
            for key, (shape, order) in self.shapes.items()
        }


class Twins:
    """The updater under test and its twin, and what both hold now."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.rng, self.folder = case, case.rng, folder
        params = case.draw()
        self.monitor = case.rng.random() < 0.3
        _, views = fs.flatten(params)
        self.twin = case.cls(case.configuration, views, monitor=self.monitor)
        self.updater = case.cls(case.configuration, params, monitor=self.monitor)
        self.bound: dict[str, Any] | None = None
        self.sums: dict[str, Any] | None = None

    # -- what both do

    def gradients(self) -> dict[str, Any]:
        return self.case.draw(self.rng.choice([1e-3, 1.0, 1.0, 1e4]))

    def options(self) -> dict[str, Any]:
        options = {"batch_size": self.rng.choice([1, 1, 3, 32])}
        if self.rng.random() < 0.15:
            options["iteration"] = self.rng.choice([0, 1, 7, 1000, 2**40])
        if self.rng.random() < 0.15:
            options["epoch"] = self.rng.choice([0, 2, 9])
        return options

    def on_twin(self, method: str, gradients: Any, options: dict[str, Any]) -> Any:
        """The twin's call, the plain way; the error where it is refused."""
        isa, threads = fs.isa(), fs.get_num_threads()
        fs.set_isa("emulated")
        fs.set_num_threads(1)
        try:
            return getattr(self.twin, method)(gradients, **options)
        except fs.NonFiniteGradientError as error:
            return error
        finally:
            fs.set_isa(isa)
            fs.set_num_threads(threads)

    def both(self, method: str, given: Any, plain: dict[str, Any], options: Any) -> bool:
        """One step of both; whether it was taken. `given`: what the updater is given."""
        refused = self.on_twin(method, plain, options)
        arguments = () if given is None else (given,)
        if refused is None:
            getattr(self.updater, method)(*arguments, **options)
        else:
            with nothing_changes(self.updater), pytest.raises(type(refused)) as caught:
                getattr(self.updater, method)(*arguments, **options)
            assert str(caught.value) == str(refused)
        return refused is None

    def some_form(self, gradients: dict[str, Any]) -> Any:
        """The same arrays in another order or form, frozen ones perhaps left out."""
        items = list(gradients.items())
        for key, _ in list(items):
            slot = next(slot for slot in self.updater.layout if slot.key == key)
            if self.updater.is_frozen(slot.layer) and self.rng.random() < 0.3:
                items = [(k, self.rng.choice([a, None]) if k == key else a) for k, a in items]
        if self.rng.random() < 0.4:
            self.rng.shuffle(items)
        if self.rng.random() < 0.3:
            return {"".join(key): array for key, array in items}  # keys that are not the same
        return dict(items)

    # -- the calls

    def step(self) -> None:
        gradients = self.gradients()
        given = copies(gradients)
        self.both("step", self.some_form(given), gradients, self.options())
        assert bits(given) == bits(gradients)

    def update(self) -> None:
        gradients = self.gradients()
        given = copies(gradients)
        self.both("update", given, gradients, self.options())
        assert bits(given) == bits(gradients)

    def flat_step(self) -> None:
        """One flat gradient, where a flat view of it is what every slot has."""
        gradients = self.gradients()
        if isinstance(self.updater, fs.LayerUpdater):
            given: Any = [gradients[slot.key] for slot in self.updater.layout]
            given = dict(zip(gradients, given, strict=True))
        else:
            given = np.concatenate(
                [gradients[slot.key].reshape(-1, order=slot.order) for slot in self.updater.layout]
            )
        self.both("step", given, gradients, {})

    def nonfinite_step(self) -> None:
        gradients = self.gradients()
        key = self.rng.choice(list(gradients))
        place = self.rng.randrange(gradients[key].size)
        gradients[key].flat[place] = self.rng.choice([np.nan, np.inf, -np.inf])
        if self.case.on_nonfinite == "propagate":
            return  # would end the sequence: all later numbers are NaN
        given = copies(gradients)
        self.both(self.rng.choice(["step", "update"]), given, gradients, {})
        assert bits(given) == bits(gradients)  # a frozen slot's are not looked at

    def bind(self) -> None:
        self.bound = self.gradients()
        self.updater.bind_gradients(
            self.some_form(self.bound) if self.rng.random() < 0.5 else self.bound
        )
        self.bound_step()

    def bound_step(self) -> None:
        if self.bound is None or self.sums is not None:
            return
        if any(value is None for value in self.bound.values()):
            return
        for key, array in self.gradients().items():
            self.bound[key][...] = array
        self.both("step", None, copies(self.bound), self.options())

    def accumulate(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            gradients = self.gradients()
            self.updater.accumulate(self.some_form(gradients))
            if self.sums is None:
                self.sums = {key: np.zeros_like(array) for key, array in gradients.items()}
            for key, array in gradients.items():
                self.sums[key] += array

    def accumulated_step(self) -> None:
        if self.sums is None:
            return
        sums = {
            key: np.asarray(array, order="K") for key, array in self.updater.accumulated.items()
        }
        for key, array in self.sums.items():
            slot = next(slot for slot in self.updater.layout if slot.key == key)
            if not self.updater.is_frozen(slot.layer):
                np.testing.assert_array_equal(sums[key], array)
        self.both("step", None, copies(sums), self.options())
        self.sums = None

    def discard(self) -> None:
        self.updater.discard_accumulated()
        self.sums = None
        assert self.updater.accumulated is None

    def set_rate(self) -> None:
        value = self.rng.choice([0.0, 0.01, 0.7])
        slot = self.rng.choice(self.updater.layout)
        where = self.rng.choice(
            [{}, {"layer": slot.layer}, {"layer": slot.layer, "param": slot.param}]
        )
        try:
            self.twin.set_learning_rate(value, **where)
        except ValueError:
            with nothing_changes(self.updater), pytest.raises(ValueError, match="set_learning_"):
                self.updater.set_learning_rate(value, **where)
        else:
            self.updater.set_learning_rate(value, **where)

    def clear_rate(self) -> None:
        try:
            self.twin.clear_learning_rate()
        except ValueError:
            with nothing_changes(self.updater), pytest.raises(ValueError, match="clear_learning_"):
                self.updater.clear_learning_rate()
        else:
            self.updater.clear_learning_rate()

    def set_counters(self) -> None:
        name = self.rng.choice(["iteration", "epoch", "skipped_steps"])
        value = self.rng.choice([0, 1, 5, 10**6])
        for updater in (self.updater, self.twin):
            setattr(updater, name, value)

    def replace(self, other: Any) -> None:
        """By an updater that must be equal; bound arrays are not part of it."""
        if self.sums is not None:
            assert bits(other.accumulated) == bits(self.updater.accumulated)
        self.updater = other
        self.bound = None

    def clone(self) -> None:
        self.replace(self.updater.clone(copies(self.updater.parameters)))

    def pickled(self) -> None:
        self.replace(pickle.loads(pickle.dumps(self.updater)))

    def saved(self) -> None:
        path = self.folder / "run.safetensors"
        self.updater.save(path)
        self.replace(fs.load_updater(path, self.case.draw()))

    def state_dict(self) -> None:
        fresh = self.case.cls(
            self.case.configuration, copies(self.updater.parameters), monitor=self.monitor
        )
        fresh.load_state_dict(self.updater.state_dict())
        accumulated = self.updater.accumulated
        if accumulated is not None:
            fresh.accumulate(accumulated)
        self.replace(fresh)

    def wrong(self) -> None:
        """Calls that are refused, and change nothing, whatever came before them."""
        key = next(iter(self.case.shapes))
        good = self.gradients()
        u = self.updater
        calls: list[Callable[[], Any]] = [
            lambda: u.step({"9_unknown": np.ones(3, self.case.dtype)}),
            lambda: u.step({**good, "9_unknown": np.ones(3, self.case.dtype)}),
            lambda: u.step({**good, key: good[key].astype(np.int32)}),
            lambda: u.update({**good, key: np.ones(12345, self.case.dtype)}),
            lambda: u.accumulate({**good, key: [1.0]}),
            lambda: u.bind_gradients({**good, key: object()}),
            lambda: u.step(good, batch_size=0),
            lambda: u.step(good, iteration=-1),
            lambda: u.step(good, epoch=1.5),
            lambda: u.step(good, iteration=2**63),
            lambda: u.set_learning_rate(-1.0),
            lambda: u.set_learning_rate(float("nan")),
            lambda: u.load_state_dict({"version": 1}),
            lambda: u.load_state_dict({**u.state_dict(), "state": {}, "iteration": -3}),
            lambda: setattr(u, "iteration", -1),
            lambda: setattr(u, "epoch", "3"),
            lambda: u.clone({key: np.ones(77, self.case.dtype)}),
            lambda: u.state("nothing"),
            lambda: u.save(self.folder / "no" / "such" / "folder"),
        ]
        for call in self.rng.sample(calls, 4):
            with (
                nothing_changes(u, *good.values()),
                pytest.raises((ValueError, TypeError, OSError)),
            ):
                call()

    def move(self) -> None:
        """Elsewhere: threads and instruction set."""
        fs.set_num_threads(self.rng.randint(1, 3))
        fs.set_isa(self.rng.choice(FUSED))

    # -- what must be true after each

    def check(self) -> None:
        ours, twins = everything(self.updater), everything(self.twin)
        for what, value in twins.items():
            assert ours[what] == value, what


CALLABLE = (
    [Twins.step] * 5 + [Twins.update, Twins.flat_step, Twins.nonfinite_step, Twins.bind]
    + [Twins.bound_step, Twins.accumulate, Twins.accumulated_step, Twins.discard, Twins.set_rate]
    + [Twins.clear_rate]
    + [Twins.set_counters, Twins.clone, Twins.pickled, Twins.saved, Twins.state_dict]
    + [Twins.wrong, Twins.move, Twins.move]
)  # fmt: skip


@pytest.mark.parametrize("block", range(10))
def test_sequences(block: int, tmp_path: Path) -> None:
    for seed in range(block, SEQUENCES, 10):
        case = Case(seed)
        twins = Twins(case, tmp_path)
        twins.check()
        done: list[str] = []
        for _ in range(CALLS):
            call = case.rng.choice(CALLABLE)
            done.append(call.__name__)
            try:
                with np.errstate(all="ignore"):
                    call(twins)
                    twins.check()
            except Exception as error:
                raise AssertionError(f"seed {seed}: after {', '.join(done)}") from error


def test_reports_of_both(tmp_path: Path) -> None:
    """What the last step saw is part of what is equal, where both took the same step last."""
    for seed in range(1000, 1000 + max(10, SEQUENCES // 6)):
        twins = Twins(Case(seed), tmp_path)
        for _ in range(3):
            twins.move()
            twins.step()
            assert report(twins.updater.last_step) == report(twins.twin.last_step), seed


def assert_within(actual: Any, expected: Bounded, what: str) -> None:
    distance = np.abs(np.asarray(actual, expected.value.dtype) - expected.value)
    assert (distance <= expected.error).all(), what


def test_sequences_within_the_oracles_bounds() -> None:
    """Steps, updates and accumulated steps among other calls, each from the state before it."""
    names = list(UPDATERS)
    for seed in range(max(20, SEQUENCES // 3)):
        rng = random.Random(seed)
        name = names[seed % len(names)]
        made = getattr(fs, name)()
        values = {field: getattr(made, field) for field in UPDATERS[name].defaults}
        sizes = [rng.choice(SIZES) for _ in range(rng.randint(1, 4))]
        slots = tuple(
            SlotSpec(
                f"{i}_W", str(i), "W", size, UpdaterSpec(name, values), l2=rng.choice([0, 0.1])
            )
            for i, size in enumerate(sizes)
        )
        strategy = rng.choice(LAYER_STRATEGIES)
        layers = tuple(LayerSpec(slot.layer, strategy, 0.5) for slot in slots)
        semantics = rng.choice(["dl4j-1.0", "dl4j-0.8"])
        spec = NetworkSpec(semantics, layers, slots)
        configuration = fs.MultiLayerConfiguration(
            updater=made,
            gradient_normalization=strategy,
            gradient_normalization_threshold=0.5,
            semantics=semantics,
            layers={
                slot.layer: fs.LayerConfiguration(l2=slot.l2, l2_bias=slot.l2) for slot in slots
            },
        )
        dtype = rng.choice([np.float32, np.float64])
        numbers = np.random.default_rng(seed)

        def draw(sizes: Any = sizes, dtype: Any = dtype, numbers: Any = numbers) -> dict[str, Any]:
            return {
                f"{i}_W": numbers.standard_normal(size).astype(dtype)
                for i, size in enumerate(sizes)
            }

        params = draw()
        updater = fs.MultiLayerUpdater(configuration, params)
        oracle = Network(spec, flat(params), dtype, bounded=True)
        for iteration in range(6):
            fs.set_num_threads(rng.randint(1, 3))
            fs.set_isa(rng.choice(fs.available_isas()))
            oracle.params = {key: a.astype(np.float64) for key, a in params.items()}
            oracle.state = {
                slot.key: {n: a.copy() for n, a in updater.state(slot.key).items()}
                for slot in slots
            }
            gradients, batch_size = draw(), rng.choice([1, 3])
            expected = oracle.step(flat(gradients), iteration, 0, batch_size)
            if rng.random() < 0.3:
                updater.accumulate(gradients)
                updater.step(batch_size=batch_size)
            else:
                updater.step(gradients, batch_size=batch_size)
            for key, array in params.items():
                assert_within(array, expected.params[key], f"seed {seed}: {key}")
            if rng.random() < 0.4:
                updater = pickle.loads(pickle.dumps(updater))
                params = updater.parameters
