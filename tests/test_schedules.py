"""Schedules by what people do with them: products, sequences, tables, and the ends of each."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import schedule
from oracle.schedules import EXAMPLES

import flatstep as fs

SCHEDULES = tuple(map(schedule, EXAMPLES))
BY_CLASS = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def values(schedule: Any, steps: int) -> list[float]:
    return [schedule.value_at(i) for i in range(steps)]


# -------------------------------------------------------------------------------------- products


@BY_CLASS
def test_a_number_times_a_schedule(schedule: Any) -> None:
    """From either side, of Python's and NumPy's numbers alike."""
    half = 0.5 * schedule
    for other in (schedule * 0.5, np.float64(0.5) * schedule, schedule * np.float32(0.5)):
        assert other == half
        assert hash(other) == hash(half)
    for iteration, epoch in ((0, 0), (3, 1), (50, 7)):
        assert half.value_at(iteration, epoch) == 0.5 * schedule.value_at(iteration, epoch)
    for again in (pickle.loads(pickle.dumps(half)), copy.deepcopy(half)):
        assert again == half


@BY_CLASS
def test_schedules_times_each_other(schedule: Any) -> None:
    decay = fs.InverseSchedule(1.0, gamma=0.1, power=1)
    made = schedule * decay
    assert made.factors[-1] == decay
    for iteration, epoch in ((0, 0), (3, 1), (50, 7)):
        expected = schedule.value_at(iteration, epoch) * decay.value_at(iteration, epoch)
        assert math.isclose(made.value_at(iteration, epoch), expected, rel_tol=1e-15)


def test_products_of_products_are_one() -> None:
    a, b, c = (fs.ExponentialSchedule(x, gamma=0.5) for x in (1.0, 2.0, 3.0))
    assert (a * b) * c == a * (b * c) == fs.ProductSchedule((a, b, c))
    assert 0.5 * (a * 3) == fs.ProductSchedule((0.5, 3, a))
    assert a * b != b * a  # which are the same numbers but not the same object


@pytest.mark.parametrize("other", [None, "2", [2.0], np.ones(2), 1j, True])
def test_what_no_schedule_is_multiplied_by(other: Any) -> None:
    base = fs.FixedSchedule(0.5)
    for call in (lambda: base * other, lambda: other * base):
        with pytest.raises(TypeError):
            call()


def test_the_range_of_a_product_is_looked_at() -> None:
    """Of its value, not of its factors."""
    twice = fs.ProductSchedule((4.0, fs.LinearSchedule(0.25, 0.1, 10)))
    assert fs.Nesterovs(momentum=twice).momentum == twice
    with pytest.raises(ValueError, match=r"Nesterovs: momentum: expected .*, got 1\.25"):
        fs.Nesterovs(momentum=5.0 * fs.LinearSchedule(0.25, 0.1, 10))
    with pytest.raises(ValueError, match=r"Sgd: learning_rate: expected .* >= 0, got -0\.1"):
        fs.Sgd(-1.0 * fs.LinearSchedule(0.1, 0.0, 10))
    negative = fs.FixedSchedule(-0.5)
    assert fs.Sgd(negative * negative).learning_rate.value_at(0) == 0.25  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"Sgd: learning_rate: .*got inf"):
        fs.Sgd(1e300 * fs.FixedSchedule(1e300))


# ------------------------------------------------------------------------------------- sequences


def test_warm_up_then_cosine_is_exactly_that() -> None:
    warm_up, cosine = fs.LinearSchedule(0.0, 0.1, 5), fs.CosineSchedule(0.1, 20, final=0.01)
    made = fs.SequenceSchedule([(warm_up, 5), (cosine, 20)])
    assert values(made, 40) == [*values(warm_up, 5), *values(cosine, 35)]


def test_a_piece_may_end_before_its_own_end() -> None:
    made = fs.SequenceSchedule([(fs.ExponentialSchedule(1.0, 0.5), 2), (0.75, 3), 0.125])
    assert values(made, 7) == [1.0, 0.5, 0.75, 0.75, 0.75, 0.125, 0.125]


def test_forms_of_the_last_piece() -> None:
    """Its length says nothing, so none of these is another schedule."""
    cosine = fs.CosineSchedule(0.1, 20)
    made = [fs.SequenceSchedule([(0.1, 5), last]) for last in (cosine, (cosine, None), (cosine, 1))]
    assert made[0] == made[1]
    assert all(values(each, 40) == values(made[0], 40) for each in made)
    assert fs.SequenceSchedule(([0.1, 5], cosine)) == made[0]


def test_the_counter_that_a_sequence_does_not_count_goes_on() -> None:
    by_epoch = fs.MapSchedule({0: 1.0, 2: 0.5}, schedule_type="EPOCH")
    made = fs.SequenceSchedule([(fs.LinearSchedule(0.0, 1.0, 4), 4), by_epoch])
    assert [made.value_at(i, epoch) for i, epoch in ((3, 9), (4, 1), (4, 2))] == [0.75, 1.0, 0.5]
    ramp = fs.RampSchedule(1.0, 4)
    by_epochs = fs.SequenceSchedule([(0.5, 1), (ramp, None)], schedule_type="EPOCH")
    assert [by_epochs.value_at(i, epoch) for i, epoch in ((9, 0), (1, 1), (9, 1))] == [0.5, 0.5, 1]


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no pair": (
        lambda: fs.SequenceSchedule([0.5, (0.1, 2)]),
        TypeError,
        "SequenceSchedule: pieces[0]: expected a pair (schedule, length), got 0.5 of type float",
    ),
    "triple": (
        lambda: fs.SequenceSchedule([(0.5, 1, 2)]),
        TypeError,
        "SequenceSchedule: pieces[0]: expected a pair (schedule, length), got (0.5, 1, 2) of type "
        "tuple",
    ),
    "open piece in the middle": (
        lambda: fs.SequenceSchedule([(0.5, None), (0.1, 2)]),
        TypeError,
        "SequenceSchedule: pieces[0]: length: expected an integer, got None of type NoneType",
    ),
    "piece": (
        lambda: fs.SequenceSchedule([("0.5", 1)]),
        TypeError,
        "SequenceSchedule: pieces[0]: expected a number or a schedule, got '0.5' of type str",
    ),
    "pieces": (
        lambda: fs.SequenceSchedule({0: 0.5}),
        TypeError,
        "SequenceSchedule: pieces: expected pairs (schedule, length), got {0: 0.5} of type dict",
    ),
    "factor": (
        lambda: fs.ProductSchedule((0.5, None)),
        TypeError,
        "ProductSchedule: factors[1]: expected a number or a schedule, got None of type NoneType",
    ),
    "table of rows": (
        lambda: fs.TableSchedule([[0.5]]),
        TypeError,
        "TableSchedule: values[0]: expected a number, got [0.5] of type list",
    ),
    "table of a number": (
        lambda: fs.TableSchedule(0.5),
        TypeError,
        "TableSchedule: values: expected a sequence of numbers, got 0.5 of type float",
    ),
    "function": (
        lambda: fs.TableSchedule.from_callable(0.5, 3),
        TypeError,
        "TableSchedule.from_callable: function: expected a function of i, got 0.5 of type float",
    ),
    "function of nothing": (
        lambda: fs.TableSchedule.from_callable(lambda i: None if i else 1.0, 3),
        TypeError,
        "TableSchedule.from_callable: function(1): expected a number, got None of type NoneType",
    ),
    "no steps": (
        lambda: fs.TableSchedule.from_callable(lambda i: 1.0, 0),
        ValueError,
        "TableSchedule.from_callable: steps: expected an integer >= 1, got 0",
    ),
    "anneal_strategy": (
        lambda: fs.OneCycleSchedule(0.1, 10, anneal_strategy=3),
        TypeError,
        "OneCycleSchedule: anneal_strategy: expected a string, got 3 of type int",
    ),
    "multiplier": (
        lambda: fs.CosineRestartsSchedule(0.1, 10, 1.5),
        TypeError,
        "CosineRestartsSchedule: multiplier: expected an integer, got 1.5 of type float",
    ),
}


@pytest.mark.parametrize(("call", "exception", "text"), BAD.values(), ids=BAD.keys())
def test_arguments_of_other_types(
    call: Callable[[], Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == text


# ---------------------------------------------------------------------------------------- tables


def test_tables() -> None:
    made = fs.TableSchedule(np.array([0.5, 0.25, 0.125], np.float32))
    assert made == fs.TableSchedule([0.5, 0.25, 0.125])
    assert values(made, 5) == [0.5, 0.25, 0.125, 0.125, 0.125]
    cosine = fs.CosineSchedule(0.1, 20)
    assert values(fs.TableSchedule.from_callable(cosine.value_at, 21), 30) == values(cosine, 30)
    zero_dimensional = fs.TableSchedule.from_callable(lambda i: np.array(i / 2), 3)
    assert zero_dimensional.values == (0.0, 0.5, 1.0)
    by_epoch = fs.TableSchedule.from_callable(float, 3, schedule_type="EPOCH")
    assert by_epoch.value_at(9, epoch=1) == 1.0


# ------------------------------------------------------------------------------ the ends of each


FAR = (10**6, 2**40, 2**62, 2**63 - 2)


@pytest.mark.parametrize("multiplier", [1, 2, 3, 2**40])
@pytest.mark.parametrize("first", [1, 7, 2**61])
def test_restarts_however_late(first: int, multiplier: int) -> None:
    """As exact integers have it."""
    made = fs.CosineRestartsSchedule(1.0, first, multiplier)
    for i in FAR:
        rest, length = i, first
        while rest >= length:
            if multiplier == 1:
                rest %= first
                break
            rest -= length
            length *= multiplier
        expected = (1 + math.cos(math.pi * (rest / length))) / 2
        assert abs(made.value_at(i) - expected) <= 1e-15


@BY_CLASS
def test_a_schedule_has_values_however_late(schedule: Any) -> None:
    for i in FAR:
        assert math.isfinite(schedule.value_at(i, i))


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("total_steps", [1, 2, 3, 10])
def test_one_cycle_stays_between_its_turns(
    total_steps: int, pct_start: float, anneal_strategy: Any, three_phase: bool
) -> None:
    """Also where a phase has one step or none, where PyTorch divides by 0."""
    made = fs.OneCycleSchedule(
        1.0, total_steps, pct_start, anneal_strategy, div_factor=4, three_phase=three_phase
    )
    momentum = made.momentum(0.5, 0.75)
    for i in range(total_steps + 3):
        assert 1.0 / 4 / 1e4 * (1 - 1e-9) <= made.value_at(i) <= 1.0
        assert 0.5 <= momentum.value_at(i) <= 0.75
    assert made.value_at(total_steps) == 1.0 / 4 / 1e4
    assert momentum.value_at(total_steps) == 0.75


def test_momentum_takes_everything_from_the_rate() -> None:
    rate = fs.OneCycleSchedule(0.1, 20, 0.25, "linear", three_phase=True, schedule_type="EPOCH")
    assert rate.momentum(0.5, 0.75) == fs.OneCycleMomentumSchedule(
        20, 0.5, 0.75, 0.25, "linear", three_phase=True, schedule_type="EPOCH"
    )


def test_lines_meet_their_ends() -> None:
    """Exactly, from either side."""
    for a, b in itertools.permutations([0.0, 0.1, 1 / 3, 1e-300, 7.0], 2):
        made = fs.LinearSchedule(a, b, 10)
        assert (made.value_at(0), made.value_at(10)) == (a, b)
        steps = np.diff(values(made, 11))
        assert (np.sign(steps) == np.sign(b - a)).all()


# ------------------------------------------------------------------------------------- in a step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_uses_rate_and_momentum_of_one_cycle(dtype: Any) -> None:
    rate = fs.OneCycleSchedule(0.1, 12)
    updater = fs.Nesterovs(rate, momentum=rate.momentum())
    w = np.ones(3, dtype)
    made = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=updater), {"0_W": w})
    expected, v = np.ones(3), np.zeros(3)
    for i in range(12):
        assert made.learning_rate("0_W") == rate.value_at(i)
        assert made.momentum("0_W") == rate.momentum().value_at(i)
        made.step({"0_W": np.full(3, 0.5, dtype)})
        mu, before = rate.momentum().value_at(i), v
        v = mu * v - rate.value_at(i) * 0.5
        expected -= mu * before - (1 + mu) * v
        np.testing.assert_allclose(w, expected, rtol=1e-5 if dtype is np.float32 else 1e-13)
